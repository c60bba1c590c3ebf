/**
 * How a client repeats itself: what it waits for between two attempts, which reports it keeps, and when it asks again.
 *
 * An answer is `unreachable` (the connection is cut) or `{status, retryAfter, text}`. Waits are in seconds. The steps of
 * a queue are one of: `put` (a report of this checkpoint is put on disk), `beat` (a heartbeat goes out, before which
 * the reports are answered so, in turn), `advanceS` (the monotonic clock goes on), `restart` (the process ends and
 * another takes its memory over), and what is seen after it: `sent` (checkpoints, since the look before), `waiting` (on
 * disk, in order) and `refused` (set aside, each with the code).
 */
import { halt, issuer, nowS, permit, runId } from './forge.ts';
import { type Keys, keySetOf } from './token-vectors.ts';

interface Reply {
  status: number;
  retryAfter?: string;
  text?: string;
}
type Answer = 'unreachable' | Reply;
type Step =
  | { put: string }
  | { beat: readonly Answer[] }
  | { advanceS: number }
  | { restart: true }
  | { sent: readonly string[] }
  | { waiting: readonly string[] }
  | { refused: readonly string[] };

const taken: Reply = { status: 202, text: '{"disposition":"recorded","evaluations":[]}' };
const busy = (retryAfter?: string, status = 503): Reply => ({
  status,
  ...(retryAfter === undefined ? {} : { retryAfter }),
});
const problem = (status: number, code: string): Reply => ({
  status,
  text: JSON.stringify({ type: `urn:interlock:problem:${code}`, detail: 'quotes what was sent' }),
});
const times = (count: number): Reply[] => Array.from({ length: count }, () => busy());

export async function retryVectors(keys: Keys) {
  const persisted = (name: string, answers: readonly Answer[], waitsS: readonly number[], ends: string) => ({
    name,
    answers,
    waitsS,
    ends,
  });
  const granted = {
    directive: { action: 'continue', haltId: null, reason: null, resumeFrom: null, order: null },
    permit: await permit(keys.active, { nonce: 'nonce-1' }),
    nextCheckpointAt: '2000',
    retain: [],
  };
  const refused = { ...granted, directive: { ...granted.directive, action: 'pause' }, permit: null };
  const pace = (name: string, answer: Answer, nextBeatS: number, underPermit = true) => ({
    name,
    before: underPermit ? JSON.stringify(granted) : null,
    answer,
    nextBeatS,
  });
  return {
    runId,
    issuer,
    nowS,
    jwks: keySetOf(keys),
    /** A report that is sent with retries: what is waited for after each answer but the last. */
    reports: [
      persisted('a report that is taken at once', [taken], [], 'recorded'),
      persisted('delays grow', [...times(4), taken], [0.2, 0.5, 1, 2], 'recorded'),
      persisted('a connection that is cut', ['unreachable', taken], [0.2], 'recorded'),
      persisted('Retry-After lengthens a delay', [busy('3'), busy('7', 429), taken], [3, 7], 'recorded'),
      persisted(
        'Retry-After shortens none',
        [...times(4), busy('1'), taken],
        [0.2, 0.5, 1, 2, 5],
        'recorded',
      ),
      persisted('Retry-After beyond a minute is a minute', [busy('86400'), taken], [60], 'recorded'),
      ...['soon', '-1', '1.5', '', ' ', 'Wed, 21 Oct 2026 07:28:00 GMT', '99999999999'].map((text) =>
        persisted(
          `Retry-After that is no number of seconds: "${text}"`,
          [busy(text), taken],
          [0.2],
          'recorded',
        ),
      ),
      persisted('a conflict is final', [problem(409, 'conflict')], [], 'Interlock answered 409 (conflict)'),
      persisted('a refusal is final, whatever it asks for', [busy('1', 422)], [], 'Interlock answered 422'),
      persisted(
        'what is no code of a problem is not repeated',
        [{ status: 400, text: '{"type":"about:blank","code":"quotes"}' }],
        [],
        'Interlock answered 400',
      ),
      persisted(
        'given up in the end',
        times(11),
        [0.2, 0.5, 1, 2, 5, 10, 30, 60, 60, 60],
        'Interlock answered 503',
      ),
    ],
    /** An acknowledgement has to be out before its process ends. */
    acknowledgements: [
      persisted('delays grow', [...times(2), { status: 200, text: '{}' }], [0.1, 0.2], 'told'),
      persisted('Retry-After beyond 5 s is 5 s', [busy('60'), { status: 200, text: '{}' }], [5], 'told'),
      persisted('given up in the end', times(6), [0.1, 0.2, 0.5, 1, 2], 'Interlock answered 503'),
    ],
    queues: queueVectors(),
    /**
     * When the next heartbeat goes out after `answer`, with 10 s between two and 0.5 s where it is urgent, in the
     * instant of the answer; `before` is the answer to the first, which brings a permit of a minute.
     */
    paces: [
      pace('under a permit', { status: 200, text: JSON.stringify(granted) }, 10),
      pace('after a failure', busy(), 0.5),
      pace('after a connection that was cut', 'unreachable', 0.5),
      pace('Retry-After lengthens it', busy('3'), 3),
      pace('Retry-After of a crowd lengthens it', busy('7', 429), 7),
      pace('Retry-After shortens nothing', busy('0'), 0.5),
      pace('Retry-After that is no number counts for nothing', busy('soon'), 0.5),
      pace('a permit in hand is asked for again before a third of it is gone', busy('3600'), 20),
      pace('without one half a minute is the longest', busy('3600'), 30, false),
      pace('refused without a permit', { status: 200, text: JSON.stringify(refused) }, 0.5, false),
      pace(
        'refused, and when to ask again',
        { status: 200, retryAfter: '5', text: JSON.stringify(refused) },
        5,
        false,
      ),
    ],
  };
}

