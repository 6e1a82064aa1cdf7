#!/bin/sh
# Install or upgrade the appliance on this machine. Run it as often as you like: it changes only what differs, and never
# a file in /etc/appliance.
#
#   sudo deploy/install.sh [--wheels FOLDER] [--root DIR]
#
#   --wheels FOLDER   take every Python package from FOLDER (see bundle.sh) instead of the package index
#   --root DIR        install into a tree (a card image) instead of the running system; also read from $DESTDIR
#
# Environment: PYTHON, the interpreter to run with (default python3, at least 3.10).
set -eu
# The services read what root installs, however strict root is otherwise.
umask 022

source_dir=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
root=${DESTDIR:-}
wheels=
python=${PYTHON:-python3}

die() {
    echo "install: $*" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case $1 in
        --wheels) wheels=$(CDPATH='' cd -- "${2:?--wheels needs a folder}" && pwd); shift 2 ;;
        --root) root=${2:?--root needs a folder}; shift 2 ;;
        -h | --help) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) die "unknown option $1; see --help" ;;
    esac
done
if [ -n "$root" ]; then
    mkdir -p "$root"
    root=$(CDPATH='' cd -- "$root" && pwd)
    # pip writes the path into the first line of each script, where the kernel takes no space and 127 characters at most.
    case $root in *[[:space:]]*) die "--root $root: holds a space; mount the card elsewhere" ;; esac
    [ ${#root} -le 90 ] || die "--root $root: is longer than 90 characters; mount the card elsewhere"
fi

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || die "$python must be Python 3.10 or later; set PYTHON"
if [ "$(id -u)" -ne 0 ] && [ -z "$root" ]; then
    die "must be root: sudo deploy/install.sh"
fi

# put MODE SOURCE TARGET: copy where the content differs, and say so.
put() {
    if ! cmp -s "$2" "$root$3"; then
        install -D -m "$1" "$2" "$root$3"
        echo "installed $3"
    fi
}

# keep MODE SOURCE TARGET: copy only where nothing is there yet: the file belongs to the site.
keep() {
    if [ ! -e "$root$3" ]; then
        install -D -m "$1" "$2" "$root$3"
        echo "created $3"
    fi
}

# own OWNER TARGET: a tree built by somebody else than root gets its owners when it is written to the card.
own() {
    if [ "$(id -u)" -eq 0 ]; then
        chown "$(owner_ids "$1")" "$root$2"
    fi
}

# owner_ids USER:GROUP: numbers as the target knows them, which may not be this machine's.
owner_ids() {
    user_id=$(awk -F: -v name="${1%:*}" '$1 == name { print $3 }' "$root/etc/passwd")
    group_id=$(awk -F: -v name="${1#*:}" '$1 == name { print $3 }' "$root/etc/group")
    echo "${user_id:-0}:${group_id:-0}"
}

if [ -z "$root" ]; then
    # shellcheck disable=SC2046 # nothing, or one word
    "$source_dir/deploy/debian-packages.sh" libportaudio2 $("$python" -c 'import ensurepip' 2>/dev/null || echo python3-venv)
fi

put 0644 "$source_dir/deploy/appliance.sysusers.conf" /usr/lib/sysusers.d/appliance.conf
mkdir -p "$root/etc"
systemd-sysusers ${root:+--root="$root"} appliance.conf

# The programme: an own environment, renewed when the wheel differs from the one that is in it.
home=/opt/appliance
venv=$root$home/venv
mkdir -p "$root$home"
# Cut off while it was made, or of the Python that the system had before its upgrade: begun anew.
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    rm -f "$root$home/wheel.sha256"
    "$python" -m venv --clear "$venv"
fi
wheel_dir=$wheels
if [ -z "$wheel_dir" ]; then
    wheel_dir=$(mktemp -d)
    trap 'rm -rf "$wheel_dir"' EXIT
    # Debian's Python may have no pip of its own; the environment's has.
    "$venv/bin/python" -m pip wheel --disable-pip-version-check --quiet --no-deps --wheel-dir "$wheel_dir" "$source_dir"
fi
wheel=$(find "$wheel_dir" -maxdepth 1 -name 'appliance-*.whl')
[ -f "$wheel" ] || die "exactly one appliance-*.whl must lie in $wheel_dir; build it with deploy/bundle.sh"
hash=$(sha256sum "$wheel" | cut -d ' ' -f 1)
if [ "$(cat "$root$home/wheel.sha256" 2>/dev/null)" != "$hash" ]; then
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check ${wheels:+--no-index --find-links "$wheels"} "$wheel"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-index --force-reinstall "$wheel"
    # Scripts carry the path they will have on the target.
    [ -z "$root" ] || find "$venv/bin" -type f -exec sed -i "1s|^#!$root/|#!/|" {} +
    echo "$hash" >"$root$home/wheel.sha256"
    echo "installed $home/venv"
fi
# An earlier installation may have been stricter than the services can bear.
find "$root$home" ! -type l ! -perm -go+r -exec chmod go+rX {} +
put 0755 "$source_dir/deploy/verify.sh" /usr/local/sbin/appliance-verify
put 0644 "$source_dir/deploy/verify_site.py" $home/verify_site.py
if [ ! -L "$root/usr/local/bin/appliance" ]; then
    mkdir -p "$root/usr/local/bin"
    ln -sfn $home/venv/bin/appliance "$root/usr/local/bin/appliance"
fi

# The site's own files, readable by the services and by nobody else.
mkdir -p "$root/etc/appliance"
own root:appliance /etc/appliance
chmod 0750 "$root/etc/appliance"
if [ ! -e "$root/etc/appliance/site.toml" ]; then
    keep 0640 "$source_dir/firmware_configs/sites/example.toml" /etc/appliance/site.toml
    own root:appliance /etc/appliance/site.toml
fi
keep 0600 /dev/null /etc/appliance/mqtt-password

# The system's side.
put 0644 "$source_dir/deploy/99-appliance-audio.rules" /etc/udev/rules.d/99-appliance-audio.rules
systemd_version=$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
for service in appliance-sensor appliance-publisher; do
    put 0644 "$source_dir/systemd/$service.service" /etc/systemd/system/$service.service
    # An older systemd would warn of the unknown keys on every start.
    if [ "${systemd_version:-0}" -ge 254 ]; then
        put 0644 "$source_dir/systemd/restart-backoff.conf" /etc/systemd/system/$service.service.d/restart-backoff.conf
    fi
done
for unit in appliance-retention.service appliance-retention.timer; do
    put 0644 "$source_dir/systemd/$unit" /etc/systemd/system/$unit
done
systemctl ${root:+--root="$root"} --quiet enable appliance-sensor.service appliance-publisher.service appliance-retention.timer

if [ -z "$root" ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    udevadm control --reload && udevadm trigger --subsystem-match=sound --action=change
    systemctl try-restart appliance-sensor.service appliance-publisher.service
    systemctl start appliance-retention.timer
fi
cat <<'NEXT'
Ready. Next:
  1. edit /etc/appliance/site.toml   (site, node, array, heading, broker)
  2. systemctl restart appliance-sensor appliance-publisher
  3. appliance-verify
NEXT
