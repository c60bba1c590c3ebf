/**
 * Scenarios for a whole guard: what Interlock answers, how time goes, and what the guard must say.
 *
 * A step is one of: `beat` (the answer to the heartbeat that the runner now lets the guard send; "unreachable" cuts
 * the connection; `repeat`: the text so many times over), `advanceS` (both clocks go on; `wallS` moves the wall clock alone), `order` (a halt order by
 * webhook, with its outcome), `ask` (may a step to this compute run?), `sent` (fields of the last heartbeat; null: not
 * there), `keys` (what the key set is from now on), `restart` (the process ends and another takes its memory over).
 * Nonces are `nonce-1`, `nonce-2` and so on, over restarts too; processes `instance-1` and so on; the clock begins at `nowS`.
 */
import { halt, issuer, nowS, permit, runId, statement } from './forge.ts';
import { type Keys, keySetOf } from './token-vectors.ts';

type Step =
  | { beat: 'unreachable' | { status: number; text: string; repeat?: number } }
  | { advanceS: number }
  | { wallS: number }
  | { order: string; outcome: string }
  | { ask: string; verdict: 'go' | 'pause' | 'stop'; reason?: string }
  | { sent: Record<string, unknown> }
  | { keys: unknown }
  | { restart: true };

const answers = (body: unknown, status = 200): Step => ({ beat: { status, text: JSON.stringify(body) } });
const text = (content: string, status = 200): Step => ({ beat: { status, text: content } });
const directive = (action: string, more: object = {}): object => ({
  directive: { action, haltId: null, reason: null, resumeFrom: null, order: null, ...more },
  permit: null,
  nextCheckpointAt: '2000',
  retain: [],
  keySet: 'one',
});
const grants = (token: string, more: object = {}): Step =>
  answers({ ...directive('continue'), permit: token, ...more });
const orders = (order: string | null, action = 'halt'): Step =>
  answers(directive(action, { haltId: 'halt_a', order }));
const go = (ask = '1000'): Step => ({ ask, verdict: 'go' });
const paused = (reason: string, ask = '1000'): Step => ({ ask, verdict: 'pause', reason });
const stopped = (reason = 'halt ordered'): Step => ({ ask: '1', verdict: 'stop', reason });

