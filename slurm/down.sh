#!/usr/bin/env bash
# Stop the Slurm that slurm/up.sh started: its jobs, then its daemons, each by its own pid.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$HERE/cluster/common.sh"

usage() {
  cat <<TEXT
usage: slurm/down.sh [--purge] [DIR]

Cancels all jobs of the cluster below DIR and stops its daemons. Logs, accounting and the queue's
state stay for the next slurm/up.sh; --purge removes DIR. Safe to repeat.
DIR: default $(default_dir)
TEXT
}

PURGE=0
while (($#)) && [[ $1 == -* ]]; do
  case $1 in
    -h | --help) usage && exit ;;
    --purge) PURGE=1 ;;
    *) die "no option $1; see --help" ;;
  esac
  shift
done
(($# < 2)) || die "one DIR, not also $2"
use_dir "${1:-}"
[ -e "$D" ] || exit 0
[ -O "$D" ] && [ -d "$D/run" ] || die "$D is no cluster of yours"
lock

idle() { [ -z "$(timeout 5 squeue -h -t running,completing,suspended)" ]; }

# stop NAME...: ask all, wait for all, then insist. A daemon removes its pid file before it ends:
# it is the process that counts.
stop() {
  local name pids=()
  for name in "$@"; do
    alive "$name" || continue
    pids+=("$PID")
    kill "$PID" 2>/dev/null || true
  done
  for PID in "${pids[@]}"; do
    within 10 ended "$PID" || { say "killing $PID, which does not end" && kill -9 "$PID"; } || true
  done
  for name in "$@"; do rm -f "$D/run/$name.pid"; done
}
ended() { ! ours "$1"; }

if alive slurmctld; then
  timeout 10 scancel --user="$(id -un)" 2>/dev/null || true
  within 10 idle || true
fi
# A slurmd waits for its slurmstepd; and may start one more before it ends.
stop slurmctld
kill_jobs
# shellcheck disable=SC2046
stop $(daemons | grep '^slurmd-' || true)
kill_jobs
stop slurmdbd
stop mariadbd munged
((!PURGE)) || rm -rf "$D"
