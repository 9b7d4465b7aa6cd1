#!/usr/bin/env bash
# Start a segment of a run (rule pretrain), or the extraction of features: alone, or with Slurm's srun
# one process for each rank.
#
#   launch.sh LOG COMMAND...
#
# Settings come as variables: LAUNCHER (`srun`, or empty: the trainer starts local ranks itself),
# SRUN_EXTRA (flags for srun alone), ENVIRONMENT (a file sourced before it, such as frontier.sh),
# NODES, RANKS_PER_NODE, CORES_PER_RANK; of a segment also MINUTES (of walltime), and OVER (1: the run
# has ended before it; one process is enough to say so).
set -euo pipefail
log=$1
shift

# Snakemake removes a job's log before each attempt. Each attempt has a log of its own, which stays;
# the declared one is the last of them by another name.
attempt="${log%.log}.attempts/${SLURM_JOB_ID:-$(date +%Y-%m-%dT%H%M%S)-$$}.log"
mkdir -p "${attempt%/*}"
touch "$attempt"
ln -f "$attempt" "$log"
exec 2>> "$attempt"
export ORBWEAVER_ATTEMPT_LOG=$attempt
# The walltime runs already while an environment is unpacked.
ORBWEAVER_STARTED=$(date +%s)
export ORBWEAVER_STARTED

export OMP_NUM_THREADS=$CORES_PER_RANK

if [[ ${OVER:-0} == 1 ]]; then
  exec "$@" --ranks 1
fi
ranks=$((NODES * RANKS_PER_NODE))
if [[ -z $LAUNCHER ]]; then
  exec "$@" --ranks "$ranks"
fi
if [[ -n $ENVIRONMENT ]]; then
  root=$(dirname "${BASH_SOURCE[0]}")/..
  [[ $ENVIRONMENT == /* ]] || ENVIRONMENT=$root/$ENVIRONMENT
  export ORBWEAVER_NODES=$NODES
  set +u # modules read variables that are not set
  # shellcheck disable=SC1090
  source "$ENVIRONMENT" || { echo "$ENVIRONMENT failed; its message is above" >&2; exit 1; }
  set -u
fi
# One rank that fails ends the others: they would wait for it until the walltime.
# shellcheck disable=SC2086
exec "$LAUNCHER" --nodes="$NODES" --ntasks-per-node="$RANKS_PER_NODE" \
  --cpus-per-task="$CORES_PER_RANK" --kill-on-bad-exit=1 $SRUN_EXTRA \
  "$@" --ranks "$ranks" ${MINUTES:+--walltime-s $((MINUTES * 60))}