function queueVectors(): { name: string; steps: Step[] }[] {
  return [
    {
      name: 'reports go in order, once each',
      steps: [
        { put: 'c2' },
        { put: 'c1' },
        { put: 'c2' },
        { waiting: ['c2', 'c1'] },
        { beat: [taken, taken] },
        { sent: ['c2', 'c1'] },
        { waiting: [] },
        { beat: [] },
        { sent: [] },
      ],
    },
    {
      name: 'what is refused for good is set aside, and does not hold up the next',
      steps: [
        { put: 'c1' },
        { put: 'c2' },
        { beat: [problem(409, 'conflict'), taken] },
        { sent: ['c1', 'c2'] },
        { waiting: [] },
        { refused: ['http-409 c1'] },
      ],
    },
    {
      name: 'what may be put right outside waits, and what comes after it',
      steps: [
        { put: 'c1' },
        { put: 'c2' },
        { beat: [problem(401, 'unauthenticated')] },
        { sent: ['c1'] },
        { waiting: ['c1', 'c2'] },
        { beat: [] },
        { sent: [] },
        { advanceS: 0.5 },
        { beat: [taken, taken] },
        { sent: ['c1', 'c2'] },
        { refused: [] },
      ],
    },
    {
      name: 'delays double',
      steps: [
        { put: 'c1' },
        { beat: [busy()] },
        { advanceS: 0.5 },
        { beat: [busy()] },
        { sent: ['c1', 'c1'] },
        { advanceS: 0.5 },
        { beat: [] },
        { sent: [] },
        { advanceS: 0.5 },
        { beat: [taken] },
        { sent: ['c1'] },
      ],
    },
    {
      name: 'Retry-After is waited for, also by a report that comes later',
      steps: [
        { put: 'c1' },
        { beat: [busy('5', 429)] },
        { sent: ['c1'] },
        { put: 'c2' },
        { advanceS: 4.9 },
        { beat: [] },
        { sent: [] },
        { advanceS: 0.2 },
        { beat: [taken, taken] },
        { sent: ['c1', 'c2'] },
      ],
    },
    {
      name: 'Retry-After beyond a minute is a minute',
      steps: [
        { put: 'c1' },
        { beat: [busy('86400')] },
        { advanceS: 60 },
        { beat: [taken] },
        { sent: ['c1', 'c1'] },
      ],
    },
    {
      name: 'after a connection that was cut the next heartbeat tries again, for reports go before the compute of them',
      steps: [
        { put: 'c1' },
        { put: 'c2' },
        { beat: ['unreachable'] },
        { sent: ['c1'] },
        { beat: [taken, 'unreachable'] },
        { sent: ['c1', 'c2'] },
        { waiting: ['c2'] },
        { beat: [taken] },
        { sent: ['c2'] },
        { waiting: [] },
      ],
    },
    {
      name: 'an answer that is none is no receipt',
      steps: [
        { put: 'c1' },
        { beat: [{ status: 200, text: '<html>thanks</html>' }] },
        { waiting: ['c1'] },
        { advanceS: 0.5 },
        { beat: [{ status: 200, text: '{"disposition":"thanks"}' }] },
        { waiting: ['c1'] },
      ],
    },
    {
      name: 'what waits outlives the process, in order',
      steps: [
        { put: 'c1' },
        { beat: ['unreachable'] },
        { put: 'c2' },
        { restart: true },
        { waiting: ['c1', 'c2'] },
        { put: 'c3' },
        { beat: [taken, taken, taken] },
        { sent: ['c1', 'c1', 'c2', 'c3'] },
      ],
    },
  ];
}

/** What a listener for halts answers, under `secret`, and whether a halt is in force then. `repeat`: the body so many times over. */
export async function receiverVectors(keys: Keys, secret: string) {
  const order = await halt(keys.active);
  const message = (type: string, data: object): string =>
    JSON.stringify({ type, timestamp: '2027-01-15T08:00:00.000Z', data: { runId, ...data } });
  const row = (name: string, body: string, status: number, halted: boolean, signed = true) => ({
    name,
    body,
    signed,
    status,
    halted,
  });
  return {
    runId,
    issuer,
    jwks: keySetOf(keys),
    secret,
    cases: [
      row('a halt', message('halt.ordered', { order }), 200, true),
      row('a halt that nobody signed for', message('halt.ordered', { order }), 401, false, false),
      row(
        'a halt of another run',
        message('halt.ordered', { order: await halt(keys.active, { sub: 'run-2' }) }),
        422,
        false,
      ),
      row('a halt by a stranger', message('halt.ordered', { order: await halt(keys.stranger) }), 422, false),
      row('a halt without an order', message('halt.ordered', { action: 'halt' }), 400, false),
      row('an order of another type', message('halt.ordered', { order: 7 }), 400, false),
      row('a rehearsal', message('halt.drill', { action: 'halt' }), 200, false),
      row('a rehearsal with an order in it', message('halt.drill', { order }), 200, false),
      row('a rehearsal that nobody signed for', message('halt.drill', {}), 401, false, false),
      row('another message', message('run.finished', { order }), 400, false),
      row('no JSON', 'halt', 400, false),
      row('a list', `["${order}"]`, 400, false),
      { ...row('more than is read', 'x', 413, false), repeat: 70_000 },
    ],
  };
}
