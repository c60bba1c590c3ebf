/**
 * The `process` orchestrator: stops a local run by SIGTERM and, at the next rung, SIGKILL.
 *
 * A process is its pid AND its start time, recorded at registration; a pid that changed hands is never
 * signalled, nor is pid 1, Interlock itself or Interlock's own process group. The signal goes to the whole
 * group where the process leads one, else to it alone. Stopped means gone: for a group, all of it; a zombie
 * counts as gone, a suspended process does not.
 *
 * Fails toward "still running": what cannot be seen is `unknown`, never `stopped`. Where there is no /proc
 * (macOS) there is no start time either, and presence is all that is known.
 *
 * Known gaps: Node has no pidfd, so a pid could change hands between the look and the signal; a descendant
 * that left the group is not followed; and when the leader is gone its surviving group is signalled by
 * number, which the kernel keeps reserved for exactly as long as the group lives.
 */
import { assertNever } from '../domain/assert-never.ts';
import type { Observation, Orchestrator, StepOutcome } from './orchestrator.ts';
import { unknownStep } from './orchestrator.ts';
import type { Proc } from './proc.ts';
import { openProc } from './proc.ts';
import type { ProcessTarget } from './targets.ts';

export interface ProcessOrchestratorDeps {
  /** Another place for /proc; a directory that is not there behaves as a system without one. */
  procRoot?: string;
}

const STEPS = ['sigterm', 'sigkill'] as const;

export function createProcessOrchestrator(
  target: ProcessTarget,
  deps: ProcessOrchestratorDeps = {},
): Orchestrator {
  const proc = openProc(deps.procRoot);
  return {
    kind: 'process',
    steps: STEPS,
    async take(step, _message, signal) {
      const name = signalOf(step);
      if (name === null) return unknownStep('process', STEPS);
      if (signal.aborted) return { kind: 'retry', detail: 'given up before it was sent' };
      return send(target, await look(target, proc), name, proc);
    },
    async rehearse(step, _message, signal) {
      if (signalOf(step) === null) return unknownStep('process', STEPS);
      if (signal.aborted) return { kind: 'retry', detail: 'given up before it was looked at' };
      return send(target, await look(target, proc), 0, proc);
    },
    async observe() {
      return describe(await look(target, proc));
    },
  };
}

/**
 * The target to record when a run is registered: this pid, as the process that has it now. Whatever start
 * time a caller states must be compared with this one, or it could name a process that never existed and so
 * counts as stopped.
 */
export async function describeProcess(
  pid: number,
  deps: ProcessOrchestratorDeps = {},
): Promise<{ ok: true; target: ProcessTarget } | { ok: false; reason: string }> {
  const proc = openProc(deps.procRoot);
  const why = untouchable(pid);
  if (why !== null) return { ok: false, reason: why };
  // Better refused at registration than found out when the halt cannot be carried out.
  if (probe(pid) === 'forbidden') return { ok: false, reason: `Interlock may not signal process ${pid}` };
  if (!proc.available()) {
    return probe(pid) === 'absent'
      ? { ok: false, reason: `there is no process ${pid}` }
      : { ok: true, target: { kind: 'process', pid } };
  }
  const entry = proc.read(pid);
  if (entry === null || entry.zombie) return { ok: false, reason: `there is no process ${pid}` };
  if (entry.groupId === pid && ownGroup(proc) === pid) {
    return { ok: false, reason: `process ${pid} leads the process group of Interlock itself` };
  }
  return { ok: true, target: { kind: 'process', pid, startTime: entry.startTime } };
}

type Sighting =
  | {
      kind: 'alive';
      scope: 'process' | 'group';
      count: number;
      identity: 'verified' | 'leader-gone' | 'pid-only';
    }
  | { kind: 'gone' }
  | { kind: 'reused' }
  | { kind: 'unidentified'; detail: string };

async function look({ pid, startTime }: ProcessTarget, proc: Proc): Promise<Sighting> {
  if (!proc.available()) return lookWithoutProc(pid, startTime);
  if (startTime === undefined) {
    return { kind: 'unidentified', detail: `no start time was recorded for pid ${pid}` };
  }
  if (startTime.split(':')[0] !== proc.bootId()) return { kind: 'gone' }; // the machine has restarted since
  const entry = proc.read(pid);
  if (entry !== null && entry.startTime !== startTime) return { kind: 'reused' };
  if (entry !== null && entry.groupId !== pid) {
    return entry.zombie
      ? { kind: 'gone' }
      : { kind: 'alive', scope: 'process', count: 1, identity: 'verified' };
  }
  // The leader of a group, dead or alive, or nobody: the group is what counts.
  const members = await proc.liveGroup(pid);
  if (members.length > 0) {
    const identity = entry === null ? 'leader-gone' : 'verified';
    return { kind: 'alive', scope: 'group', count: members.length, identity };
  }
  // With hidepid the processes of other users are invisible; the kernel still says that they are there.
  if (probe(pid) === 'forbidden' || probe(-pid) === 'forbidden') {
    return { kind: 'unidentified', detail: `pid ${pid} exists but cannot be seen` };
  }
  return { kind: 'gone' };
}

