/**
 * Does a checkpoint cost more when a run is old, when there are many runs, or when much is open? Cost is time per
 * checkpoint with five senders; each pair turn about on the same PostgreSQL.
 */
import { z } from 'zod';
import { type Figure, ms, type Section, type SectionContext } from '../figure.ts';
import { onePosted } from '../policies.ts';
import { checkpointBody, registerRuns } from '../registering.ts';
import type { Generator, Service } from '../stand.ts';
import { median, spread } from '../statistics.ts';

const SENDERS = 5;
const TARGET = 1.3;
const SHORT_ROUNDS = 4;
const policies = { 'one-posted': onePosted };
const Reported = z.object({ evaluations: z.array(z.object({ evaluationId: z.string() })) });

interface Pair {
  readonly name: string;
  readonly small: (round: number) => Promise<number>;
  readonly large: (round: number) => Promise<number>;
  readonly target: number | null;
  /** Few checkpoints a round, for more would make a young run old: so much the more rounds. */
  readonly isShort: boolean;
}

async function run({ stand, quick, profileTo, note }: SectionContext): Promise<Figure[]> {
  const [requests, rounds, oldEvents, manyRuns] = quick ? [100, 3, 200, 500] : [250, 9, 1_000, 10_000];
  const generator = await stand.generator();
  const few = await stand.service({ policies, profileTo });
  const many = await stand.service({ policies });
  try {
    let next = 100_000;
    /** Milliseconds per checkpoint, on the runs `prefix0` to `prefix4`. */
    const cost = async (service: Service, prefix: string, count = requests): Promise<number> => {
      next += 100_000;
      const outcome = await generator.run({
        port: service.port,
        connections: SENDERS,
        requests: count,
        from: next,
        runs: SENDERS,
        path: '/v1/checkpoints',
        body: checkpointBody(`${prefix}{run}`, '1e20'),
        secret: service.secret,
      });
      if (outcome.faults > 0 || Object.keys(outcome.statuses).join() !== '202') {
        throw new Error(`checkpoints were not accepted: ${JSON.stringify(outcome)}`);
      }
      return (outcome.seconds / count) * 1000;
    };

    note('old runs');
    await opened(generator, few, 'old-');
    for (let i = 0; i < SENDERS; i += 1) await doublings(few, `old-${i}`, 10);
    await cost(few, 'old-', SENDERS * (oldEvents - 60));
    const age: Pair = {
      name: `history of ${oldEvents} events / of 10`,
      small: async (round) => {
        const prefix = `young-${round}-`;
        await opened(generator, few, prefix);
        await cost(few, prefix, SENDERS * 5);
        return cost(few, prefix, SENDERS * 5);
      },
      large: () => cost(few, 'old-', SENDERS * 5),
      target: TARGET,
      isShort: true,
    };

    note(`${manyRuns} runs`);
    await opened(generator, many, 'crowd-');
    await registerRuns(generator, many, { runs: manyRuns, prefix: 'other-' });
    const crowd: Pair = {
      name: `${manyRuns} runs / 10 runs`,
      small: async (round) => {
        const prefix = `alone-${round}-`;
        await opened(generator, few, prefix);
        return cost(few, prefix);
      },
      large: async (round) => {
        const prefix = `crowd-${round}-`;
        await opened(generator, many, prefix);
        return cost(many, prefix);
      },
      target: TARGET,
      isShort: false,
    };

    note('open checkpoints');
    const open = quick ? 8 : 16;
    const openPair: Pair = {
      name: `${open} open checkpoints of the run / 1`,
      small: async (round) => {
        const prefix = `one-open-${round}-`;
        await opened(generator, few, prefix);
        return cost(few, prefix, SENDERS * 5);
      },
      large: async (round) => {
        const prefix = `more-open-${round}-`;
        await opened(generator, few, prefix);
        for (let k = 1; k < open; k += 1) await dueAgain(generator, few, prefix, k);
        return cost(few, prefix, SENDERS * 5);
      },
      target: null,
      isShort: true,
    };
    const figures: Figure[] = [];
    for (const pair of [age, crowd, openPair]) {
      figures.push(await compare(pair, pair.isShort ? rounds * SHORT_ROUNDS : rounds));
    }
    return figures;
  } finally {
    for (const each of [generator, few, many]) await each.stop();
  }
}

/** Five runs, each with its first checkpoint in: what comes below it is recorded. */
async function opened(generator: Generator, service: Service, prefix: string): Promise<void> {
  await registerRuns(generator, service, { runs: SENDERS, prefix });
  await dueAgain(generator, service, prefix, 0);
}

/** The next one that is due: a ratio beyond the last. */
async function dueAgain(generator: Generator, service: Service, prefix: string, k: number): Promise<void> {
  const outcome = await generator.run({
    port: service.port,
    connections: SENDERS,
    requests: SENDERS,
    from: 50 + k * SENDERS,
    runs: SENDERS,
    path: '/v1/checkpoints',
    body: checkpointBody(`${prefix}{run}`, `${1e20 * 2 ** (k + 1)}`),
    secret: service.secret,
    holds: '"disposition":"evaluate"',
  });
  if (outcome.faults > 0) throw new Error(`no due checkpoint: ${JSON.stringify(outcome)}`);
}

/** A real past: checkpoints that were evaluated and cleared. */
async function doublings(service: Service, runId: string, count: number): Promise<void> {
  for (let k = 1; k <= count; k += 1) {
    const effectiveCompute = `${1e20 * 2 ** (k + 1)}`;
    const checkpoint = { runId, checkpointId: `due-${k}`, effectiveCompute, modelUri: 's3://weights/x' };
    const { evaluations } = Reported.parse(await service.post('/v1/checkpoints', 'trainer', checkpoint));
    for (const { evaluationId } of evaluations) {
      const result = { status: 'success', score: 0.02, n: 300 };
      await service.post(`/v1/evaluations/${evaluationId}/result?attempt=1`, 'evaluator', result);
    }
  }
}

async function compare({ name, small, large, target }: Pair, rounds: number): Promise<Figure> {
  const seen: { small: number; large: number }[] = [];
  for (let round = 0; round <= rounds; round += 1) {
    const pair = { small: await small(round), large: await large(round) };
    if (round > 0) seen.push(pair);
  }
  const ratio = spread(seen.map((pair) => pair.large / pair.small));
  return {
    name: `cost of a checkpoint: ${name}`,
    measured: ms(median(seen.map((pair) => pair.large))),
    baseline: ms(median(seen.map((pair) => pair.small))),
    ratio,
    target: target === null ? null : `<= ${target}x`,
    met: target === null ? null : ratio.median <= target,
    details: seen,
  };
}

export const growth: Section = { name: 'growth', title: 'Growth', run };
