#!/bin/sh
# Take the appliance off this machine. The site's own files and the event log stay, for what was heard may be evidence;
# deploy/install.sh finds them again.
#
#   sudo deploy/uninstall.sh [--purge] [--root DIR]
#
#   --purge      remove /etc/appliance and /var/lib/appliance too: site file, password, event log and clips
#   --root DIR   of a tree (a card image) instead of the running system; also read from $DESTDIR
#
# The broker keeps the unit's retained topics (status, health, config) until somebody clears them; README says how.
set -eu

root=${DESTDIR:-}
purge=

die() {
    echo "uninstall: $*" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case $1 in
        --purge) purge=yes; shift ;;
        --root) root=${2:?--root needs a folder}; shift 2 ;;
        -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) die "unknown option $1; see --help" ;;
    esac
done
if [ -n "$root" ]; then
    root=$(CDPATH='' cd -- "$root" && pwd) || die "--root: no such folder"
elif [ "$(id -u)" -ne 0 ]; then
    die "must be root: sudo deploy/uninstall.sh"
fi

# drop TARGET: remove it where it is there, and say so.
drop() {
    if [ -e "$root$1" ] || [ -L "$root$1" ]; then
        rm -rf "$root$1"
        echo "removed $1"
    fi
}

units="appliance-sensor.service appliance-publisher.service appliance-retention.service appliance-retention.timer"
running=
[ -n "$root" ] || [ ! -d /run/systemd/system ] || running=yes
if [ -n "$running" ]; then
    # The publisher first: it says `offline`, and sends what waits.
    systemctl stop appliance-publisher.service appliance-sensor.service appliance-retention.timer 2>/dev/null || true
fi
for unit in $units; do
    [ ! -e "$root/etc/systemd/system/$unit" ] || systemctl ${root:+--root="$root"} --quiet disable "$unit"
    drop "/etc/systemd/system/$unit"
    drop "/etc/systemd/system/$unit.d"
done
drop /etc/udev/rules.d/99-appliance-audio.rules
drop /usr/local/bin/appliance
drop /usr/local/sbin/appliance-verify
drop /opt/appliance
# The user stays while files are there that belong to it.
if [ -n "$purge" ]; then
    drop /etc/appliance
    drop /var/lib/appliance
    drop /usr/lib/sysusers.d/appliance.conf
    if [ -z "$root" ] && id appliance >/dev/null 2>&1; then
        userdel appliance
        echo "removed user appliance"
    fi
fi
if [ -n "$running" ]; then
    systemctl daemon-reload
    udevadm control --reload
fi
if [ -z "$purge" ]; then
    echo "kept /etc/appliance and /var/lib/appliance; --purge removes them too"
fi
