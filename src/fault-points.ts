/**
 * Fault points: named places between two steps of the main path where a test can make this process die, fail or
 * stand still. Compiled in, so that what is tried is what is shipped; off unless INTERLOCK_FAULT is in the
 * environment that the process was started with. No configuration file and no request can switch one on.
 *
 *   INTERLOCK_FAULT=<point>:<action>[:<n>[:<ms>]]      action: kill | throw | delay; at the n-th passing, once
 *
 * `kill` is SIGKILL to itself: nothing is flushed, closed or handed back. `throw` is a passing fault. `delay` stops
 * the whole thread, as a machine that hangs for a moment. A value that is not understood ends the start: a campaign
 * that means to disturb and does not would prove nothing.
 * Not here: what then has to hold (test/torture).
 */
import { writeSync } from 'node:fs';
import { InterlockError } from './errors.ts';

/** What has happened | what has not, when the point is passed. */
export const FAULT_POINTS = {
  'message.received': 'a signed message is here | its signature has not been looked at',
  'message.verified': 'its sender is known | nothing of it has been read',
  'run.decided': 'the events of a command are decided | nothing is written',
  'append.locked': 'the head of the ledger is locked | nothing is written',
  'append.written': 'a batch is inserted | COMMIT is not sent',
  'append.committing': 'COMMIT is sent | it is not answered',
  'append.committed': 'COMMIT is answered | nobody has been told',
  'answer.ready': 'the answer to a request is made | none of it is sent',
  'answer.sent': 'the answer is sent | its connection is not done with',
  'work.offered': 'work is outstanding | the queue does not have it',
  'work.queued': 'the queue has it | its producer goes on',
  'work.claimed': 'a job is taken from the queue | its handler has not begun',
  'work.handled': 'the handler has ended | the queue has not been told',
  'reconcile.swept': 'a sweep found what is outstanding | none of it is offered',
  'instance.returned': 'work of a lost instance is handed back | the instance is not forgotten',
  'evaluation.started': 'the start of an attempt is recorded | nothing runs',
  'evaluation.spawned': "the evaluator's program runs | it has not answered",
  'evaluation.ended': 'the outcome of an attempt is here | it is not recorded',
  'evaluation.recorded': 'the outcome is recorded | its slot is not free',
  'halt.decided': 'a halt is decided | it is not committed',
  'halt.committed': 'a halt is committed | nobody has heard of it',
  'halt.sending': 'its order is signed | the step is not taken',
  'halt.sent': 'the target has answered a step | the answer is not recorded',
  'halt.step-recorded': 'the answer is recorded | the work is not done with',
  'halt.acknowledged': "a trainer's word on a halt is committed | it is not answered",
  'halt.observed': 'a target is seen to have stopped | it is not recorded',
  'halt.confirmed': 'the stop of a run is committed | nobody has been told',
  'resume.committed': 'a resume is committed | nobody has been told',
  'press.written': 'a press is on disk in the spool | none of its orders is sent',
  'press.sending': 'its orders are on their way | the press is not answered',
  'press.entered': 'a press of the spool is committed | it has no mark',
  'alert.sending': 'an alert is due | it is not sent',
  'alert.sent': 'the channel has answered | the answer is not recorded',
  'permit.numbered': 'a permit has its number | it is not signed',
  'permit.signed': 'a permit is signed | it is not handed out',
  'head.signing': 'the ledger is to be signed | it is not',
  'head.signed': 'a head is signed | it is not kept',
  'head.kept': 'a head is kept | it is not anchored',
  'keys.written': 'a new key lies beside the keyring | it does not count',
  'keys.replaced': 'the new key counts | this process signs with the old one',
} as const satisfies Readonly<Record<string, string>>;

export type FaultPoint = keyof typeof FAULT_POINTS;
type Action = 'kill' | 'throw' | 'delay';

interface Armed {
  readonly point: string;
  readonly action: Action;
  readonly nth: number;
  readonly ms: number;
}

const VARIABLE = 'INTERLOCK_FAULT';
const FORM = /^([a-z.-]+):(kill|throw|delay)(?::([1-9]\d{0,8}))?(?::([1-9]\d{0,5}))?$/;
const DELAY_MS = 1_000;

const armed = parse(process.env[VARIABLE]);
let passed = 0;

/** Costs one comparison where nothing is armed. */
export function faultPoint(point: FaultPoint): void {
  if (armed !== null && armed.point === point) reached(armed);
}

function parse(text: string | undefined): Armed | null {
  if (text === undefined || text === '') return null;
  const [, point, action, nth, ms] = FORM.exec(text) ?? [];
  if (point === undefined || !isAction(action) || !Object.hasOwn(FAULT_POINTS, point)) {
    throw new InterlockError(`${VARIABLE} names no fault point with an action, as in halt.sent:kill:1`, {
      code: 'fault.unknown',
    });
  }
  tell(`fault injection is on: ${text}; this process is part of a test`);
  return { point, action, nth: Number(nth ?? 1), ms: Number(ms ?? DELAY_MS) };
}

function isAction(text: string | undefined): text is Action {
  return text === 'kill' || text === 'throw' || text === 'delay';
}

function reached({ point, action, nth, ms }: Armed): void {
  passed += 1;
  if (passed !== nth) return;
  tell(`fault point ${point} passed for the ${nth}. time: ${action}`);
  switch (action) {
    case 'kill':
      process.kill(process.pid, 'SIGKILL');
      // The signal ends every thread; should this one be last to hear of it, it must not go on.
      standStill(60_000);
      break;
    case 'delay':
      standStill(ms);
      break;
    case 'throw':
      throw new InterlockError('a fault was injected', { code: 'fault.injected', retryable: true });
    default:
      action satisfies never;
  }
}

function standStill(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/** Past every logger and buffer: the next line may be the last. */
function tell(line: string): void {
  writeSync(2, `${JSON.stringify({ level: 'warn', msg: line })}\n`);
}
