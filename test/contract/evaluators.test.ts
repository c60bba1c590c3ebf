import { access } from 'node:fs/promises';
import { vi } from 'vitest';
import { createCommandEvaluator } from '../../src/evaluators/command.ts';
import type { Evaluator, EvaluatorOutcome } from '../../src/evaluators/evaluator.ts';
import { commandFixture, containmentHere } from './command-fixture.ts';
import { type Behaviour, CANARY, describeEvaluator } from './describe-evaluator.ts';
import { httpFixture, vacantUrl } from './http-fixture.ts';

const RESULT = { status: 'success', score: 0.42, n: 200, error: CANARY };

const PROGRAMS: Record<Exclude<Behaviour, 'is-absent'>, string> = {
  reports: `console.error('${CANARY}'); console.log('${JSON.stringify(RESULT)}');`,
  fails: `console.log('${CANARY}'); console.error('${CANARY}'); process.exit(3);`,
  'says-nothing': '',
  'says-nonsense': `console.log('{"score": ${CANARY}');`,
  hangs: `console.log('${CANARY}'); setInterval(() => {}, 1000);`,
  'hangs-for-long': `require('fs').writeFileSync('begun', ''); console.log('${CANARY}'); setInterval(() => {}, 1000);`,
  floods: `const line = '${CANARY}\\n'.repeat(2000); const more = () => { while (process.stdout.write(line)); process.stdout.once('drain', more); }; more();`,
};

const { kind: strongest } = await containmentHere('auto');
for (const kind of strongest === 'marks' ? (['marks'] as const) : ([strongest, 'marks'] as const)) {
  describeEvaluator(
    `command, contained by ${kind}`,
    async (behaviour) => {
      const fixture = await commandFixture(containmentHere(kind));
      const program = behaviour === 'is-absent' ? '' : PROGRAMS[behaviour];
      const file = await fixture.program('evaluate.cjs', program);
      const command = behaviour === 'is-absent' ? ['no-such-program-anywhere'] : [process.execPath, file];
      const timeout = behaviour === 'hangs' ? '300ms' : behaviour === 'hangs-for-long' ? '1h' : '30s';
      return {
        evaluator: createCommandEvaluator(
          fixture.executor(command, { timeout, cwd: fixture.directory }),
          fixture.deps,
        ),
        begun: () => vi.waitFor(() => access(fixture.file('begun')), { timeout: 10_000, interval: 10 }),
        close: fixture.close,
      };
    },
    {
      fails: 'exit-nonzero',
      'says-nothing': 'no-result',
      'says-nonsense': 'unreadable-result',
      floods: 'output-too-large',
      'is-absent': 'spawn-failed',
    },
  );
}

describeEvaluator(
  'http, sync',
  async (behaviour) => {
    const fixture = await httpFixture((response) => {
      switch (behaviour) {
        case 'fails':
          return response.writeHead(500, { 'x-said': CANARY }).end(CANARY);
        case 'says-nothing':
          return response.writeHead(200).end();
        case 'says-nonsense':
          return response.writeHead(200, { 'content-type': 'text/html' }).end(`<html>${CANARY}</html>`);
        case 'hangs':
        case 'hangs-for-long':
          return response.writeHead(200).write(CANARY);
        case 'floods': {
          const chunk = CANARY.repeat(10_000);
          const more = () => {
            while (!response.destroyed && response.write(chunk));
          };
          response.on('drain', more);
          return more();
        }
        default:
          return response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(RESULT));
      }
    });
    const timeout = behaviour === 'hangs' ? '300ms' : behaviour === 'hangs-for-long' ? '1h' : '30s';
    const url = behaviour === 'is-absent' ? await vacantUrl() : fixture.url;
    return {
      evaluator: fixture.evaluator({ timeout, url }),
      begun: () =>
        vi
          .waitUntil(() => fixture.received.length > 0, { timeout: 10_000, interval: 10 })
          .then(() => undefined),
      close: fixture.close,
    };
  },
  {
    fails: 'http-status',
    'says-nothing': 'no-result',
    'says-nonsense': 'unreadable-result',
    floods: 'output-too-large',
    'is-absent': 'unreachable',
  },
);

/** What simulations use in place of a program: the same outcomes, on cue. */
const scripted: Record<Behaviour, EvaluatorOutcome | 'hangs'> = {
  reports: { kind: 'reported', result: RESULT },
  fails: { kind: 'failed', reason: 'exit-nonzero', detail: 'exit code 3' },
  'says-nothing': { kind: 'failed', reason: 'no-result' },
  'says-nonsense': { kind: 'failed', reason: 'unreadable-result' },
  hangs: { kind: 'failed', reason: 'timed-out' },
  'hangs-for-long': 'hangs',
  floods: { kind: 'failed', reason: 'output-too-large' },
  'is-absent': { kind: 'failed', reason: 'spawn-failed' },
};

function scriptedEvaluator(outcome: EvaluatorOutcome | 'hangs'): Evaluator {
  const cancelled: EvaluatorOutcome = { kind: 'failed', reason: 'cancelled' };
  return {
    callOff: async () => ({ kind: 'accepted', detail: 'told' }),
    async run(_request, signal) {
      if (signal.aborted) return cancelled;
      if (outcome !== 'hangs') return outcome;
      return new Promise((resolve) => {
        signal.addEventListener('abort', () => resolve(cancelled), { once: true });
      });
    },
  };
}

describeEvaluator(
  'scripted fake',
  async (behaviour) => ({ evaluator: scriptedEvaluator(scripted[behaviour]), close: async () => undefined }),
  {
    fails: 'exit-nonzero',
    'says-nothing': 'no-result',
    'says-nonsense': 'unreadable-result',
    floods: 'output-too-large',
    'is-absent': 'spawn-failed',
  },
);
