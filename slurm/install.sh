#!/usr/bin/env bash
# Install what slurm/up.sh starts, from Debian or Ubuntu packages; quiet when all is there.
set -euo pipefail

PATH=$PATH:/usr/sbin:/sbin
PACKAGES=(slurm-wlm munge slurmdbd mariadb-server-core mariadb-client-core)
for command in sbatch slurmctld slurmd slurmdbd munged mariadbd mariadb; do
  type -P "$command" >/dev/null && continue
  line="apt-get update && apt-get install -y --no-install-recommends ${PACKAGES[*]}"
  if [ "$(id -u)" -ne 0 ] || ! type -P apt-get >/dev/null; then
    echo "install.sh: no $command here; as root: $line" >&2
    exit 2
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${PACKAGES[@]}"
  exit
done
