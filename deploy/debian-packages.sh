#!/bin/sh
# Install the Debian packages that are missing, and say so; do nothing where all are there.
#   deploy/debian-packages.sh [--dry-run] PACKAGE...
# Through sudo where not root. On other systems it names the packages and leaves them to you.
set -eu

dry_run=
if [ "${1:-}" = --dry-run ]; then
    dry_run=yes
    shift
fi

missing=
for package in "$@"; do
    if ! dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed; then
        missing="$missing $package"
    fi
done
[ -n "$missing" ] || exit 0

echo "Debian packages needed:$missing"
[ -z "$dry_run" ] || exit 0
if ! command -v apt-get >/dev/null; then
    echo "no apt-get here: install what these Debian packages hold by hand, then run this again:$missing" >&2
    exit 1
fi
as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "neither root nor sudo: run as root: apt-get install$missing" >&2
        exit 1
    fi
    as_root=sudo
    echo "installing them through sudo"
fi
$as_root apt-get update -qq
# shellcheck disable=SC2086 # a list of words
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
