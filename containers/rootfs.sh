#!/usr/bin/env bash
# The root file system of the CI image: Debian with Python and the locked packages, without ddbench.
# Made once per lock and kept; prints its path. build.sh calls this.
set -euo pipefail

SUITE=bookworm

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lock=$(dirname "$here")/requirements.lock

if [ $# != 2 ] || [ "${1:0:1}" = - ]; then
    echo "usage: containers/rootfs.sh CACHE RUNTIME (a folder; the path of apptainer or singularity)" >&2
    exit 2
fi
cache=$1
runtime=$2

die() {
    echo "rootfs.sh: $1" >&2
    exit 1
}

bootstrap() { # bootstrap FOLDER
    local include mirror
    mirror=$("$here/mirror.sh")
    include=$("$here/install.sh" debian-packages)
    mkdir -p "$1/etc"
    touch "$1/etc/hosts" # a mount point
    if command -v mmdebstrap >/dev/null; then
        # Through tar, so that the files of an ordinary user's rootfs belong to that user.
        mmdebstrap --quiet --variant=minbase --include="$include" "$SUITE" - "$mirror" |
            tar -C "$1" -x --exclude='./dev/*' ||
            die "mmdebstrap failed (an ordinary user needs uidmap and a line in /etc/subuid and /etc/subgid)"
    elif command -v debootstrap >/dev/null && [ "$(id -u)" = 0 ]; then
        debootstrap --variant=minbase --include="$include" "$SUITE" "$1" "$mirror" >&2
    else
        die "neither mmdebstrap nor (for root) debootstrap found: apt-get install mmdebstrap uidmap"
    fi
}

inside() { # inside FOLDER COMMAND...: with the caller's proxies and package index, nothing else of it
    local folder=$1 name prefix kept=()
    shift
    prefix=$(basename "$runtime")
    for name in PIP_INDEX_URL HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy; do
        [ -z "${!name:-}" ] || kept+=("${prefix^^}ENV_$name=${!name}")
    done
    [ ! -e "$folder/wheels/ca.pem" ] || kept+=("${prefix^^}ENV_PIP_CERT=/wheels/ca.pem")
    env "${kept[@]}" "$runtime" exec --writable --contain --cleanenv --no-home "$folder" \
        env TMPDIR=/wheels/tmp "$@" >&2
}

install_packages() { # install_packages FOLDER: the only step with a network, then pip without one
    local wheels=$1/wheels certificates=${PIP_CERT:-${SSL_CERT_FILE:-}}
    mkdir -p "$wheels/tmp"
    cp "$here/install.sh" "$lock" "$wheels"
    [ -z "$certificates" ] || cp "$certificates" "$wheels/ca.pem"
    inside "$1" bash /wheels/install.sh wheels /wheels/requirements.lock /wheels
    echo "rootfs.sh: installing $(find "$wheels" -name '*.whl' | wc -l) wheels" >&2
    inside "$1" bash /wheels/install.sh packages cuda /wheels/requirements.lock --no-index --find-links /wheels
    rm -rf "$wheels"
}

key=$(cat "$lock" "$here/install.sh" "$here/rootfs.sh" | sha256sum | cut -c1-16)
folder=$cache/rootfs-$key
if [ ! -d "$folder" ]; then
    rm -rf "$cache"/rootfs-* # of other locks, or interrupted
    echo "rootfs.sh: making $folder (minutes, and 6 GB)" >&2
    bootstrap "$folder.part"
    install_packages "$folder.part"
    mv "$folder.part" "$folder"
fi
echo "$folder"
