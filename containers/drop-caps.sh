#!/usr/bin/env bash
# Print the capabilities that root lacks here, as CAP_A,CAP_B; nothing where root has all of them
# or the caller is an ordinary user. Apptainer, run by root, asks for all and fails without them;
# APPTAINER_DROP_CAPS set to this list makes it ask for the others only.
set -euo pipefail

NAMES=(CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP
    LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE
    SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME
    SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG
    WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE)

[ "$(id -u)" = 0 ] || exit 0

capabilities() { # capabilities FIELD: the mask of this process as a number
    echo $((16#$(awk -v field="$1:" '$1 == field { print $2 }' /proc/self/status)))
}

held=$(($(capabilities CapPrm) & $(capabilities CapBnd)))
last=$(cat /proc/sys/kernel/cap_last_cap)
missing=()
for ((bit = 0; bit <= last && bit < ${#NAMES[@]}; bit++)); do
    ((held >> bit & 1)) || missing+=("CAP_${NAMES[bit]}")
done
(IFS=,; echo "${missing[*]}")
