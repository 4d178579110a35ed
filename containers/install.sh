#!/usr/bin/env bash
# The steps that every image has in common; run inside the image (or its root file system) by the
# definition files, the Containerfile and rootfs.sh.
set -euo pipefail

VENV=/opt/venv
HOME_OF_CODE=/opt/ddbench
DEBIAN_PACKAGES=(ca-certificates python3 python3-venv)
CPU_INDEX=https://download.pytorch.org/whl/cpu # PyTorch's own wheels without CUDA

usage() {
    cat <<EOF
usage: install.sh STEP

  debian-packages              print the Debian packages that an image needs, separated by commas
  debian                       install them
  wheels LOCK DIR              make $VENV; fetch the wheels of LOCK, checked by hash, into DIR
  packages cuda LOCK [PIP...]  make $VENV; install LOCK, checked by hash; PIP: more options for pip
  packages cpu LOCK            the same, but torch and torchvision from PyTorch's CPU wheels
  cpu-lock LOCK                print the entries of LOCK that the CPU variant installs by hash
  code                         install the package that lies in $HOME_OF_CODE
EOF
}

pip() { "$VENV/bin/python" -m pip --disable-pip-version-check --no-cache-dir --quiet "$@"; }

make_venv() { [ -x "$VENV/bin/python" ] || python3 -m venv "$VENV"; }

debian() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get update
    apt-get install -y --no-install-recommends "${DEBIAN_PACKAGES[@]}"
    rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
}

cpu_lock() { # cpu_lock LOCK: without torch, torchvision and what only their CUDA builds need
    awk '/^[a-z]/ { skip = /^(torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z]+)(\[|==)/ }
         !skip' "$1"
}

pinned() { # pinned LOCK NAME: NAME==VERSION as the lock has it
    grep -oE "^$2==[^ ;]+" "$1"
}

packages() { # --no-deps: the lock is complete, and pip check below proves it
    local variant=$1 lock=$2 work
    shift 2
    make_venv
    case "$variant" in
    cuda) pip install --require-hashes --no-deps --only-binary :all: -r "$lock" "$@" ;;
    cpu)
        work=$(mktemp -d)
        cpu_lock "$lock" >"$work/requirements.lock"
        pip install --require-hashes --no-deps --only-binary :all: -r "$work/requirements.lock"
        # The lock has no hashes for these two: they are pinned by version only, fetched from one
        # index alone, and their hashes are kept in the image.
        pip download --no-deps --only-binary :all: --index-url "$CPU_INDEX" --dest "$work" \
            "$(pinned "$lock" torch)+cpu" "$(pinned "$lock" torchvision)+cpu"
        (cd "$work" && sha256sum -- *.whl) | tee "$VENV/cpu-wheels.sha256"
        pip install --no-deps --no-index "$work"/*.whl
        rm -rf "$work"
        ;;
    *) usage >&2 && exit 2 ;;
    esac
    pip check
}

code() { # in place, so that recipes/ lies beside the package, as in a checkout
    pip install --no-deps --no-index --no-build-isolation --editable "$HOME_OF_CODE"
    "$VENV/bin/python" -m compileall -q "$HOME_OF_CODE/ddbench" # the image cannot be written to later
}

case "${1:-} $#" in
"debian-packages 1") (IFS=, && echo "${DEBIAN_PACKAGES[*]}") ;;
"debian 1") debian ;;
"wheels 3")
    make_venv
    pip download --require-hashes --no-deps --only-binary :all: -r "$2" --dest "$3"
    ;;
"packages "[3-9]) packages "${@:2}" ;;
"cpu-lock 2") cpu_lock "$2" ;;
"code 1") code ;;
*) usage >&2 && exit 2 ;;
esac
