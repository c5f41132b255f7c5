#!/usr/bin/env bash
# Cards and sticks plugged into a Debian system with systemd, in a virtual machine with the package installed: mounted
# by its udev rules, photographs taken from the card by the kiosk as the service, forgotten when pulled out.
#
#   edge-infer/package/build.sh && tests/vm/card.sh
#
# Needs root, debootstrap, dosfstools and mtools, and what machine.sh needs; downloads 200 MB.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tests/vm/machine.sh
for tool in debootstrap mkfs.vfat mcopy; do
  command -v $tool > /dev/null || { echo "SKIPPED: no $tool"; exit 0; }
done
[ "$(id -u)" = 0 ] || { echo "SKIPPED: debootstrap needs root"; exit 0; }

SYSTEM=$VM/debian
if [ ! -e "$VM/debian.done" ]; then
  rm -rf "$SYSTEM"
  debootstrap --variant=minbase --include=systemd,systemd-sysv,udev,linux-image-amd64,kmod,dbus,initramfs-tools \
    bookworm "$SYSTEM" http://deb.debian.org/debian
  touch "$VM/debian.done"
fi

cp "$(ls -t target/debian/edge-infer_*_amd64.deb | head -1)" "$SYSTEM/tmp/edge-infer.deb"
chroot "$SYSTEM" dpkg --install /tmp/edge-infer.deb
rm "$SYSTEM/tmp/edge-infer.deb"
cp edge-infer/package/camp.toml "$SYSTEM/etc/edge-infer/camp.toml"
# The programme must choose a threshold.
sed -i 's/^\[camp\]$/[camp]\nthreshold = 0.5/' "$SYSTEM/etc/edge-infer/camp.toml"
cat > "$SYSTEM/etc/systemd/system/shell.service" << 'UNIT'
[Unit]
After=multi-user.target
[Service]
# Through a pipe, so that the shell does not take itself for one that somebody types to.
ExecStart=/bin/sh -c 'exec < /dev/ttyS0 > /dev/ttyS0 2>&1; stty -echo; echo ready; cat | sh'
[Install]
WantedBy=graphical.target
UNIT
chroot "$SYSTEM" systemctl --quiet enable shell.service
chroot "$SYSTEM" systemctl --quiet mask serial-getty@ttyS0.service

work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
mke2fs -q -t ext4 -d "$SYSTEM" "$work/root" 9G
for medium in card stick; do truncate -s 64M "$work/$medium"; done
mkfs.vfat -n DCIM "$work/card" > /dev/null
mkfs.vfat -n EXPORT "$work/stick" > /dev/null
mmd -i "$work/card" ::DCIM
mcopy -i "$work/card" tests/data/retina.jpg ::DCIM/IMG_0001.JPG

LD_LIBRARY_PATH=$UNPACKED_LIBRARIES python3 tests/vm/card.py \
  "$QEMU" "$ROOT" "$(ls "$SYSTEM"/boot/vmlinuz-*)" "$(ls "$SYSTEM"/boot/initrd.img-*)" "$work" tests/data/retina.jpg
