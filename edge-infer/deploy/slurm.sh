#!/bin/bash
#SBATCH --job-name=fundus-archive
#SBATCH --array=0-15
#SBATCH --cpus-per-task=4
#SBATCH --mem=4G
#SBATCH --time=24:00:00
#SBATCH --requeue
#
# An archive of photographs as a Slurm array, one shard a task:
#
#   sbatch slurm.sh SOURCE PARTS [OPTION...]
#
# SOURCE is a folder or a URL, PARTS a folder that every node sees, an OPTION one of
# `edge-infer screen`. Tasks that failed are sent again alone: sbatch --array=3,7 slurm.sh ...
# Another number of shards: SHARDS=64 sbatch --array=0-63 slurm.sh ...
set -euo pipefail

source=${1:?the first argument is the folder or URL of the photographs}
parts=${2:?the second argument is the folder for the parts}
shift 2

# Not SLURM_ARRAY_TASK_COUNT, which is another number when a few tasks are sent again.
shards=${SHARDS:-16}
part=$(printf '%s/part-%05d-of-%05d.jsonl' "$parts" "$SLURM_ARRAY_TASK_ID" "$shards")

# A complete part is a success, even where the program ends with 2 because it had to refuse some
# photographs: they are in the part.
edge-infer screen "$source" --parts "$parts" --shard "$SLURM_ARRAY_TASK_ID/$shards" "$@" ||
    [ -e "$part" ]
