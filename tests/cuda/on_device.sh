#!/usr/bin/env bash
# What to run on the day a GPU is at hand: gradients against the CPU, layer by layer and through the
# whole network; the time of a step; gradients averaged over the machine's GPUs; and the same step in PyTorch where Python has it.
#   tests/cuda/on_device.sh [python]
# Needs the CUDA toolkit and cuDNN 9 (host-train/README.md, "CUDA").
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${1:-python3}
BUILT=${CARGO_TARGET_DIR:-target}/release

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
cargo build --release -p host-train --features cuda --example cuda_check --example cuda_peers --example network_step
for precision in f32 tf32 bf16; do
  echo "== against the CPU, $precision"
  "$BUILT/examples/cuda_check" cuda "$precision" > "$BUILT/cuda_check.$precision.txt" ||
    { tail -20 "$BUILT/cuda_check.$precision.txt"; exit 1; }
  sort -r -g "$BUILT/cuda_check.$precision.txt" | head -5
  tail -1 "$BUILT/cuda_check.$precision.txt"
done
echo "== a step of the paper's network: 8 images of 256x256"
"$BUILT/examples/network_step" 1 256 8 12 cuda f32 | tail -4
"$BUILT/examples/network_step" 1 256 8 12 cuda tf32 | tail -4
"$BUILT/examples/network_step" 1 256 8 12 cuda bf16 | tail -4
GPUS=$(nvidia-smi --list-gpus | wc -l)
if [ "$GPUS" -gt 1 ]; then
  echo "== gradients averaged over $GPUS GPUs"
  for ((rank = 0; rank < GPUS; ++rank)); do
    MASTER_ADDR=127.0.0.1 WORLD_SIZE=$GPUS RANK=$rank LOCAL_RANK=$rank "$BUILT/examples/cuda_peers" &
    last=$!
  done
  wait "$last"
  wait
fi
if "$PYTHON" -c 'import torch; assert torch.cuda.is_available()' 2> /dev/null; then
  echo "== beside PyTorch"
  "$PYTHON" tests/bench/network_step.py --width 1 --side 256 --batch 8 --steps 12 --rounds 2 \
    --device cuda --precision tf32 --example "$BUILT/examples/network_step"
else
  echo "PyTorch with CUDA is not there: not compared"
fi
