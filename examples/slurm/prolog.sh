#!/bin/sh
# Prolog= (or PrologSlurmctld=) of slurm.conf: a job whose comment or environment names a run of Interlock starts only
# where Interlock says that the run may.
#
# Default-deny: no answer, another answer than 200, or no curl are a no. Ten seconds at most, since the node waits.
# A job that names no run is none of Interlock's business here, unless INTERLOCK_REQUIRE_RUN is "yes".
#
# What a no does: as Prolog=, Slurm drains the node and requeues the job held, which stops a cluster for one run; so set
# PrologFlags=Alloc and use PrologSlurmctld= instead (the job alone is requeued and held), or call this from a job_submit
# plugin. docs/orchestrators/slurm.md has the whole of it.
#
# INTERLOCK_URL and INTERLOCK_TOKEN_FILE are read from this file, which root alone may write:
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
  [ "${INTERLOCK_REQUIRE_RUN:-no}" != yes ] || deny 'its comment names no run (--comment=interlock:run=NAME)'
  exit 0
fi

# The token goes by a file and not by the arguments, which every user of the machine can read.
status=$(printf 'header = "Authorization: Bearer %s"\n' "$(cat "$INTERLOCK_TOKEN_FILE")" |
  curl --config - --silent --max-time 10 --max-redirs 0 --output /dev/null --write-out '%{http_code}' \
    "$INTERLOCK_URL/v1/runs/$run/may-start") || status="none (curl ended with $?)"
[ "$status" = 200 ] || deny "Interlock answered $status for run $run"
say "job ${SLURM_JOB_ID:-?}: run $run may start"
