/**
 * From evidence to receipt: a tripping result is posted, and the clock stops when the halt reaches the receiver.
 * The baseline is one bare POST to the same receiver: what no service could beat. Turn about.
 *
 * Once as it comes in life, hours after its evaluation was handed over, and once at the worst moment: while the run's
 * eight evaluations are being started, which are sixteen commits of the same run.
 */
import { request } from 'undici';
import { z } from 'zod';
import { type Figure, ms, type Section, type SectionContext } from '../figure.ts';
import { startReceiver } from '../receiver.ts';
import type { Service } from '../stand.ts';
import { quantile, spread } from '../statistics.ts';

const WARM_UP = 10;
const TARGET_MS = 25;
const Reported = z.object({ evaluations: z.array(z.object({ evaluationId: z.string() })) });

const Head = z.object({ size: z.number() });
/** Looks at the ledger's size that must find it as it was. */
const CALM_LOOKS = 4;
const CALM_LOOK_MS = 60;
type Moment = 'calm' | 'busy';

async function run({ stand, quick, profileTo }: SectionContext): Promise<Figure[]> {
  const trips = quick ? 40 : 200;
  const service = await stand.service({ profileTo });
  const receiver = await startReceiver();
  try {
    const trip = async (i: number, moment: Moment): Promise<number> => {
      const runId = `trip-${moment}-${i}`;
      await service.post('/v1/runs', 'trainer', {
        runId,
        targets: [{ kind: 'webhook', url: `${receiver.url}/${runId}` }],
      });
      const checkpoint = { runId, checkpointId: 'c1', effectiveCompute: '1e21', modelUri: 's3://bench/c1' };
      const { evaluations } = Reported.parse(await service.post('/v1/checkpoints', 'trainer', checkpoint));
      if (moment === 'calm') await untilCalm(service);
      const arrived = receiver.arrival(`/${runId}`);
      const startedMs = performance.now();
      await service.post(`/v1/evaluations/${evaluations[0]?.evaluationId}/result?attempt=1`, 'evaluator', {
        status: 'success',
        score: 0.6,
        n: 300,
      });
      return (await arrived) - startedMs;
    };
    const bare = async (i: number): Promise<number> => {
      const arrived = receiver.arrival(`/bare-${i}`);
      const startedMs = performance.now();
      const { body } = await request(`${receiver.url}/bare-${i}`, { method: 'POST', body: '{}' });
      await body.dump();
      return (await arrived) - startedMs;
    };
    const figure = async (moment: Moment, name: string, isJudged: boolean): Promise<Figure> => {
      const tripsMs: number[] = [];
      const bareMs: number[] = [];
      for (let i = 0; i < trips + WARM_UP; i += 1) {
        const one = await trip(i, moment);
        const other = await bare(i);
        if (i < WARM_UP) continue;
        tripsMs.push(one);
        bareMs.push(other);
      }
      const above = quantile(tripsMs, 0.99) - quantile(bareMs, 0.99);
      return {
        name: `${name} / a bare fetch`,
        measured: `p50 ${ms(quantile(tripsMs, 0.5))}, p99 ${ms(quantile(tripsMs, 0.99))}`,
        baseline: `p50 ${ms(quantile(bareMs, 0.5))}, p99 ${ms(quantile(bareMs, 0.99))}`,
        ratio: spread(tripsMs.map((value, i) => value / (bareMs[i] ?? Number.NaN))),
        target: isJudged ? `p99 within ${TARGET_MS} ms of it (${above.toFixed(1)} ms)` : null,
        met: isJudged ? above <= TARGET_MS : null,
        details: { tripsMs, bareMs },
      };
    };
    return [
      await figure('calm', 'evidence to receipt of the halt', true),
      await figure('busy', 'the same while eight evaluations are being started', false),
    ];
  } finally {
    await receiver.close();
    await service.stop();
  }
}

/** Each evaluation is with its evaluator, and what the halts before set off (alerts, looks at targets) is over. */
async function untilCalm(service: Service): Promise<void> {
  let size = -1;
  for (let unchanged = 0; unchanged < CALM_LOOKS; ) {
    const seen = Head.parse(await service.get('/v1/ledger/head', 'auditor')).size;
    unchanged = seen === size ? unchanged + 1 : 0;
    size = seen;
    await new Promise((resolve) => setTimeout(resolve, CALM_LOOK_MS));
  }
}

export const halts: Section = { name: 'halts', title: 'Evidence to halt', run };
