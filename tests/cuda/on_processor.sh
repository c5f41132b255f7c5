#!/usr/bin/env bash
# Runs the program built with `--features cuda` on a machine without a GPU: `stand_in.cpp` takes the
# place of the CUDA libraries, and `cuda_check` compares what comes out with the CPU's own form. It
# needs nvcc (as the feature does), g++ and nm. Two processes average gradients, then it counts what the
# host asks of the GPU in a step and in steps of whole trainings.
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
cargo build --profile "$PROFILE" -p host-train --features cuda --bin host-train --example cuda_check --example cuda_peers \
  --example network_step
for precision in f32 tf32 bf16; do
  echo "Against the CPU, $precision; the largest errors:"
  "$BUILT/examples/cuda_check" cuda "$precision" > "$HERE/log" || { tail -20 "$HERE/log"; exit 1; }
  sort -r -g "$HERE/log" | sed -n 1,3p # head would stop the script by closing the pipe early
  tail -1 "$HERE/log"
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
# What the second of two counts has more than the first.
more() {
  local counted='s/^ +([0-9]+) (.*)/\1\t\2/p'
  join -j 2 -t $'\t' <(sed -nE "$counted" "$1" | sort -t $'\t' -k 2) <(sed -nE "$counted" "$2" | sort -t $'\t' -k 2) |
    awk -F '\t' '$3 > $2 { printf "%10d  %s\n", $3 - $2, $1 }'
}
for steps in 1 2; do
  STAND_IN_COUNT=1 "$BUILT/examples/network_step" 0.015625 16 2 $steps cuda > "$HERE/count$steps"
done
echo "A second step of four tasks (width 1/64, two images of 16x16):"
more "$HERE/count1" "$HERE/count2"

# Whole trainings on eight pictures of 32x32, four a step: the fourth step is in the second epoch.
train() {
  STAND_IN_COUNT=1 "$BUILT/host-train" train --config "$HERE/$1.toml" --out "$HERE/$1$2$3" --device "$2" --max-steps "$3" \
    > "$HERE/$1.$2.$3" 2>&1 || { cat "$HERE/$1.$2.$3"; exit 1; }
}
losses() { grep -h -o -m 1 '"losses":{[^}]*}' "$HERE/$1/metrics.jsonl" | tr ',{}' '\n' | grep -E ':[0-9]'; }
cat > "$HERE/plain.toml" << END
epochs = 100
batch = 4
validate_every = 100
log_every = 1
network = { width = 0.015625 }
input = { side = 32 }
[[data]]
phantoms = { count = 8, validation = 1, fresh = false, side = 128 }
END
{ cat "$HERE/plain.toml"; echo '[augment]'; } > "$HERE/changed.toml"
{ cat "$HERE/plain.toml"; printf '[distill]\nteacher = "%s"\n' "$HERE/plaincpu2/last.safetensors"; } > "$HERE/taught.toml"
train plain cpu 2
for kind in plain changed taught; do
  train $kind cpu 1
  for steps in 3 4; do train $kind cuda $steps; done
  echo "Training, $kind: the first step's losses on the CPU and here"
  paste <(losses ${kind}cpu1) <(losses ${kind}cuda3) |
    awk -F '[:\t]' '{ print; d = $2 - $4; if (d * d > 1e-8) off = 1 } END { exit off || NR < 4 }'
  echo "and what its fourth step asks for:"
  more "$HERE/$kind.cuda.3" "$HERE/$kind.cuda.4" | grep -E 'copy host|show|wait|sigmoid|loss_sums'
done
