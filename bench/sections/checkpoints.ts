/**
 * Acknowledged checkpoints per second, against the least that could accept one and against what one would write in
 * an afternoon. Turn about, several rounds: a neighbour on the machine slows all of them.
 *
 * Three kinds, because they cost differently: one between two doublings (recorded: most of what a trainer sends),
 * one that is due under one evaluation, and one that is due under the shipped policy with its eight.
 */
import { type Figure, ms, perSecond, type Section, type SectionContext } from '../figure.ts';
import type { Outcome } from '../generator.ts';
import { onePosted } from '../policies.ts';
import { checkpointBody, registerRuns } from '../registering.ts';
import type { Generator, Service } from '../stand.ts';
import { median, spread } from '../statistics.ts';

const CONNECTIONS = 64;
const RUNS = 200;
/** Of the shipped policy. */
const EVALUATIONS = 8;
const TARGET = 0.5;

interface Subject {
  readonly name: string;
  readonly measure: (round: number) => Promise<Outcome>;
}

async function turnAbout(subjects: readonly Subject[], rounds: number): Promise<Map<string, Outcome[]>> {
  const seen = new Map<string, Outcome[]>(subjects.map(({ name }) => [name, []]));
  // The first round warms up and is not counted.
  for (let round = 0; round <= rounds; round += 1) {
    for (const { name, measure } of subjects) {
      const outcome = await measure(round);
      const refused = Object.entries(outcome.statuses).filter(([status]) => !status.startsWith('2'));
      if (outcome.faults > 0 || refused.length > 0) {
        throw new Error(`${name} did not accept everything: ${JSON.stringify(outcome)}`);
      }
      if (round > 0) seen.get(name)?.push(outcome);
    }
  }
  return seen;
}

async function run({ stand, quick, profileTo, note }: SectionContext): Promise<Figure[]> {
  const [requests, rounds] = quick ? [600, 2] : [2_000, 5];
  const generator = await stand.generator();
  const shipped = await stand.service({ profileTo });
  const single = await stand.service({ policies: { 'one-posted': onePosted } });
  const bare = await stand.baseline('bare-insert');
  const bullmq = await stand.baseline('bullmq-script', shipped.secret);
  try {
    await recordable(generator, shipped);
    const post = (
      port: number,
      from: number,
      body: string,
      by: { secret: string } | { token: string },
      runs = RUNS,
    ) =>
      generator.run({
        port,
        connections: CONNECTIONS,
        requests,
        from,
        runs,
        path: '/v1/checkpoints',
        body,
        ...by,
      });
    const signed = { secret: shipped.secret };
    const token = { token: shipped.tokens['trainer'] ?? '' };
    const between = checkpointBody('run-{run}', '1.5e21');
    const at = (round: number, lane: number): number => 10_000 + (round * 8 + lane) * requests;
    const due =
      (service: Service, lane: number, prefix: string) =>
      async (round: number): Promise<Outcome> => {
        const from = at(round, lane);
        await registerRuns(generator, service, { runs: requests, prefix, from });
        const body = checkpointBody(`${prefix}{n}`, '1e21');
        return post(service.port, from, body, { secret: service.secret });
      };
    note('recorded checkpoints');
    const seen = await turnAbout(
      [
        { name: 'bare', measure: (round) => post(bare.port, at(round, 0), between, token) },
        { name: 'bullmq', measure: (round) => post(bullmq.port, at(round, 1), between, signed) },
        { name: 'signed', measure: (round) => post(shipped.port, at(round, 2), between, signed) },
        { name: 'bearer', measure: (round) => post(shipped.port, at(round, 3), between, token) },
      ],
      rounds,
    );
    note('due checkpoints, each on a run of its own');
    const dueSeen = await turnAbout(
      [
        { name: 'bare', measure: (round) => post(bare.port, at(round, 4), between, token) },
        { name: 'due-one', measure: due(single, 5, 'one-') },
        { name: 'due-eight', measure: due(shipped, 6, 'eight-') },
      ],
      quick ? 1 : 2,
    );
    return [
      compare('checkpoints, signed', 'a bare INSERT', seen, 'signed', 'bare', TARGET),
      compare('checkpoints, bearer token', 'a bare INSERT', seen, 'bearer', 'bare', TARGET),
      compare('checkpoints, signed', 'the BullMQ script', seen, 'signed', 'bullmq', null),
      compare('due checkpoints, one evaluation', 'a bare INSERT', dueSeen, 'due-one', 'bare', null),
      compare('due checkpoints, eight evaluations', 'a bare INSERT', dueSeen, 'due-eight', 'bare', null),
    ];
  } finally {
    for (const each of [generator, shipped, single, bare, bullmq]) await each.stop();
  }
}

/** Runs whose first checkpoint is in, so that the next ones lie between two doublings. */
async function recordable(generator: Generator, service: Service): Promise<void> {
  await registerRuns(generator, service, { runs: RUNS, prefix: 'run-' });
  await generator.run({
    port: service.port,
    connections: 8,
    requests: RUNS,
    runs: RUNS,
    path: '/v1/checkpoints',
    body: checkpointBody('run-{run}', '1e21'),
    secret: service.secret,
  });
  // What the first ones set off is over before anything is timed.
  await untilDispatched(service, RUNS * EVALUATIONS);
}

async function untilDispatched(service: Service, evaluations: number): Promise<void> {
  for (;;) {
    const metrics = String(await service.get('/metrics', 'auditor'));
    const count = /interlock_ledger_events_total\{kind="EvaluationDispatched"\} (\d+)/.exec(metrics)?.[1];
    if (Number(count) >= evaluations) return;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

function compare(
  name: string,
  against: string,
  seen: ReadonlyMap<string, Outcome[]>,
  subject: string,
  baseline: string,
  target: number | null,
): Figure {
  const ours = seen.get(subject) ?? [];
  const theirs = seen.get(baseline) ?? [];
  const ratio = spread(ours.map(({ perSecond: rate }, i) => rate / (theirs[i]?.perSecond ?? Number.NaN)));
  const say = (outcomes: readonly Outcome[]): string =>
    `${perSecond(median(outcomes.map((each) => each.perSecond)))}, p99 ${ms(median(outcomes.map((each) => each.p99Ms)))}`;
  return {
    name: `${name} / ${against}`,
    measured: say(ours),
    baseline: say(theirs),
    ratio,
    target: target === null ? null : `>= ${target}x`,
    met: target === null ? null : ratio.median >= target,
    details: { ours, theirs },
  };
}

export const checkpoints: Section = {
  name: 'checkpoints',
  title: 'Acknowledged checkpoints, 64 senders',
  run,
};
