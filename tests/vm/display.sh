#!/usr/bin/env bash
# The kiosk's displays and inputs on the real drivers of a Linux kernel, in a virtual machine: mode setting
# (bochs, virtio-gpu), framebuffers of 16, 24 and 32 bits (vfb, bochs), touch (USB tablet, uinput), keys, a
# scanner. What the machine's screen shows is compared, pixel for pixel, with the PNG files of the same day.
#
#   tests/vm/display.sh [FOLDER]      pictures of the screen go into FOLDER
#
# What it needs and downloads: machine.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tests/vm/machine.sh
PICTURES=$(realpath -m "${1:-$VM/pictures}")
mkdir -p "$PICTURES"

cargo build --release -p glaucoma-kiosk --features drm,evdev,fbdev --examples
EXAMPLES=$(realpath "$TARGET/release/examples")
machine_files "$VM/display.gz" "$EXAMPLES/on_display $EXAMPLES/finger" \
  "evdev uinput usbhid hid-generic xhci-pci bochs virtio_pci virtio-gpu virtio_blk vfb"

export LD_LIBRARY_PATH=$UNPACKED_LIBRARIES
python3 tests/vm/display.py "$QEMU" "$ROOT" "$ROOT/boot/vmlinuz-$KERNEL" "$VM/display.gz" \
  "$EXAMPLES/on_display" "$PICTURES"
