#!/usr/bin/env bash
# Put into a folder what an image holds of this project: the package, the recipes, the lock.
set -euo pipefail

PARTS=(ddbench recipes pyproject.toml README.md LICENSE requirements.lock
    containers/install.sh containers/Containerfile)

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

if [ $# != 1 ] || [ "${1:0:1}" = - ]; then
    echo "usage: containers/stage.sh FOLDER (new or empty)" >&2
    exit 2
fi
mkdir -p "$1"
folder=$(cd "$1" && pwd)
[ -z "$(ls -A "$folder")" ] || { echo "stage.sh: $folder is not empty" >&2 && exit 2; }

is_checkout() { # not merely inside somebody else's
    [ "$(git -C "$root" rev-parse --show-toplevel 2>/dev/null)" = "$root" ]
}

files() { # what git does not ignore, separated by NUL; in a plain folder everything but caches
    cd "$root"
    if is_checkout; then
        git ls-files -z --cached --others --exclude-standard -- "${PARTS[@]}" |
            while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done
    else
        find "${PARTS[@]}" -name __pycache__ -prune -o -type f ! -name '*.pyc' -print0
    fi
}

files | tar -C "$root" --null --files-from=- -c | tar -C "$folder" -x --no-same-owner
if is_checkout; then
    commit=$(git -C "$root" rev-parse HEAD)
    [ -z "$(git -C "$root" status --porcelain -- ddbench recipes)" ] || commit+=+
    echo "$commit" >"$folder/ddbench/_commit.txt"
fi
