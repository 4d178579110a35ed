# Sourced by up.sh: the files below DIR/etc. Test settings; not for production.
# shellcheck shell=bash
# Of up.sh: D, NODES, ACCOUNTING; PORT is the first of the cluster's 64 ports.

slurm_conf() {
  cat <<TEXT
ClusterName=ddbench
SlurmctldHost=$(host)(127.0.0.1)
SlurmctldPort=$PORT
SrunPortRange=$((PORT + 10))-$((PORT + 63))
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
# A requeued job rests for the lifetime of a credential + 1 s: 6 s here, 121 s by default.
AuthInfo=socket=$D/munge/sock,cred_expire=5
CredType=cred/munge

StateSaveLocation=$D/state
SlurmdSpoolDir=$D/spool/%n
SlurmctldPidFile=$D/run/slurmctld.pid
SlurmdPidFile=$D/run/slurmd-%n.pid
SlurmctldLogFile=$D/log/slurmctld.log
SlurmdLogFile=$D/log/slurmd-%n.log
MailProg=/bin/true

# No cgroups, hence no root: processes are followed by their group, memory by sampling.
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
MpiDefault=none
# Nodes have what is written below, also where the machine has less.
SlurmdParameters=config_overrides

SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=$(($(memory) / $(cpus)))
GresTypes=gpu
# Jobs start within a second of their submission.
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,sched_min_interval=0

# Partition high preempts partition gpu: the victim gets its own --signal at once, SIGTERM after
# GraceTime, and is requeued.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
KillWait=5
JobRequeue=1
# sbatch refuses an over-long time limit; by default such a job waits for ever.
EnforcePartLimits=ALL
# Finished jobs stay visible to squeue and scontrol for an hour.
MinJobAge=3600
InactiveLimit=0
ReturnToService=2
SlurmdTimeout=300

$(accounting)

$(nodes)
PartitionName=gpu Nodes=ALL State=UP Default=YES MaxTime=02:00:00 DefaultTime=00:10:00 \
  PriorityTier=10 PreemptMode=REQUEUE GraceTime=10
PartitionName=high Nodes=ALL State=UP MaxTime=00:30:00 PriorityTier=100 PreemptMode=OFF
TEXT
}

accounting() {
  if ((!ACCOUNTING)); then
    echo "AccountingStorageType=accounting_storage/none"
    return
  fi
  cat <<TEXT
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((PORT + 1))
# For clients of slurmdbd this is munge's socket.
AccountingStoragePass=$D/munge/sock
# Unknown accounts and qualities of service are refused, as on most clusters.
AccountingStorageEnforce=associations,qos
TEXT
}

slurmdbd_conf() {
  cat <<TEXT
AuthType=auth/munge
AuthInfo=socket=$D/munge/sock
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$((PORT + 1))
SlurmUser=$(id -un)
LogFile=$D/log/slurmdbd.log
PidFile=$D/run/slurmdbd.pid
# By a unix socket (MYSQL_UNIX_PORT) whose owner is its only user: no port, no password.
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=$(id -un)
StorageLoc=slurm_acct
TEXT
}

# All nodes are this machine: each has its processors, at least two, and its memory once more.
nodes() {
  local n gres=""
  [ -z "$(device 1)" ] || gres=" Gres=gpu:fake:2"
  for ((n = 1; n <= NODES; n++)); do
    echo "NodeName=n$n NodeHostname=$(host) NodeAddr=127.0.0.1 Port=$((PORT + 1 + n))" \
      "CPUs=$(cpus) RealMemory=$(memory)$gres"
  done
}
host() { uname -n | cut -d. -f1; }
cpus() { nproc | awk '{ print ($1 > 2 ? $1 : 2) }'; }
memory() { awk '/^MemTotal/ { print int($2 / 1024 * 0.8) }' /proc/meminfo; } # MiB

gres_conf() {
  local n
  for ((n = 1; n <= NODES; n++)); do
    [ -z "$(device $((2 * n)))" ] ||
      echo "NodeName=n$n Name=gpu Type=fake File=$(device $((2 * n - 1))),$(device $((2 * n)))"
  done
}

# device K: the character device that stands for fake GPU K. It is never opened; a terminal that
# nobody uses does, else root makes one.
device() {
  local terminal=/dev/tty$((19 + $1)) made=$D/etc/gpu$1
  if [ -c "$terminal" ]; then
    echo "$terminal"
  elif [ -c "$made" ] || mknod "$made" c 1 3 2>/dev/null; then
    echo "$made"
  fi
}
