#!/usr/bin/env bash
# Start a real Slurm on this machine, for tests: everything below one directory, root or not.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$HERE/cluster/common.sh"
. "$HERE/cluster/settings.sh"

usage() {
  cat <<TEXT
usage: eval "\$(slurm/up.sh [--nodes N] [--no-accounting] [DIR])"

Starts munged, mariadbd, slurmdbd, slurmctld and N (1-8, default 1) slurmd below DIR, or leaves
alone what runs. Prints 'export SLURM_CONF=...' and nothing else. Stop it with slurm/down.sh.
DIR: private and short; default $(default_dir)
TEXT
}

NODES=""
ACCOUNTING=""
while (($#)) && [[ $1 == -* ]]; do
  case $1 in
    -h | --help) usage && exit ;;
    --nodes)
      NODES=${2:-}
      [[ $NODES =~ ^[1-8]$ ]] || die "--nodes is 1 to 8, not '$NODES'"
      shift
      ;;
    --no-accounting) ACCOUNTING=0 ;;
    *) die "no option $1; see --help" ;;
  esac
  shift
done
(($# < 2)) || die "one DIR, not also $2"
use_dir "${1:-}"
"$HERE/install.sh" >&2

# --- the directory -----------------------------------------------------------------------------

# A socket path holds 107 characters; the longest is a job step's, with two numbers of ten digits.
longest="$D/spool/n1/n1_1234567890.1234567890"
((${#longest} <= 107)) ||
  die "DIR is $((${#longest} - 107)) characters too long for the sockets below it: $D"
[[ $D =~ ^[A-Za-z0-9/._+-]+$ ]] || die "DIR may hold letters, digits and . _ + - only: $D"
id -un >/dev/null 2>&1 || die "user $(id -u) has no name, and Slurm needs one"
mkdir -p "$D"
[ -O "$D" ] || die "$D belongs to somebody else"
chmod 700 "$D"
mkdir -p "$D"/{etc,run,log,munge,state,spool,db}
lock

# The first of 64 free ports: as the last time, or at random (clusters may start at one moment).
choose_port() {
  local port listening
  port=$(cat "$D/etc/port" 2>/dev/null) || port=$(random_port)
  listening=" $(awk '$4 == "0A" { sub(/.*:/, "", $2); print $2 }' /proc/net/tcp* | tr '\n' ' ')"
  for _ in {1..100}; do
    free_block "$port" "$listening" && echo "$port" && return
    port=$(random_port)
  done
  die "no 64 free ports in a row"
}
random_port() { echo $((10240 + 64 * (RANDOM % 340))); }
free_block() {
  local port hex
  for ((port = $1; port < $1 + 64; port++)); do
    printf -v hex %04X "$port"
    [[ $2 != *" $hex "* ]] || return 1
  done
}

write_settings() {
  PORT=$(choose_port)
  echo "$PORT" >"$D/etc/port"
  slurm_conf >"$D/etc/slurm.conf"
  gres_conf >"$D/etc/gres.conf"
  echo "CgroupPlugin=cgroup/v1" >"$D/etc/cgroup.conf"
  (umask 077 && slurmdbd_conf >"$D/etc/slurmdbd.conf")
  [ -s "$D/munge/key" ] || (umask 277 && head -c 1024 /dev/urandom >"$D/munge/key")
  echo "$NODES $ACCOUNTING" >"$D/etc/options"
}

# What runs keeps its options; other ones are refused. Where nothing runs, jobs that outlived killed
# daemons are ended, as by a reboot, and requeued below.
BEGIN=$(date +%FT%T)
if any_alive; then
  FRESH=0
  read -r nodes accounting <"$D/etc/options"
  [ "${NODES:=$nodes} ${ACCOUNTING:=$accounting}" = "$nodes $accounting" ] ||
    die "$D runs with other options; stop it first: $HERE/down.sh $D"
else
  FRESH=1
  : "${NODES:=1}" "${ACCOUNTING:=1}"
  kill_jobs
  rm -rf "$D"/spool/*
  write_settings
fi

# --- the daemons -------------------------------------------------------------------------------

# fail WHAT: it did not come up; the ends of the logs say why.
fail() {
  say "$1 did not start; the ends of the logs:"
  tail -n 8 "$D"/log/* >&2 || true
  say "stop what runs: $HERE/down.sh $D; or begin anew: $HERE/down.sh --purge $D"
  exit 1
}

# daemon NAME COMMAND...: start it unless it runs. It gets the cluster's own environment, its own
# session (Ctrl-C is for the caller) and no file of ours.
daemon() {
  local name=$1
  shift
  ! alive "$name" || return 0
  rm -f "$D/run/$name.pid"
  say "starting $name"
  env -i PATH="$PATH" HOME="$D" LANG=C.UTF-8 SLURM_CONF="$SLURM_CONF" MYSQL_UNIX_PORT="$D/db/sock" \
    setsid "$@" >>"$D/log/$name.out" 2>&1 </dev/null {LOCK}>&- &
  for _ in {1..600}; do
    ! alive "$name" || return 0
    kill -0 $! 2>/dev/null || wait $! || break # ended with an error: no pid file will come
    sleep 0.05
  done
  fail "$name"
}

database() {
  local common=(--no-defaults --user="$(id -un)" --innodb-log-file-size=8M)
  if [ ! -d "$D/db/data" ]; then
    rm -rf "$D/db/new" # of an interrupted start
    mariadb-install-db "${common[@]}" --datadir="$D/db/new" --skip-test-db \
      --auth-root-socket-user="$(id -un)" >"$D/log/mariadb-install-db.out" 2>&1 ||
      fail "mariadb-install-db"
    mv "$D/db/new" "$D/db/data"
  fi
  daemon mariadbd mariadbd "${common[@]}" --datadir="$D/db/data" --socket="$D/db/sock" \
    --pid-file="$D/run/mariadbd.pid" --skip-networking --skip-log-bin --innodb-buffer-pool-size=64M
}

# The cluster, an account and the caller in it; a first, interrupted start may have made a part.
accounts() {
  local me
  me=$(id -un)
  [ -z "$(sacctmgr -nP show assoc account=ddbench user="$me" format=user)" ] || return 0
  sacctmgr -i add cluster ddbench || true
  sacctmgr -i add account ddbench || true
  sacctmgr -i add user "$me" account=ddbench defaultaccount=ddbench
}

ready() { # every node answers
  [ "$(sinfo -h -N -p gpu -o %T | grep -vcE 'unknown|down|\*$')" -eq "$NODES" ]
}

# After a crash: nodes that were drained by it come back, and jobs that are gone are queued again;
# slurmctld would notice after minutes only.
recover() {
  scontrol update NodeName=ALL State=RESUME 2>/dev/null || true # refused where none was drained
  squeue -h -r -t running -o '%S %i' | awk -v begin="$BEGIN" '$1 < begin { print $2 }' |
    xargs -r -n 1 scontrol requeue >&2 || true
}

daemon munged munged --force --key-file="$D/munge/key" --socket="$D/munge/sock" \
  --pid-file="$D/run/munged.pid" --log-file="$D/log/munged.log" --seed-file="$D/munge/seed"
if ((ACCOUNTING)); then
  database
  daemon slurmdbd slurmdbd
  if ! alive slurmctld; then
    within 30 sacctmgr -n show cluster || fail "slurmdbd"
    accounts >"$D/log/accounts.out" 2>&1 || fail "the accounts"
  fi
fi
daemon slurmctld slurmctld -i
for ((n = 1; n <= NODES; n++)); do
  daemon "slurmd-n$n" python3 "$HERE/cluster/reap.py" slurmd -N "n$n"
done
within 30 ready || fail "a node"
((!FRESH)) || recover
[ -s "$D/etc/gres.conf" ] || say "no fake GPUs: no /dev/tty20 here, and only root can make a device"
say "$NODES node(s) up in $D"
printf 'export SLURM_CONF=%q\n' "$SLURM_CONF"
