# A virtual machine with Debian's kernel, for the scripts beside this file, which source it from the repository's root.
#
# Needs Debian 12 or later (x86-64) with python3. The kernel, and QEMU where it is missing, are downloaded and
# unpacked, never installed, into VM_DIR (target/vm): up to 800 MB.
# After it: VM the folder, ROOT the unpacked packages, KERNEL the kernel's version, QEMU the emulator, TARGET
# cargo's folder; PATH and LD_LIBRARY_PATH reach what was unpacked.
for tool in apt-get dpkg-deb python3 strip; do
  command -v $tool > /dev/null || { echo "SKIPPED: no $tool"; exit 0; }
done
TARGET=${CARGO_TARGET_DIR:-target}
VM=$(realpath -m "${VM_DIR:-$TARGET/vm}")
ROOT=$VM/root
UNPACKED_LIBRARIES=$ROOT/usr/lib/x86_64-linux-gnu:$ROOT/lib/x86_64-linux-gnu

# A program of the unpacked packages; `kmod` is named after what it is to do.
unpacked() {
  LD_LIBRARY_PATH=$UNPACKED_LIBRARIES exec -a "$1" "$ROOT/bin/kmod" "${@:2}"
}

# The kernel, busybox and kmod in any case; QEMU and mke2fs with what they stand on where they are not installed.
packages() {
  {
    apt-get install --simulate --no-install-recommends qemu-system-x86 e2fsprogs | awk '/^Inst / { print $2 }'
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
PATH=$PATH:/sbin:$ROOT/usr/bin:$ROOT/sbin
QEMU=$(command -v qemu-system-x86_64)

# machine_files ARCHIVE "PROGRAM ..." "DRIVER ...": the files the machine begins with: busybox, the programs with
# their libraries in /bin, the drivers as modules, and for each a list of what to load in which order.
machine_files() {
  local files program library driver
  files=$(mktemp -d)
  mkdir -p "$files"/{bin,dev,proc,sys,tmp,modules}
  cp "$ROOT/bin/busybox" "$files/bin"
  for program in $2; do
    strip -o "$files/bin/$(basename "$program")" "$program"
    for library in $(ldd "$program" | grep -o '/[^ ]*'); do
      mkdir -p "$files$(dirname "$library")"
      cp -L -n "$library" "$files$library"
    done
  done
  for driver in $3; do
    (unpacked modprobe -d "$ROOT" -S "$KERNEL" --show-depends $driver) |
      awk '/^insmod/ { print $2 }' |
      while read -r file; do
        cp "$file" "$files/modules"
        echo "insmod /modules/$(basename "$file")"
      done > "$files/modules/$driver"
  done
  cp tests/vm/init "$files/init"
  (cd "$files" && find . | "$files/bin/busybox" cpio -o -H newc 2> /dev/null | gzip -1) > "$1"
  rm -r "$files"
}
