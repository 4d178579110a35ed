# Sourced by up.sh and down.sh: the cluster's directory D and what is alive in it.
# shellcheck shell=bash

PATH=$PATH:/usr/sbin:/sbin

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }

# die MESSAGE...: bad usage or something missing.
die() {
  say "$@"
  exit 2
}

default_dir() {
  local parent=${XDG_RUNTIME_DIR:-}
  [ -w "$parent" ] || parent=/tmp # without a login session
  echo "$parent/ddbench-slurm-$(id -u)"
}

# use_dir DIR: sets D and SLURM_CONF.
use_dir() {
  D=$(realpath -m "${1:-$(default_dir)}")
  export SLURM_CONF=$D/etc/slurm.conf
}

# lock: one up.sh or down.sh at a time; until this process ends.
lock() {
  exec {LOCK}>"$D/run/lock"
  flock -w 60 "$LOCK" || die "another up.sh or down.sh is busy with $D"
}

# ours PID: it runs, and for this cluster. After a reboot a number may belong to anything.
ours() { grep -qszxF "SLURM_CONF=$SLURM_CONF" "/proc/$1/environ"; }

# alive NAME: the daemon whose pid file is run/NAME.pid runs. Sets PID.
alive() { { read -r PID <"$D/run/$1.pid"; } 2>/dev/null && [[ $PID == [0-9]* ]] && ours "$PID"; }

# daemons: the names of all that have a pid file.
daemons() {
  local file
  for file in "$D"/run/*.pid; do
    [ ! -e "$file" ] || basename "$file" .pid
  done
}

any_alive() {
  local name
  for name in $(daemons); do
    alive "$name" && return
  done
  return 1
}

# within SECONDS COMMAND...: poll until it succeeds.
within() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || return 1
    sleep 0.05
  done
}

# kill_jobs: what a job of this cluster runs, and the slurmstepd above it, known by their
# environment. Of no use while slurmctld runs: it would call these jobs failed.
kill_jobs() {
  local file pid
  grep -lszxF "SLURM_CONF=$SLURM_CONF" /proc/[0-9]*/environ | while read -r file; do
    pid=${file//[!0-9]/}
    if grep -qsz '^SLURM_JOB_ID=' "$file" ||
      [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = slurmstepd ]; then
      kill -9 "$pid" 2>/dev/null || true
    fi
  done || true
}
