/** The track record over HTTP: forecasts sealed before their answer was looked for, scored by it, and summed up. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { recordText } from '../../src/cli/forecast.ts';
import { PLAIN } from '../../src/cli/output.ts';
import { ForecastRecord } from '../../src/cli/service-documents.ts';
import { ForecastScoreSchema } from '../../src/domain/run/forecast-documents.ts';
import { ForecastsDocument } from '../../src/http/routes/latest-forecasts.ts';
import { rebuildViews } from '../../src/ledger/rebuild-views.ts';
import { createFolds } from '../../src/service/folds.ts';
import { readScores } from '../../src/service/track-record.ts';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { oneEvaluationPolicy } from '../support/one-evaluation-policy.ts';
import { answered, drive, expectSoundLedger, type RunDriver } from '../support/run-driver.ts';

const Figures = z.object({
  forecasts: z.number(),
  runs: z.number(),
  isTooFew: z.boolean(),
  coverage95: z
    .object({ covered: z.number(), share: z.number().nullable(), lower: z.number().nullable() })
    .loose(),
  pit: z.array(z.number()),
  brier: z.number().nullable(),
  misses: z.number(),
});
const Record = z.object({
  run: z.string().nullable(),
  total: Figures,
  groups: z.array(
    Figures.extend({
      method: z.string(),
      basis: z.string(),
      category: z.string(),
      stage: z.string(),
      checkpoints: z.number(),
    }),
  ),
  worstMisses: z.array(
    z.object({ runId: z.string(), checkpointId: z.string(), observed: z.number() }).loose(),
  ),
  excluded: z.object({ sealedLate: z.number(), beyondHorizon: z.number(), partial: z.number() }),
  isTruncated: z.boolean(),
});
const Scores = z.object({
  items: z.array(ForecastScoreSchema.extend({ runId: z.string(), at: z.string() })),
  nextCursor: z.string().nullable(),
});

let interlock: TestInterlock;
/** Three doublings on low scores, and a fourth that leaps. */
let steady: RunDriver;
/** Its second checkpoint was posted before the first was evaluated. */
let hasty: RunDriver;

const success = (score: number) => ({ status: 'success', score, n: 400 });

async function pass(run: RunDriver, checkpointId: string, compute: string, score: number): Promise<void> {
  const { ctf = '' } = await run.report(checkpointId, compute, `s3://b/${checkpointId}`);
  expect((await run.result(ctf, 1, success(score))).status).toBe(200);
}

beforeAll(async () => {
  interlock = await startTestInterlock({
    policies: {
      one: oneEvaluationPolicy({ cadence: { firstCheckpointBy: '1e20', scorecardDeadline: '6h' } }),
      led: oneEvaluationPolicy({
        policy: 'led',
        evaluation: { leads: { metric: 'answer-likelihood', chance: 0, best: 1 } },
      }),
    },
  });
  const target = { kind: 'webhook', url: 'http://127.0.0.1:9/' };
  steady = drive(interlock, target);
  await steady.register();
  await pass(steady, 'c1', '1e20', 0.05);
  await pass(steady, 'c2', '2e20', 0.05);
  await pass(steady, 'c3', '4e20', 0.06);
  await pass(steady, 'c4', '8e20', 0.06);
  hasty = drive(interlock, target);
  await hasty.register();
  const first = await hasty.report('c1', '1e20', 's3://b/c1');
  const second = await hasty.report('c2', '2e20', 's3://b/c2');
  for (const { ctf = '' } of [second, first]) {
    expect((await hasty.result(ctf, 1, success(0.05))).status).toBe(200);
  }
  await hasty.event('ForecastScored');
});
afterAll(() => interlock?.close());

const record = async (query = '') =>
  answered(await interlock.call('GET', `/v1/forecasts/record${query}`, { as: 'auditor' }), 200, Record);
const scoresOf = async ({ runId }: RunDriver, query = '') =>
  answered(
    await interlock.call('GET', `/v1/runs/${runId}/forecasts/scores${query}`, { as: 'auditor' }),
    200,
    Scores,
  );

