#!/bin/sh
# Prolog= (or PrologSlurmctld=) of slurm.conf: a job whose comment names a run of Interlock starts only where
# Interlock says that the run may.
#
# Default-deny: no answer, another answer than 200, or no curl are a no. Ten seconds at most, since the job waits.
# A job that names no run is none of Interlock's business here, unless INTERLOCK_REQUIRE_RUN is "yes".
#
# What a no does: as PrologSlurmctld= the job is requeued and asked for again two minutes later, or cancelled where it may not be
# requeued. As Prolog= Slurm also drains the node, which stops a cluster for one run. slurmctld has to be started anew to take it.
# docs/orchestrators/slurm.md has the whole of it.
PATH=/usr/sbin:/usr/bin:/sbin:/bin # Slurm sets none

# INTERLOCK_URL and INTERLOCK_TOKEN_FILE are read from this file, which root alone may write, and SlurmUser read:
CONFIG=${INTERLOCK_PROLOG_CONFIG:-/etc/interlock/prolog.conf}

say() { logger -t interlock-prolog -- "$1" 2>/dev/null || echo "interlock-prolog: $1" >&2; }
deny() { say "job ${SLURM_JOB_ID:-?}: no start: $1"; exit 1; }

[ -r "$CONFIG" ] || deny "$CONFIG cannot be read"
. "$CONFIG"
[ -n "${INTERLOCK_URL:-}" ] || deny "INTERLOCK_URL is not set in $CONFIG"
[ -r "${INTERLOCK_TOKEN_FILE:-}" ] || deny "INTERLOCK_TOKEN_FILE of $CONFIG cannot be read"

# `#SBATCH --comment=interlock:run=NAME`
run=$(printf '%s\n' "${SLURM_JOB_COMMENT:-}" | sed -n 's/^.*interlock:run=\([A-Za-z0-9][A-Za-z0-9._-]*\).*$/\1/p')
if [ -z "$run" ]; then
  case ${SLURM_JOB_COMMENT:-} in *interlock:run=*) deny 'its comment names a run, but not by a name that a run can have' ;; esac
  [ "${INTERLOCK_REQUIRE_RUN:-no}" != yes ] || deny 'its comment names no run (--comment=interlock:run=NAME)'
  exit 0
fi

# The token goes by a file and not by the arguments, which every user of the machine can read.
status=$(printf 'header = "Authorization: Bearer %s"\n' "$(cat "$INTERLOCK_TOKEN_FILE")" |
  curl --config - --silent --max-time 10 --max-redirs 0 --output /dev/null --write-out '%{http_code}' \
    "$INTERLOCK_URL/v1/runs/$run/may-start") || status="none (curl ended with $?)"
[ "$status" = 200 ] || deny "Interlock answered $status for run $run"
say "job ${SLURM_JOB_ID:-?}: run $run may start"
