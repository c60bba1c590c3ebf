#!/bin/sh
# An unmodified script under Interlock: the sidecar holds the permit, suspends the script's process group without one,
# and ends it on a halt. The exit code is the script's own, or 86.
#
#   INTERLOCK_URL=... INTERLOCK_TOKEN_FILE=... examples/trainers/sidecar.sh my-run ./state python3 train.py
#
# --flop-per-second states an upper bound of what the script computes; one that can write its own figure, even only once
# a minute, is better off with --compute-file.
set -eu
run=$1 state=$2
shift 2
exec python3 "$(dirname "$0")/../../clients/python/interlock.py" sidecar \
  --run "$run" --state "$state" --flop-per-second "${FLOP_PER_SECOND:-4e15}" --grace 60 -- "$@"