describe('the track record', () => {
  it('stands in the ledger in the order seal, evaluations, score', async () => {
    const events = await steady.events();
    for (const { data } of events.filter(({ kind }) => kind === 'ForecastScored')) {
      const seq = (is: (event: (typeof events)[number]) => boolean): number =>
        events.find(is)?.seq ?? Number.NaN;
      const sealed = seq(
        (each) => each.kind === 'ForecastSealed' && each.data['checkpointId'] === data['checkpointId'],
      );
      const queued = seq(
        (each) => each.kind === 'CheckpointReported' && each.data['checkpointId'] === data['scoredBy'],
      );
      expect(sealed).toBeLessThan(queued);
    }
    const { items } = await scoresOf(steady);
    expect(items.map(({ checkpointId, scoredBy }) => `${checkpointId} by ${scoredBy}`)).toEqual([
      'c3 by c4',
      'c2 by c3',
      'c1 by c2',
    ]);
  });

  it('sums up every run, one method, basis and category a group, and says that it is too little', async () => {
    const { total, groups, excluded, isTruncated } = await record();
    expect(total).toMatchObject({ forecasts: 3, runs: 1, isTooFew: true, misses: 0 });
    expect(total.coverage95).toMatchObject({ covered: 3, share: 1 });
    expect(total.coverage95.lower).toBeLessThan(0.5);
    expect(total.pit.reduce((sum, each) => sum + each, 0)).toBe(3);
    expect(groups.reduce((sum, { forecasts }) => sum + forecasts, 0)).toBe(3);
    expect(groups.every(({ category, checkpoints }) => category === 'cyber' && checkpoints === 1)).toBe(true);
    expect(excluded).toEqual({ sealedLate: 1, beyondHorizon: 0, partial: 0 });
    expect(isTruncated).toBe(false);
  });

  it('does not count a forecast that was sealed when its answer was being looked for, and shows it', async () => {
    const { items } = await scoresOf(hasty);
    expect(items).toHaveLength(1);
    expect(items[0]).toMatchObject({ checkpointId: 'c1', scoredBy: 'c2', excluded: 'sealed-late' });
    const { total, excluded } = await record(`?run=${hasty.runId}`);
    expect(total.forecasts).toBe(0);
    expect(excluded.sealedLate).toBe(1);
  });

  it('is of one run, category, method or time where asked', async () => {
    const { total, groups } = await record(`?run=${steady.runId}`);
    expect(total.forecasts).toBe(3);
    const [{ method = '' } = {}] = groups;
    const forecasts = async (query: string): Promise<number> => (await record(query)).total.forecasts;
    expect(await forecasts(`?method=${encodeURIComponent(method)}&category=cyber`)).toBe(3);
    expect(await forecasts('?method=none%2F1')).toBe(0);
    expect(await forecasts('?category=bio')).toBe(0);
    expect(await forecasts('?since=2999-01-01T00:00:00Z')).toBe(0);
    expect(await forecasts('?since=2001-01-01T00:00:00Z')).toBe(3);
    const ofRun = await interlock.call('GET', `/v1/runs/${steady.runId}/forecasts/record`, { as: 'trainer' });
    expect(answered(ofRun, 200, Record)).toMatchObject({ run: steady.runId, total: { forecasts: 3 } });
  });

  it('stands beside the newest forecasts of a run, and is of that run alone', async () => {
    const latest = async ({ runId }: RunDriver) =>
      answered(
        await interlock.call('GET', `/v1/runs/${runId}/forecasts/latest`, { as: 'auditor' }),
        200,
        ForecastsDocument,
      );
    expect(await latest(steady)).toMatchObject({
      checkpointId: 'c4',
      experts: [],
      record: {
        forecasts: 3,
        isTooFew: true,
        coverage95: { covered: 3, share: 1 },
        misses: 0,
        excluded: { sealedLate: 0 },
        isTruncated: false,
      },
    });
    expect((await latest(hasty)).record).toMatchObject({ forecasts: 0, excluded: { sealedLate: 1 } });
  });

  it('stands beside what was measured: a leading metric that is posted or not, and another protocol', async () => {
    const run = drive(interlock, { kind: 'webhook', url: 'http://127.0.0.1:9/' });
    expect((await run.register({ policy: 'led' }, 'operator')).status).toBe(201);
    const notes = async (checkpointId: string, compute: string, more: object): Promise<string> => {
      const { ctf = '' } = await run.report(checkpointId, compute, `s3://b/${checkpointId}`);
      expect((await run.result(ctf, 1, { ...success(0.05), ...more })).status).toBe(200);
      const latest = await interlock.call('GET', `/v1/runs/${run.runId}/forecasts/latest`, { as: 'auditor' });
      const body = answered(latest, 200, ForecastsDocument);
      expect(body.checkpointId).toBe(checkpointId);
      return body.forecasts.flatMap((forecast) => forecast.notes).join('; ');
    };
    const metrics = { 'answer-likelihood': { value: 0.2 } };
    expect(await notes('l1', '1e20', { metrics, protocol: 'v1' })).not.toMatch(/leading|protocol/);
    expect(await notes('l2', '2e20', { protocol: 'v1' })).toContain('answer-likelihood was not reported');
    expect(await notes('l3', '4e20', { metrics, protocol: 'v2' })).toContain(
      'measured by another protocol before: 2 earlier points do not count',
    );
  });

  it.each(['?since=yesterday', '?run=', '?run=a%2Fb', '?categories=cyber', '?category='])(
    'refuses %s',
    async (query) => {
      const sent = await interlock.call('GET', `/v1/forecasts/record${query}`, { as: 'auditor' });
      expect(sent.status, sent.text).toBe(422);
    },
  );

  it('of a run that there is not is not found by its path, and empty by the filter', async () => {
    const sent = await interlock.call('GET', '/v1/runs/none/forecasts/record', { as: 'auditor' });
    expect(sent.status).toBe(404);
    expect((await record('?run=none')).total.forecasts).toBe(0);
  });

  it('is read a page at a time, and says when older scores were left out', async () => {
    const { items, nextCursor } = await scoresOf(steady, '?limit=1');
    expect(items.map(({ checkpointId }) => checkpointId)).toEqual(['c3']);
    const next = await scoresOf(steady, `?limit=1&cursor=${nextCursor}`);
    expect(next.items.map(({ checkpointId }) => checkpointId)).toEqual(['c2']);
    await interlock.withStore(async ({ ledger }) => {
      expect(await readScores(ledger, { runId: steady.runId }, 2)).toMatchObject({ isTruncated: true });
      expect(await readScores(ledger, { runId: steady.runId }, 10)).toMatchObject({ isTruncated: false });
    });
  });

  it('counts a miss, names its run and checkpoint, and takes its revision for the first', async () => {
    await pass(steady, 'c5', '1.6e21', 0.97);
    const missed = await record(`?run=${steady.runId}`);
    expect(missed.total).toMatchObject({ forecasts: 4, misses: 1 });
    expect(missed.worstMisses[0]).toMatchObject({ runId: steady.runId, checkpointId: 'c4', scoredBy: 'c5' });
    const { evaluations } = z
      .object({ evaluations: z.array(z.object({ evaluationId: z.string() })) })
      .parse(
        z
          .object({ items: z.array(z.unknown()) })
          .parse(
            (await interlock.call('GET', `/v1/runs/${steady.runId}/checkpoints`, { as: 'auditor' })).body,
          ).items[0],
      );
    const evaluationId = evaluations[0]?.evaluationId ?? '';
    const retried = await interlock.call('POST', `/v1/evaluations/${evaluationId}/retry`, {
      as: 'operator',
      body: {},
    });
    expect(retried.status, retried.text).toBeLessThan(300);
    expect((await steady.result(evaluationId, 2, success(0.99))).status).toBe(200);
    const [latest] = (await scoresOf(steady)).items;
    expect(latest).toMatchObject({ checkpointId: 'c4', revision: 2 });
    expect(latest?.observed).toBeGreaterThan(missed.worstMisses[0]?.observed ?? 5);
    expect((await record(`?run=${steady.runId}`)).total).toMatchObject({ forecasts: 4, misses: 1 });
  });

  it('is what the command line shows', async () => {
    const sent = await interlock.call('GET', `/v1/forecasts/record?run=${steady.runId}`, { as: 'auditor' });
    const text = recordText(answered(sent, 200, ForecastRecord), PLAIN);
    expect(text).toContain(`4 scored forecasts of run ${steady.runId}: too few to say`);
    expect(text).toContain(`! ${steady.runId} c4: cyber pre-mitigation came at`);
  });

  it('can be thrown away and rebuilt, and every score follows from the ledger', async () => {
    const before = await record();
    await interlock.withStore(({ database: { pool } }) => rebuildViews(pool, createFolds()));
    expect(await record()).toEqual(before);
    await expectSoundLedger(interlock);
  });
});
