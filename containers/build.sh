#!/usr/bin/env bash
# Build an image of this checkout; its path is the last line on stdout.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
export LC_ALL=C # of sort, in what is hashed
cache=${DDBENCH_CI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ddbench-ci}

usage() {
    cat <<EOF
usage: containers/build.sh [ci|cpu|cuda] [-o IMAGE.sif]

  ci    Debian from a local root file system, CUDA build of torch; needs mmdebstrap (default)
  cuda  for GPU nodes; pulls its base from a registry
  cpu   the same without CUDA

IMAGE   default ddbench-VARIANT.sif here; for ci in the cache. One built from the same inputs is kept.
Cache:  \$DDBENCH_CI_CACHE, default \${XDG_CACHE_HOME:-~/.cache}/ddbench-ci (8.6 GB for ci).
Temporary files go to \$APPTAINER_TMPDIR, default the cache.
EOF
}

die() {
    echo "build.sh: $1" >&2
    exit "${2:-1}"
}

variant=ci
image=
while [ $# -gt 0 ]; do
    case "$1" in
    ci | cpu | cuda) variant=$1 ;;
    -o) image=${2:?build.sh: -o needs a file} && shift ;;
    -h | --help) usage && exit ;;
    *) usage >&2 && exit 2 ;;
    esac
    shift
done

runtime=$(command -v apptainer || command -v singularity) || die \
    "neither apptainer nor singularity on PATH: 'module load apptainer', or eval \"\$(containers/get-apptainer.sh)\"" 2
command -v mksquashfs >/dev/null || die "no mksquashfs: apt-get install squashfs-tools" 2
name=$(basename "$runtime")
name=${name^^} # its variables: APPTAINER_... or SINGULARITY_...
dropped=${name}_DROP_CAPS
export "$dropped=${!dropped-$("$here/drop-caps.sh")}"

mkdir -p "$cache"
exec 9>"$cache/.build.lock"
flock -n 9 || { echo "build.sh: waiting for another build in $cache" >&2 && flock 9; }
rm -rf "$cache"/build.* # of builds that were killed
work=$(mktemp -d "${APPTAINER_TMPDIR:-$cache}/build.XXXXXX")
trap 'chmod -R u+w "$work" 2>/dev/null; rm -rf "$work"' EXIT
export "${name}_TMPDIR=$work"

if [ "$variant" = ci ]; then
    definition=$here/ddbench-ci.def
    image=${image:-$cache/ddbench-ci.sif}
else
    definition=$here/ddbench.def
    image=${image:-ddbench-$variant.sif}
fi
image=$(realpath -m "$image")
part=$image.part
[ -w "$(dirname "$image")" ] || die "cannot write to $(dirname "$image")" 2

"$here/stage.sh" "$work/source"
inputs=$variant-$(
    cd "$work/source"
    { find . -type f -print0 | sort -z | xargs -0 sha256sum && cat "$definition" "$here/rootfs.sh"; } |
        sha256sum | cut -c1-64
)
made_from() { # made_from IMAGE: the inputs that its label names
    "$runtime" inspect --labels "$1" 2>/dev/null | sed -n "s/^org.ddbench.inputs: //p"
}

if [ -e "$image" ] && [ "$(made_from "$image")" = "$inputs" ]; then
    echo "build.sh: $image is of this code already" >&2
else
    arguments=(
        --build-arg "SOURCE=$work/source"
        --build-arg "VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/pyproject.toml")"
        --build-arg "COMMIT=$(cat "$work/source/ddbench/_commit.txt" 2>/dev/null || echo unknown)"
        --build-arg "INPUTS=$inputs"
    )
    if [ "$variant" = ci ]; then
        rootfs=$("$here/rootfs.sh" "$cache" "$runtime")
        arguments+=(--build-arg "ROOTFS=$rootfs")
    else
        arguments+=(--build-arg "VARIANT=$variant")
    fi
    rm -f "$part"
    # zstd at its first level: a third of gzip's time for about the same size
    "$runtime" build --mksquashfs-args "-comp zstd -Xcompression-level 1" "${arguments[@]}" \
        "$part" "$definition" >&2 || { rm -f "$part" && die "the build of $image failed (see above)"; }
    mv "$part" "$image"
fi
echo "sha256:$(sha256sum "$image" | cut -d' ' -f1)"
echo "$image"
