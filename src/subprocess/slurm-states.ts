/**
 * What the states of a Slurm job mean, for whoever halts one and for whoever waits for one.
 *
 * Fails toward running: a state that is not known to be final is not one.
 */

/**
 * `unseen`: over for Slurm, which no longer sees what became of the processes: a node that failed may run on without
 * its controller, and a job revoked in a federation runs on a sibling.
 */
export type Life = 'waiting' | 'running' | 'ending' | 'ended' | 'unseen' | 'unknown';

const ENDED = new Set([
  'BOOT_FAIL',
  'CANCELLED',
  'COMPLETED',
  'DEADLINE',
  'FAILED',
  'OUT_OF_MEMORY',
  'PREEMPTED',
  'TIMEOUT',
]);
/** STOPPED is frozen by SIGSTOP; 22.05 tells one word alone. */
const RUNNING = new Set(['RESIZING', 'RUNNING', 'SIGNALING', 'STOPPED']);
const UNSEEN = new Set(['NODE_FAIL', 'REVOKED']);
const WAITING = new Set([
  'CONFIGURING',
  'PENDING',
  'POWER_UP_NODE',
  'REQUEUED',
  'REQUEUE_FED',
  'REQUEUE_HOLD',
  'RESV_DEL_HOLD',
  'SPECIAL_EXIT',
]);

export function lifeOf({ states }: { readonly states: readonly string[] }): Life {
  const has = (known: ReadonlySet<string>): boolean => states.some((state) => known.has(state));
  if (states.includes('COMPLETING') || states.includes('STAGE_OUT')) return 'ending';
  if (has(WAITING)) return 'waiting';
  // No signal reaches a suspended job; cancelled, it is gone at once.
  if (states.includes('SUSPENDED')) return 'waiting';
  if (has(RUNNING)) return 'running';
  if (has(UNSEEN)) return 'unseen';
  if (states.length > 0 && states.every((state) => ENDED.has(state))) return 'ended';
  return 'unknown';
}
