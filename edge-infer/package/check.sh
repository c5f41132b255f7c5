#!/usr/bin/env bash
# Builds the Debian package from the program that target/release holds and tries it as far as one can without a
# board: what it holds, installed below a scratch folder, its service as systemd reads it, and a day on a root
# that cannot be written. Needs cargo-deb; what else is missing (lintian, systemd, strace, root) is SKIPPED.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
state=$root/var/lib/edge-infer

say() { printf '\n== %s\n' "$1"; }
skipped() { echo "SKIPPED: $1"; }
has() { command -v "$1" > /dev/null; }
wrong() { echo "WRONG: $1"; exit 1; }

say 'the package'
edge-infer/package/build.sh --no-build
package=$(ls -t target/debian/edge-infer_*.deb | head -1)
dpkg-deb --field "$package" Version Architecture Depends Installed-Size
if has lintian; then
    # A package outside Debian closes none of its bugs.
    lintian --allow-root --fail-on error,warning --suppress-tags initial-upload-closes-no-bugs "$package"
    echo 'lintian: nothing to say'
else
    skipped 'lintian is not installed'
fi

say 'installed below a scratch folder'
mkdir -p "$root"/var/lib/dpkg/{info,updates} "$root/etc"
touch "$root/var/lib/dpkg/status"
# No system is there for it to depend on; its scripts act on the folder.
dpkg --root="$root" --force-script-chrootless --force-depends --log=/dev/null --install "$package" 2>&1 \
    | grep -v 'dependency problems\|depends on\|is not installed' || true
grep '^edge-infer:' "$root/etc/passwd" || wrong 'the service has no user'
if has systemd-tmpfiles; then
    systemd-tmpfiles --root="$root" --create edge-infer.conf
    [[ $(stat -c '%A %u' "$state") == "drwx------ $(grep '^edge-infer:' "$root/etc/passwd" | cut -d: -f3)" ]] \
        || wrong 'the state folder is not private to the service'
fi
program=$root/usr/bin/edge-infer
man -l "$root/usr/share/man/man1/edge-infer-status.1.gz" > /dev/null 2>&1 && echo 'the manual page is readable'
bash -n "$root/usr/share/bash-completion/completions/edge-infer" && echo 'the completions are a bash script'

say 'the program from there'
cd /
"$program" kiosk --config "$root/etc/edge-infer/camp.toml" --print-config > "$work/printed"
echo 'the shipped configuration beside the default one:'
"$program" kiosk --print-config | diff - "$work/printed" || true
# The programme must choose a threshold.
sed -e "s#/var/lib/edge-infer#$state#" -e "s/^\[camp\]\$/[camp]\nthreshold = 0.5/" "$root/etc/edge-infer/camp.toml" > "$work/camp.toml"
mkdir -p "$state/output"
journal() { "$program" journal --config "$work/camp.toml" "$@"; }
key=$(journal recovery-key --private "$work/private.key")
echo 222222 | journal found --operator Asha --recovery-key "$key" --recovery-box "$work/recovery.box"
"$program" status --config "$work/camp.toml" | sed "s#$work##" || true
"$program" status --config "$work/camp.toml" --json > "$work/status.json" || true
grep -q "\"file\":\"$root/usr/share/edge-infer/models/" "$work/status.json" || wrong 'not the model of the package'
cd - > /dev/null

say 'the service as systemd reads it'
if has systemd-analyze; then
    unit=$work/edge-infer.service
    sed "s#/usr/bin/edge-infer#$program#" "$root/usr/lib/systemd/system/edge-infer.service" > "$unit"
    systemd-analyze verify --man=no "$unit" && echo 'verified'
    systemd-analyze security --offline=true --threshold=25 --no-pager "$unit" | tail -1
else
    skipped 'systemd is not installed'
fi

say 'a day on a root that cannot be written'
{
    echo 'camera on'
    echo 'button ok'
    printf 'button down\n%.0s' 1 2 3
    printf 'button ok\n%.0s' 1 2 3 4 5 6
    printf 'button up\n%.0s' 1 2 3
    echo 'button ok'
    printf 'button ok\n%.0s' 1 2 3
    echo "photograph $PWD/tests/data/retina.jpg"
    printf 'button down\nbutton ok\nbutton ok\n'
} > "$work/day.script"
mkdir -p "$state/screens"
day=("$program" kiosk --config "$work/camp.toml" --display "png:$state/screens" --input "script:$work/day.script")
if [[ $(id -u) == 0 ]] && unshare --mount true 2> /dev/null; then
    unshare --mount bash -euo pipefail -c '
        mount --bind "$0" "$0"
        mount -o remount,bind,ro /
        ! touch /var/lib/edge-infer-was-here 2> /dev/null || { echo "WRONG: the root can be written"; exit 1; }
        cd /
        "$@"' "$state" "${day[@]}" 2>&1 | sed "s#$work##"
    journal summary
    echo 222222 | journal verify --operator Asha
else
    skipped 'mounting needs root'
fi
if has strace; then
    calls=openat,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,link,linkat,symlink,symlinkat
    calls+=,truncate,chmod,fchmodat,chown,fchownat,mknod,mknodat
    strace --follow-forks --quiet=all --successful-only -e "trace=$calls" -o "$work/calls" "${day[@]}" 2> /dev/null
    # Opening to read is not writing; the terminal and the like are not files.
    grep -v 'O_RDONLY' "$work/calls" | grep -o '"[^"]*"' | tr -d '"' | grep -v '^/dev/' \
        | sort -u > "$work/written"
    grep -c "^$state/" "$work/written" | sed 's/$/ paths are written in the state folder/'
    ! grep -v "^$state/" "$work/written" || wrong 'these are written outside it'
else
    skipped 'strace is not installed'
fi

say 'removed'
dpkg --root="$root" --force-script-chrootless --force-depends --log=/dev/null --purge edge-infer > /dev/null 2>&1
[[ ! -e $program ]] || wrong 'the program is still there'
[[ -e $state/journal/journal.db ]] && echo 'the records stay'
echo; echo 'all held'
