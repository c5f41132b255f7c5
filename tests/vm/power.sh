#!/usr/bin/env bash
# The machine's power goes while exams are recorded: a virtual machine with a file system (ext4) on a disk is reset
# and killed at random times, and each time everything that was acknowledged must be there, whole.
#
#   tests/vm/power.sh [CUTS [SEED]]      so many power cuts (14), at times that follow from the seed
#
# What it needs and downloads: machine.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tests/vm/machine.sh

# The tests of the journal are the program: machine.rs among them records and checks.
PROGRAM=$(cargo test --release -p glaucoma-records --test journal --no-run --message-format=json |
  python3 -c 'import json, sys; print([path for line in sys.stdin if (path := json.loads(line).get("executable"))][-1])')
machine_files "$VM/power.gz" "$PROGRAM" "virtio_pci virtio_blk crc32c_generic ext4"

export LD_LIBRARY_PATH=$UNPACKED_LIBRARIES
python3 tests/vm/power.py "$QEMU" "$ROOT" "$ROOT/boot/vmlinuz-$KERNEL" "$VM/power.gz" \
  "$(basename "$PROGRAM")" "${1:-14}" "${2:-$RANDOM}"
