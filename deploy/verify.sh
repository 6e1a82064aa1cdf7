#!/bin/sh
# Is this unit fit to be left alone? Run it after an installation and after every change:
#
#   sudo appliance-verify [--root DIR] [--site FILE]
#
# One line per check, "ok" or "FAIL" with what to do; exit status 1 where anything failed. It changes nothing.
set -u

root=
site=
while [ $# -gt 0 ]; do
    case $1 in
        --root) root=${2:?--root needs a folder}; shift 2 ;;
        --site) site=${2:?--site needs a file}; shift 2 ;;
        -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "appliance-verify: unknown option $1; see --help" >&2; exit 64 ;;
    esac
done
site=${site:-$root/etc/appliance/site.toml}
home=$root/opt/appliance
failed=0

ok() { echo "ok    $*"; }
bad() {
    echo "FAIL  $*"
    failed=1
}

if grep -q '^appliance:' "$root/etc/passwd" 2>/dev/null; then
    ok "user: appliance"
else
    bad "user: appliance is missing; run deploy/install.sh"
fi

for unit in appliance-sensor.service appliance-publisher.service appliance-retention.timer; do
    name=${unit%.*}
    if ! systemctl ${root:+--root="$root"} --quiet is-enabled $unit 2>/dev/null; then
        bad "$name: does not start at boot; run: systemctl enable --now $unit"
    elif ! systemctl --quiet is-active $unit 2>/dev/null; then
        bad "$name: not running; look: journalctl -u $name -n 20"
    else
        ok "$name: running"
    fi
done

if [ ! -x "$home/venv/bin/python" ]; then
    bad "programme: $home/venv is missing; run deploy/install.sh"
elif ! "$home/venv/bin/python" "$home/verify_site.py" "$site"; then
    failed=1
fi

exit $failed
