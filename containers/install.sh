#!/usr/bin/env bash
# The steps that every image has in common; run inside the image (or its root file system) by the
# definition files, the Containerfile and rootfs.sh.
set -euo pipefail

VENV=/opt/venv
HOME_OF_CODE=/opt/ddbench
DEBIAN_PACKAGES=(ca-certificates python3 python3-venv)
DEVELOPMENT='pytest(-timeout)?|pluggy|iniconfig|pygments|hypothesis|sortedcontainers'
DEVELOPMENT+='|(axe-)?playwright(-python)?|greenlet|ruff|mypy(-extensions)?|librt|pathspec'
DEVELOPMENT+='|ast-serialize|types-[a-z-]+|(pandas|scipy)-stubs|optype|numpy-typing-compat'
CPU_INDEX=https://download.pytorch.org/whl/cpu # PyTorch's own wheels without CUDA

usage() {
    cat <<EOF
usage: install.sh STEP

  debian-packages              print the Debian packages that an image needs, separated by commas
  debian                       install them
  lock LOCK                    print the entries of LOCK that an image needs
  wheels LOCK DIR              make $VENV; fetch their wheels, checked by hash, into DIR
  packages cuda LOCK [PIP...]  make $VENV; install them, checked by hash; PIP: more options for pip
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

without() { # without PATTERN < LOCK: the entries whose names do not match
    awk -v names="^($1)([[]|==)" '/^[a-z]/ { skip = $0 ~ names } !skip'
}

lock() { # lock LOCK: without what only tests and development need
    without "$DEVELOPMENT" <"$1"
}

cpu_lock() { # cpu_lock LOCK: without torch, torchvision and what only their CUDA builds need, too
    lock "$1" | without 'torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z]+'
}

pinned() { # pinned LOCK NAME: NAME==VERSION as the lock has it
    grep -oE "^$2==[^ ;]+" "$1"
}

wheels() { # wheels LOCK DIR
    local work
    work=$(mktemp -d)
    lock "$1" >"$work/requirements.lock"
    make_venv
    pip download --require-hashes --no-deps --only-binary :all: -r "$work/requirements.lock" --dest "$2"
    rm -rf "$work"
}

packages() { # --no-deps: the lock is complete, and pip check below proves it
    local variant=$1 lock=$2 work
    shift 2
    work=$(mktemp -d)
    make_venv
    case "$variant" in
    cuda)
        lock "$lock" >"$work/requirements.lock"
        pip install --require-hashes --no-deps --only-binary :all: -r "$work/requirements.lock" "$@"
        ;;
    cpu)
        cpu_lock "$lock" >"$work/requirements.lock"
        pip install --require-hashes --no-deps --only-binary :all: -r "$work/requirements.lock"
        # The lock has no hashes for these two: they are pinned by version only, fetched from one
        # index alone, and their hashes are kept in the image.
        pip download --no-deps --only-binary :all: --index-url "$CPU_INDEX" --dest "$work" \
            "$(pinned "$lock" torch)+cpu" "$(pinned "$lock" torchvision)+cpu"
        (cd "$work" && sha256sum -- *.whl) | tee "$VENV/cpu-wheels.sha256"
        pip install --no-deps --no-index "$work"/*.whl
        ;;
    *) usage >&2 && exit 2 ;;
    esac
    rm -rf "$work"
    pip check
}

code() { # in place, so that recipes/ lies beside the package, as in a checkout
    pip install --no-deps --no-index --no-build-isolation --editable "$HOME_OF_CODE"
    "$VENV/bin/python" -m compileall -q "$HOME_OF_CODE/ddbench" # the image cannot be written to later
}

case "${1:-} $#" in
"debian-packages 1") (IFS=, && echo "${DEBIAN_PACKAGES[*]}") ;;
"debian 1") debian ;;
"lock 2") lock "$2" ;;
"wheels 3") wheels "$2" "$3" ;;
"packages "[3-9]) packages "${@:2}" ;;
"cpu-lock 2") cpu_lock "$2" ;;
"code 1") code ;;
*) usage >&2 && exit 2 ;;
esac
