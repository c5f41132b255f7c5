#!/usr/bin/env bash
# Runs the program built with `--features cuda` on a machine without a GPU: `stand_in.cpp` takes the
# place of the CUDA libraries, and `cuda_check` compares what comes out with the CPU's own form. It
# needs nvcc (as the feature does), g++ and nm. Two processes average gradients, then it counts what the
# host asks of the GPU in a step.
set -euo pipefail
cd "$(dirname "$0")/../.."
TARGET=${CARGO_TARGET_DIR:-target}
PROFILE=${PROFILE:-release}
BUILT=$TARGET/${PROFILE/dev/debug}
HERE=$(mktemp -d); trap 'rm -rf "$HERE"' EXIT

cargo build --profile "$PROFILE" -p host-train --lib --features cuda
# Every function of the libraries that the bindings name and nothing here stands in for ends the run.
g++ -std=c++17 -O2 -ffp-contract=off -Wno-unknown-pragmas -fPIC -c tests/cuda/stand_in.cpp -o "$HERE/stand_in.o"
newest() { ls -t "$BUILT"/deps/lib"$1"-*.rlib | head -1; }
names() { grep -oE '\b(cu|nvrtc|cublas|curand|cudnn|nccl)[A-Za-z0-9_]+$' | sort -u; }
{
  echo 'void abort(void); int puts(const char *);'
  comm -23 <(nm -u "$(newest cudarc)" "$(newest candle_core)" 2> /dev/null | names) <(nm --defined-only "$HERE/stand_in.o" | names) |
    sed 's/.*/void &(void) { puts("stand-in: no &"); abort(); }/'
} > "$HERE/rest.c"
g++ -shared -fPIC -o "$HERE/libstand_in.so" "$HERE/stand_in.o" -x c "$HERE/rest.c"
for name in cuda nvrtc curand cublas cublasLt cudnn; do ln -s libstand_in.so "$HERE/lib$name.so"; done

export LIBRARY_PATH="$HERE${LIBRARY_PATH:+:$LIBRARY_PATH}" LD_LIBRARY_PATH="$HERE${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
cargo build --profile "$PROFILE" -p host-train --features cuda --example cuda_check --example cuda_peers --example network_step
for precision in f32 tf32 bf16; do
  "$BUILT/examples/cuda_check" cuda "$precision" | tee "$HERE/log" | tail -1
done
echo "Two processes, first without NCCL:"
peers() {
  for rank in 0 1; do
    MASTER_ADDR=127.0.0.1 MASTER_PORT=29577 WORLD_SIZE=2 RANK=$rank LOCAL_RANK=$rank \
      "$BUILT/examples/cuda_peers" cuda > "$HERE/peer$rank" 2>&1 &
  done
  wait
}
peers
grep -h -m 1 'need NVIDIA.s NCCL' "$HERE/peer0" "$HERE/peer1"
ln -s libstand_in.so "$HERE/libnccl.so.2"
peers
for rank in 0 1; do grep 'all means agree' "$HERE/peer$rank" || { cat "$HERE/peer$rank"; exit 1; }; done
for steps in 1 2; do
  STAND_IN_COUNT=1 "$BUILT/examples/network_step" 0.015625 16 2 $steps cuda > "$HERE/count$steps"
done
echo "A second step of four tasks (width 1/64, two images of 16x16):"
join -j 2 -t $'\t' <(sed -nE 's/^ +([0-9]+) (.*)/\1\t\2/p' "$HERE/count1" | sort -t $'\t' -k 2) \
  <(sed -nE 's/^ +([0-9]+) (.*)/\1\t\2/p' "$HERE/count2" | sort -t $'\t' -k 2) |
  awk -F '\t' '$3 > $2 { printf "%10d  %s\n", $3 - $2, $1 }'
