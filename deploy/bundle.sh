#!/bin/sh
# Collect everything Python that a unit needs, so that it can be installed without a network:
#   deploy/bundle.sh FOLDER
# then carry FOLDER and this repository to the unit: sudo deploy/install.sh --wheels FOLDER
# Run it on the unit's own kind of machine (processor, Debian or Ubuntu release): wheels are built for one.
set -eu

if [ $# -ne 1 ]; then
    echo "usage: deploy/bundle.sh FOLDER" >&2
    exit 64
fi
source_dir=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
mkdir -p "$1"
rm -f "$1"/appliance-*.whl
# Debian's Python may have no pip of its own; an environment's has.
venv=$(mktemp -d)
trap 'rm -rf "$venv"' EXIT
"${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/python" -m pip wheel --quiet --disable-pip-version-check --wheel-dir "$1" "$source_dir"
ls "$1"/appliance-*.whl
