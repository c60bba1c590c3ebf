/**
 * From the red button to the receipts: one run, and all of 100 and of 1,000 runs at once.
 * The baseline sends as many bare POSTs at once to the same receiver, from this process.
 */
import { request } from 'undici';
import { type Figure, ms, type Section, type SectionContext } from '../figure.ts';
import { type Receiver, startReceiver } from '../receiver.ts';
import { registerRuns } from '../registering.ts';
import { median, quantile, spread } from '../statistics.ts';

/** RELIABILITY 3.2, B3: from the press to the first request on the wire, everything up. */
const FIRST_TARGET_MS = 250;

interface Press {
  readonly firstMs: number;
  readonly lastMs: number;
}

async function run(context: SectionContext): Promise<Figure[]> {
  const { quick, note } = context;
  const receiver = await startReceiver();
  try {
    const figures: Figure[] = [await single(context, receiver, quick ? 20 : 100)];
    for (const [runs, presses] of quick
      ? [[100, 1]]
      : [
          [100, 3],
          [1_000, 2],
        ]) {
      if (runs === undefined || presses === undefined) continue;
      note(`${runs} runs`);
      figures.push(await all(context, receiver, runs, presses));
    }
    return figures;
  } finally {
    await receiver.close();
  }
}

async function single({ stand }: SectionContext, receiver: Receiver, presses: number): Promise<Figure> {
  const service = await stand.service();
  const [ours, theirs]: [number[], number[]] = [[], []];
  try {
    for (let i = 0; i < presses + 5; i += 1) {
      const runId = `press-${i}`;
      const targets = [{ kind: 'webhook', url: `${receiver.url}/${runId}` }];
      await service.post('/v1/runs', 'trainer', { runId, targets });
      const arrived = receiver.arrival(`/${runId}`);
      const startedMs = performance.now();
      await service.post(`/v1/runs/${runId}/halt`, 'leadership', { reason: 'measured' });
      const oneMs = (await arrived) - startedMs;
      const { lastMs } = await bareBurst(receiver, `bare-${i}-`, 1);
      if (i < 5) continue;
      ours.push(oneMs);
      theirs.push(lastMs);
    }
  } finally {
    await service.stop();
  }
  const p99 = quantile(ours, 0.99);
  return {
    name: 'red button to receipt, 1 run / a bare fetch',
    measured: `p50 ${ms(quantile(ours, 0.5))}, p99 ${ms(p99)}`,
    baseline: `p50 ${ms(quantile(theirs, 0.5))}, p99 ${ms(quantile(theirs, 0.99))}`,
    ratio: spread(ours.map((value, i) => value / (theirs[i] ?? Number.NaN))),
    target: `p99 <= ${FIRST_TARGET_MS} ms`,
    met: p99 <= FIRST_TARGET_MS,
    details: { ours, theirs },
  };
}

/** Each press on a service of its own: a halted run cannot be halted anew. */
async function all(
  { stand, profileTo }: SectionContext,
  receiver: Receiver,
  runs: number,
  presses: number,
): Promise<Figure> {
  const [ours, theirs]: [Press[], Press[]] = [[], []];
  for (let press = 0; press < presses; press += 1) {
    const prefix = `all-${runs}-${press}-`;
    const service = await stand.service({ profileTo });
    const generator = await stand.generator();
    try {
      await registerRuns(generator, service, { runs, prefix, target: `${receiver.url}/${prefix}{n}` });
      const arrivals = Array.from({ length: runs }, (_, i) => receiver.arrival(`/${prefix}${i}`));
      const startedMs = performance.now();
      const answered = service.post('/v1/halt', 'leadership', { reason: 'measured' });
      ours.push(pressOf(await Promise.all(arrivals), startedMs));
      await answered;
      theirs.push(await bareBurst(receiver, `bare-${prefix}`, runs));
    } finally {
      await generator.stop();
      await service.stop();
    }
  }
  const first = median(ours.map(({ firstMs }) => firstMs));
  const last = (of: readonly Press[]): number => median(of.map(({ lastMs }) => lastMs));
  return {
    name: `red button to receipts, ${runs} runs / as many bare fetches`,
    measured: `first ${ms(first)}, last ${ms(last(ours))}`,
    baseline: `first ${ms(median(theirs.map(({ firstMs }) => firstMs)))}, last ${ms(last(theirs))}`,
    ratio: spread(ours.map(({ lastMs }, i) => lastMs / (theirs[i]?.lastMs ?? Number.NaN))),
    target: `first <= ${FIRST_TARGET_MS} ms`,
    met: first <= FIRST_TARGET_MS,
    details: { ours, theirs },
  };
}

async function bareBurst(receiver: Receiver, prefix: string, posts: number): Promise<Press> {
  const arrivals = Array.from({ length: posts }, (_, i) => receiver.arrival(`/${prefix}${i}`));
  const startedMs = performance.now();
  const sent = Array.from({ length: posts }, async (_, i) => {
    const { body } = await request(`${receiver.url}/${prefix}${i}`, { method: 'POST', body: '{}' });
    await body.dump();
  });
  const press = pressOf(await Promise.all(arrivals), startedMs);
  await Promise.all(sent);
  return press;
}

const pressOf = (atMs: readonly number[], startedMs: number): Press => ({
  firstMs: Math.min(...atMs) - startedMs,
  lastMs: Math.max(...atMs) - startedMs,
});

export const redButton: Section = { name: 'red-button', title: 'The red button', run };