function lookWithoutProc(pid: number, startTime: string | undefined): Sighting {
  if (startTime !== undefined) {
    return {
      kind: 'unidentified',
      detail: 'a start time was recorded but there is no /proc to compare it with',
    };
  }
  if (probe(-pid) !== 'absent') return { kind: 'alive', scope: 'group', count: 1, identity: 'pid-only' };
  if (probe(pid) !== 'absent') return { kind: 'alive', scope: 'process', count: 1, identity: 'pid-only' };
  return { kind: 'gone' };
}

function send(
  { pid, startTime }: ProcessTarget,
  sighting: Sighting,
  /** 0 rehearses: the kernel checks what it would check of a real signal, and delivers none. */
  name: 'SIGTERM' | 'SIGKILL' | 0,
  proc: Proc,
): StepOutcome {
  const gone: StepOutcome =
    name === 0
      ? { kind: 'rejected', detail: 'the process is gone: there is nothing to rehearse on' }
      : { kind: 'accepted', detail: 'already stopped' };
  const why = untouchable(pid);
  if (why !== null) return { kind: 'rejected', detail: why };
  switch (sighting.kind) {
    case 'gone':
      return gone;
    case 'reused':
      return changedHands(pid);
    case 'unidentified':
      return { kind: 'rejected', detail: `${sighting.detail}; nothing was signalled` };
    case 'alive':
      break;
    default:
      return assertNever(sighting);
  }
  const group = sighting.scope === 'group';
  if (group && pid === ownGroup(proc)) {
    return { kind: 'rejected', detail: `process ${pid} leads the process group of Interlock itself` };
  }
  // Once more, with nothing between this look and the signal; the first one took time to read the group.
  const entry = proc.read(pid);
  if (startTime !== undefined && entry !== null && entry.startTime !== startTime) {
    return changedHands(pid);
  }
  const whom = `process ${group ? 'group ' : ''}${pid}`;
  try {
    process.kill(group ? -pid : pid, name);
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ESRCH') return gone;
    if (code === 'EPERM') return { kind: 'rejected', detail: `Interlock may not signal process ${pid}` };
    return { kind: 'retry', detail: `${name} could not be sent to process ${pid}` };
  }
  return name === 0
    ? { kind: 'accepted', detail: `${whom} is there and may be signalled; nothing was sent` }
    : { kind: 'accepted', detail: `${name} sent to ${whom}` };
}

function changedHands(pid: number): StepOutcome {
  return { kind: 'rejected', detail: `pid ${pid} belongs to another process now; nothing was signalled` };
}

function describe(sighting: Sighting): Observation {
  switch (sighting.kind) {
    case 'alive': {
      const what = sighting.scope === 'group' ? `${sighting.count} of its process group` : 'the process';
      const how = sighting.identity === 'pid-only' ? ' (by pid alone: this system has no start times)' : '';
      return { state: 'running', detail: `${what} still there${how}` };
    }
    case 'gone':
      return { state: 'stopped', detail: 'the process and its group are gone' };
    case 'reused':
      return { state: 'stopped', detail: 'the process is gone; its pid belongs to another one now' };
    case 'unidentified':
      return { state: 'unknown', detail: sighting.detail };
    default:
      return assertNever(sighting);
  }
}

/** Pids that no target may name, whatever its start time. */
function untouchable(pid: number): string | null {
  // kill(0), kill(-1) and kill(1) reach our own group, everything, and init.
  if (!Number.isSafeInteger(pid) || pid <= 1) return 'a pid must be greater than 1';
  if (pid === process.pid) return `process ${pid} is Interlock itself`;
  return null;
}

function ownGroup(proc: Proc): number {
  const self = proc.read(process.pid);
  // Without /proc our group cannot be read; its leader is then most likely ourselves or what started us.
  return self === null ? process.ppid : self.groupId;
}

function signalOf(step: string): 'SIGTERM' | 'SIGKILL' | null {
  return step === 'sigterm' ? 'SIGTERM' : step === 'sigkill' ? 'SIGKILL' : null;
}

function probe(pid: number): 'present' | 'absent' | 'forbidden' {
  try {
    process.kill(pid, 0);
    return 'present';
  } catch (error) {
    return errorCode(error) === 'EPERM' ? 'forbidden' : 'absent';
  }
}

function errorCode(error: unknown): string {
  return typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : 'unknown';
}