export async function guardVectors(keys: Keys) {
  const { active, retired, revoked } = keys;
  /** The nth nonce's permit, as many seconds into the story. */
  const nth = (n: number, atS = 0, more: Parameters<typeof permit>[1] = {}) =>
    permit(active, { nonce: `nonce-${n}`, seq: n, iat: nowS + atS, exp: nowS + atS + 60, ...more });
  const first = grants(await nth(1));
  const order = await halt(active);
  const scenarios: { name: string; steps: Step[] }[] = [
    {
      name: 'trains under a permit up to its ceiling and no further',
      steps: [
        paused('no permit'),
        first,
        go(),
        go('1e3'),
        go('999.999'),
        paused('ceiling reached', '1000.0001'),
      ],
    },
    {
      name: 'trains through an outage that is shorter than the permit, and pauses in a longer one',
      steps: [
        first,
        { advanceS: 59 },
        { beat: 'unreachable' },
        go(),
        { advanceS: 1 },
        paused('permit expired'),
        { beat: 'unreachable' },
        paused('permit expired'),
        grants(await nth(4, 60)),
        go(),
      ],
    },
    {
      name: 'in shadow trains past ceiling and end of its permit, and under it again once the shadow is over',
      steps: [
        grants(await nth(1, 0, { shadowUntil: nowS + 300 })),
        go('9000'),
        { advanceS: 200 },
        { beat: 'unreachable' },
        go('9000'),
        { advanceS: 99 },
        go('9000'),
        { advanceS: 1 },
        paused('permit expired'),
        grants(await nth(3, 300)),
        paused('ceiling reached', '9000'),
        go(),
      ],
    },
    {
      name: 'in shadow stops on a signed halt, and pauses where it is told to',
      steps: [
        grants(await nth(1, 0, { shadowUntil: nowS + 300 })),
        answers(directive('pause', { reason: 'the red button was pressed' })),
        paused('the red button was pressed', '9000'),
        grants(await nth(3, 0, { shadowUntil: nowS + 300 })),
        go('9000'),
        answers(directive('continue', { reason: 'in shadow' })),
        go('9000'),
        { order, outcome: 'halted' },
        stopped(),
      ],
    },
    {
      name: 'is armed with the first permit that says nothing of a shadow',
      steps: [
        grants(await nth(1, 0, { shadowUntil: nowS + 300 })),
        go('9000'),
        grants(await nth(2)),
        paused('ceiling reached', '9000'),
      ],
    },
    {
      name: 'counts a shadow by both clocks: neither one set back lengthens it',
      steps: [
        grants(await nth(1, 0, { shadowUntil: nowS + 300 })),
        { wallS: -3000 },
        { advanceS: 299 },
        go('9000'),
        { advanceS: 1 },
        paused('permit expired'),
      ],
    },
    {
      name: 'has no shadow without a permit',
      steps: [
        grants(await nth(1, 0, { shadowUntil: nowS + 300 })),
        { restart: true },
        { beat: 'unreachable' },
        paused('no permit'),
      ],
    },
    {
      name: 'counts the life of a permit by itself: a wall clock set back gains nothing',
      steps: [first, { wallS: -3000 }, { advanceS: 60 }, paused('permit expired')],
    },
    {
      name: 'stops early where the wall clock is set forward',
      steps: [first, { wallS: 60 }, paused('permit expired')],
    },
    {
      name: 'takes no permit for a nonce that it did not send just now',
      steps: [first, grants(await nth(1, 0, { seq: 9 })), { advanceS: 60 }, paused('permit expired')],
    },
    {
      name: 'takes no permit without a nonce',
      steps: [grants(await nth(1, 0, { nonce: null })), paused('no permit')],
    },
    {
      name: 'takes no permit of a lower sequence',
      steps: [
        grants(await nth(1, 0, { seq: 5 })),
        { advanceS: 30 },
        grants(await nth(2, 30, { seq: 4, ceiling: '9000' })),
        paused('ceiling reached', '9000'),
        go(),
      ],
    },
    {
      name: 'takes no permit of a lower epoch, and one of a higher epoch whatever its sequence',
      steps: [
        grants(await nth(1, 0, { epoch: 3, seq: 7 })),
        grants(await nth(2, 0, { epoch: 2, seq: 8, ceiling: '9000' })),
        paused('ceiling reached', '9000'),
        grants(await nth(3, 0, { epoch: 4, seq: 1, ceiling: '9000' })),
        go('9000'),
      ],
    },
    {
      name: 'remembers the highest sequence over a restart',
      steps: [
        grants(await nth(1, 0, { seq: 5 })),
        { restart: true },
        grants(await nth(2, 0, { seq: 4 })),
        paused('no permit'),
      ],
    },
    {
      name: 'takes over from the process before it',
      steps: [first, { restart: true }, grants(await nth(2)), go()],
    },
    {
      name: 'names the process whose permit still counts, although another came and went unheard in between',
      steps: [
        first,
        { restart: true },
        { beat: 'unreachable' },
        { sent: { instance: 'instance-2', supersedes: 'instance-1' } },
        { restart: true },
        grants(await nth(3)),
        { sent: { instance: 'instance-3', supersedes: 'instance-1' } },
        { beat: 'unreachable' },
        { sent: { instance: 'instance-3', supersedes: null } },
      ],
    },
    {
      name: 'stops on a signed halt, whatever permit is in hand, and stays stopped',
      steps: [
        first,
        orders(order),
        stopped(),
        grants(await nth(3, 0, { epoch: 2 })),
        stopped(),
        { sent: { halts: ['halt_a'] } },
        { restart: true },
        stopped(),
        { advanceS: 86_400 },
        stopped(),
      ],
    },
    {
      name: 'stops on a halt by webhook, and knows it when it comes again',
      steps: [
        first,
        { order, outcome: 'halted' },
        stopped(),
        { order, outcome: 'known' },
        { restart: true },
        { order, outcome: 'known' },
        stopped(),
      ],
    },
    {
      name: 'raises a halt to a quarantine, and does not lower it again',
      steps: [
        { order, outcome: 'halted' },
        { order: await halt(active, { action: 'quarantine' }), outcome: 'raised' },
        stopped('quarantine ordered'),
        { order, outcome: 'known' },
        stopped('quarantine ordered'),
      ],
    },
    {
      name: 'goes on once a newer permit lists the halt as cleared; the old order then does nothing',
      steps: [
        { order, outcome: 'halted' },
        grants(await nth(1, 0, { epoch: 3, clearedHalts: ['halt_a'] })),
        go(),
        { order, outcome: 'cleared' },
        go(),
        { restart: true },
        { order, outcome: 'cleared' },
        grants(await nth(2, 0, { epoch: 3 })),
        go(),
      ],
    },
    {
      name: 'stops on another halt than the one that was cleared, even of an older epoch',
      steps: [
        { order, outcome: 'halted' },
        grants(await nth(1, 0, { epoch: 9, clearedHalts: ['halt_a'] })),
        { order: await halt(active, { haltId: 'halt_b', epoch: 1 }), outcome: 'halted' },
        stopped(),
      ],
    },
    {
      name: 'a permit older than the halt does not clear it',
      steps: [
        { order: await halt(active, { epoch: 5 }), outcome: 'halted' },
        grants(await nth(1, 0, { epoch: 4, clearedHalts: ['halt_a'] })),
        stopped(),
      ],
    },
    {
      name: 'pauses on a halt directive without a valid order, and goes on when Interlock says so',
      steps: [
        first,
        orders(null),
        paused('halt directive without a valid order'),
        orders('not an order'),
        paused('halt directive without a valid order'),
        grants(await nth(4)),
        go(),
      ],
    },
    {
      name: 'pauses on a hold, with its reason, and goes on when it is lifted',
      steps: [
        first,
        answers(directive('pause', { reason: 'checkpoint overdue' })),
        paused('checkpoint overdue'),
        grants(await nth(3)),
        go(),
      ],
    },
    {
      name: 'an order of a revoked key pauses, and does not stick',
      steps: [
        first,
        { order: await halt(revoked), outcome: 'suspect' },
        paused('an order signed by a revoked key; waiting for a fresh permit'),
        { advanceS: 1 },
        grants(await nth(2, 1)),
        go(),
      ],
    },
    {
      name: 'an order for another run does nothing',
      steps: [first, { order: await halt(active, { sub: 'run-2' }), outcome: 'refused' }, go()],
    },
    {
      name: 'believes a new key once a believed one has signed for it',
      steps: [
        {
          keys: {
            ...keySetOf(keys),
            statements: [statement(active, [{ kid: retired.kid, x: retired.x, nbf: nowS }])],
          },
        },
        grants(await permit(retired, { nonce: 'nonce-1' }), { keySet: 'two' }),
        go(),
      ],
    },
    {
      name: 'drops the permit in hand when its key is revoked, and remembers that over a restart',
      steps: [
        first,
        {
          keys: { statements: [statement(active, [{ kid: active.kid, x: active.x, revokedAt: nowS }])] },
        },
        answers({ ...directive('continue'), keySet: 'two' }),
        paused('no permit'),
        { restart: true },
        grants(await nth(3), { keySet: 'two' }),
        paused('no permit'),
      ],
    },
    ...(
      [
        ['a page of HTML', text('<html>permit</html>')],
        ['no JSON', text('{"directive":')],
        ['an error inside of a 200', text('{"error":"no"}')],
        ['an empty answer', text('')],
        ['a list', text('[]')],
        ['a directive of another type', text('{"directive":"continue","permit":null}')],
        ['a directive that nobody knows', answers(directive('proceed'))],
        ['a permit of another type', answers({ ...directive('continue'), permit: { token: 'x' } })],
        ['a permit that is none', grants('e30.e30.e30')],
        ['a great answer', { beat: { status: 200, text: ' ', repeat: 1_100_000 } }],
        ['401', text('{"code":"http.unauthorised"}', 401)],
        ['503', text('', 503)],
        ['a redirect', text('', 307)],
      ] as const
    ).map(([what, beat]) => ({
      name: `goes on under the permit that it has when the answer is ${what}`,
      steps: [first, beat, go(), { advanceS: 60 }, paused('permit expired')] satisfies Step[],
    })),
  ];
  return { runId, issuer, nowS, jwks: keySetOf(keys), scenarios };
}
