#!/usr/bin/env bash
# Builds edge-infer for 64-bit ARM, examines the project's photograph with it as the processors of a
# Raspberry Pi 4 (Cortex-A72) and 5 (Cortex-A76) under QEMU, compares what is found with what this
# machine's own build finds, and runs the engine's tests there. QEMU tells whether results are right,
# never how fast they come.
#
#   rustup target add aarch64-unknown-linux-gnu
#   apt-get install gcc-aarch64-linux-gnu qemu-user-static
#   tests/aarch64/build_and_screen.sh
#
# Where the target's standard library comes with another compiler than the usual one:
#   RUSTC_AARCH64=/path/to/rustc tests/aarch64/build_and_screen.sh
# AARCH64_TARGET_DIR: where to build instead of target/aarch64.
set -euo pipefail
cd "$(dirname "$0")/../.."
TRIPLE=aarch64-unknown-linux-gnu
TARGET=${CARGO_TARGET_DIR:-target}
BUILT=${AARCH64_TARGET_DIR:-$TARGET/aarch64}
PHOTO=tests/data/retina.jpg
HERE=$(mktemp -d); trap 'rm -rf "$HERE"' EXIT
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc

emulated() { qemu-aarch64-static -L /usr/aarch64-linux-gnu -cpu "$@"; }

# A folder of its own: another compiler's results must not displace this machine's.
cross() { RUSTC=${RUSTC_AARCH64:-${RUSTC:-rustc}} cargo "$@" --release --target $TRIPLE --target-dir "$BUILT"; }

# What was found, without how long it took.
findings() { "$@" screen $PHOTO --json | sed -E 's/,"timing_ms":\{[^}]*\}//'; }

cargo build --release -p edge-infer
findings "$TARGET/release/edge-infer" | tee "$HERE/here"
cross build -p edge-infer
for cpu in cortex-a72 cortex-a76; do
  findings emulated $cpu "$BUILT/$TRIPLE/release/edge-infer" | diff "$HERE/here" -
  echo "$cpu: the same findings"
  CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -L /usr/aarch64-linux-gnu -cpu $cpu" \
    cross test -p glaucoma-engine --lib kernels
done
