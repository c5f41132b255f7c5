#!/usr/bin/env bash
# The kiosk's displays and inputs on the real drivers of a Linux kernel, in a virtual machine: mode setting
# (bochs, virtio-gpu), framebuffers of 16, 24 and 32 bits (vfb, bochs), touch (USB tablet, uinput), keys, a
# scanner. What the machine's screen shows is compared, pixel for pixel, with the PNG files of the same day.
#
#   tests/vm/display.sh [FOLDER]      pictures of the screen go into FOLDER
#
# Needs Debian 12 or later (x86-64) with python3. QEMU and the kernel are downloaded and unpacked, never
# installed, into VM_DIR (target/vm): up to 800 MB.
set -euo pipefail
cd "$(dirname "$0")/../.."
for tool in apt-get dpkg-deb python3 strip; do
  command -v $tool > /dev/null || { echo "SKIPPED: no $tool"; exit 0; }
done
TARGET=${CARGO_TARGET_DIR:-target}
VM=$(realpath -m "${VM_DIR:-$TARGET/vm}")
PICTURES=$(realpath -m "${1:-$VM/pictures}")
ROOT=$VM/root
mkdir -p "$PICTURES"

# A program of the unpacked packages; `kmod` is named after what it is to do.
unpacked() {
  LD_LIBRARY_PATH=$ROOT/usr/lib/x86_64-linux-gnu:$ROOT/lib/x86_64-linux-gnu exec -a "$1" "$ROOT/bin/kmod" "${@:2}"
}

# The kernel, busybox and kmod in any case; QEMU with what it stands on where it is not installed.
packages() {
  {
    apt-get install --simulate --no-install-recommends qemu-system-x86 | awk '/^Inst / { print $2 }'
    apt-cache depends linux-image-amd64 | awk '/Depends: linux-image/ { print $2 }'
    printf '%s\n' busybox-static kmod
  } | sort -u
}

if [ ! -e "$VM/unpacked" ]; then
  mkdir -p "$VM/packages" "$ROOT"
  (cd "$VM/packages" && apt-get download $(packages))
  for package in "$VM"/packages/*.deb; do dpkg-deb -x "$package" "$ROOT"; done
  (unpacked depmod -b "$ROOT" "$(ls "$ROOT/lib/modules")")
  rm -r "$VM/packages"
  touch "$VM/unpacked"
fi
KERNEL=$(ls "$ROOT/lib/modules")
QEMU=$(PATH=$PATH:$ROOT/usr/bin command -v qemu-system-x86_64)

cargo build --release -p glaucoma-kiosk --features drm,evdev,fbdev --examples
EXAMPLES=$(realpath "$TARGET/release/examples")

# The machine's files: busybox, our two programs with their libraries, and the drivers in the order to load.
DISK=$(mktemp -d); trap 'rm -rf "$DISK"' EXIT
mkdir -p "$DISK"/{bin,dev,proc,sys,tmp,modules}
cp "$ROOT/bin/busybox" "$DISK/bin"
for program in on_display finger; do
  strip -o "$DISK/bin/$program" "$EXAMPLES/$program"
  for library in $(ldd "$EXAMPLES/$program" | grep -o '/[^ ]*'); do
    mkdir -p "$DISK$(dirname "$library")"
    cp -L -n "$library" "$DISK$library"
  done
done
for driver in evdev uinput usbhid hid-generic xhci-pci bochs virtio_pci virtio-gpu virtio_blk vfb; do
  (unpacked modprobe -d "$ROOT" -S "$KERNEL" --show-depends $driver) |
    awk '/^insmod/ { print $2 }' |
    while read -r file; do
      cp "$file" "$DISK/modules"
      echo "insmod /modules/$(basename "$file")"
    done > "$DISK/modules/$driver"
done
cp tests/vm/init "$DISK/init"
(cd "$DISK" && find . | "$DISK/bin/busybox" cpio -o -H newc 2> /dev/null | gzip -1) > "$VM/disk.gz"

export LD_LIBRARY_PATH=$ROOT/usr/lib/x86_64-linux-gnu:$ROOT/lib/x86_64-linux-gnu
python3 tests/vm/display.py "$QEMU" "$ROOT" "$ROOT/boot/vmlinuz-$KERNEL" "$VM/disk.gz" "$EXAMPLES/on_display" "$PICTURES"
