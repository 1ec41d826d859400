#!/bin/bash
# Shards of one dataset as a Slurm job array: sbatch docs/cluster/slurm.sh, then merge (docs/cluster.md).
#SBATCH --job-name=etude-generate
#SBATCH --array=0-7
#SBATCH --cpus-per-task=16
#SBATCH --time=02:00:00
#SBATCH --output=shard-%a.log
set -euo pipefail
SHARDS=${SHARDS:-$((SLURM_ARRAY_TASK_MAX + 1))}
OUT=${OUT:-$PWD/move_t}
exec "${ETUDE:-etude}" generate --task "${TASK:-move_t}" --expert place --episodes "${EPISODES:-20000}" --seed "${SEED:-0}" \
  --size 96x96 --every 3 --workers "${SLURM_CPUS_PER_TASK:-auto}" \
  --shard "$SLURM_ARRAY_TASK_ID/$SHARDS" --out "$OUT/shard-$SLURM_ARRAY_TASK_ID" --json
