/** Heartbeats per second over 1,000 runs, each answered with a permit that was numbered and signed for it. */
import { type Figure, ms, perSecond, type Section, type SectionContext } from '../figure.ts';
import type { Outcome } from '../generator.ts';
import { registerRuns } from '../registering.ts';
import { median, spread } from '../statistics.ts';

const RUNS = 1_000;
const TARGET = 1_000;

async function run({ stand, quick, profileTo }: SectionContext): Promise<Figure[]> {
  const [requests, rounds] = quick ? [1_000, 2] : [4_000, 5];
  const generator = await stand.generator();
  const service = await stand.service({ profileTo });
  const bare = await stand.baseline('bare-insert');
  try {
    await registerRuns(generator, service, { runs: RUNS, prefix: 'beat-' });
    const token = { token: service.tokens['trainer'] ?? '' };
    const body = JSON.stringify({ effectiveCompute: '1e21', step: 1, nonce: 'n-{n}' });
    const beat = (from: number, by: { token: string } | { secret: string }): Promise<Outcome> =>
      generator.run({
        port: service.port,
        connections: 64,
        requests,
        from,
        runs: RUNS,
        path: '/v1/runs/beat-{run}/heartbeat',
        body,
        holds: '"permit":"ey',
        ...by,
      });
    const seen: Record<'bare' | 'signed' | 'bearer', Outcome[]> = { bare: [], signed: [], bearer: [] };
    for (let round = 0; round <= rounds; round += 1) {
      const from = round * 3 * requests;
      const each = {
        bare: await generator.run({
          port: bare.port,
          connections: 64,
          requests,
          path: '/v1/checkpoints',
          body,
          ...token,
        }),
        signed: await beat(from, { secret: service.secret }),
        bearer: await beat(from + requests, token),
      };
      for (const [name, outcome] of Object.entries(each)) {
        if (outcome.faults > 0 || Object.keys(outcome.statuses).some((status) => !status.startsWith('2')))
          throw new Error(`${name}: ${JSON.stringify(outcome)}`);
      }
      if (round === 0) continue; // warming up
      seen.bare.push(each.bare);
      seen.signed.push(each.signed);
      seen.bearer.push(each.bearer);
    }
    const row = (name: string, ours: readonly Outcome[]): Figure => {
      const rate = median(ours.map((outcome) => outcome.perSecond));
      const p99 = median(ours.map((outcome) => outcome.p99Ms));
      return {
        name,
        measured: `${perSecond(rate)}, p99 ${ms(p99)}`,
        baseline: perSecond(median(seen.bare.map((outcome) => outcome.perSecond))),
        ratio: spread(ours.map((outcome, i) => outcome.perSecond / (seen.bare[i]?.perSecond ?? Number.NaN))),
        target: `>= ${TARGET} /s`,
        met: rate >= TARGET,
        details: { ours, bare: seen.bare },
      };
    };
    return [
      row('heartbeats with permits, signed / a bare INSERT', seen.signed),
      row('heartbeats with permits, bearer token / a bare INSERT', seen.bearer),
    ];
  } finally {
    for (const each of [generator, service, bare]) await each.stop();
  }
}

export const heartbeats: Section = {
  name: 'heartbeats',
  title: 'Heartbeats with permits, 1,000 runs, 64 senders',
  run,
};
