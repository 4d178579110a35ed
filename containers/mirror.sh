#!/usr/bin/env bash
# Print the Debian mirror to download from: $DEBIAN_MIRROR, else the one of this machine's apt.
set -euo pipefail

if [ -n "${DEBIAN_MIRROR:-}" ]; then
    echo "$DEBIAN_MIRROR"
    exit
fi
# shellcheck disable=SC1091 # of every Linux
. /etc/os-release
# shellcheck disable=SC2016 # apt-get puts the fields in
sources=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null || true)
mirror=
if [ "${ID:-}" = debian ]; then
    mirror=$(awk -v release="${VERSION_CODENAME:-}" '$1 == release { print $2; exit }' <<<"$sources")
fi
if [ -z "$mirror" ]; then
    echo "mirror.sh: the apt of this machine has no Debian mirror; set DEBIAN_MIRROR=URL" >&2
    exit 2
fi
echo "${mirror%/}"
