#!/usr/bin/env bash
# The V4L2 camera on the drivers of a Linux kernel, in a virtual machine: `vivid`, the kernel's own test camera.
# Live picture and photograph are compared, pixel for pixel, with a frame that another program (v4l2-ctl) took, and
# the camera is pulled out and comes back; then all of it on the kiosk's screen, to a photograph in the journal.
#
#   tests/vm/camera.sh [FOLDER]       pictures of the screen, and those that differ, go into FOLDER
#
# What it needs and downloads: machine.sh, and v4l-utils.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tests/vm/machine.sh
PICTURES=$(realpath -m "${1:-$VM/pictures}")
mkdir -p "$PICTURES"

if [ ! -e "$ROOT/usr/bin/v4l2-ctl" ]; then
  mkdir -p "$VM/packages"
  (cd "$VM/packages" && apt-get download $(apt-get install --simulate --no-install-recommends v4l-utils |
    awk '/^Inst / { print $2 }'))
  for package in "$VM"/packages/*.deb; do dpkg-deb -x "$package" "$ROOT"; done
  rm -r "$VM/packages"
fi

cargo build --release -p glaucoma-exchange --features v4l --example camera
cargo build --release -p edge-infer
export LD_LIBRARY_PATH=$UNPACKED_LIBRARIES
machine_files "$VM/camera.gz" \
  "$TARGET/release/examples/camera $TARGET/release/edge-infer $ROOT/usr/bin/v4l2-ctl" \
  "virtio_pci virtio_blk vivid evdev usbhid hid-generic xhci-pci bochs"

python3 tests/vm/camera.py "$QEMU" "$ROOT" "$ROOT/boot/vmlinuz-$KERNEL" "$VM/camera.gz" \
  "models/$(cat models/default.txt)" "$PICTURES"
