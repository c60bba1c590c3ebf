/** Estimate rounds over HTTP: asked, answered in private, fed back without names, pooled, and heeded by the verdict. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { canonicalJson, type JsonObject } from '../../src/domain/canonical-json.ts';
import { Problem } from '../../src/http/problem.ts';
import { ForecastsDocument } from '../../src/http/routes/latest-forecasts.ts';
import { sealEnvelope } from '../../src/ledger/envelope.ts';
import { generateWebhookSecret } from '../../src/signing/standard-webhooks.ts';
import { type Receiver, startReceiver } from '../support/evaluation-service.ts';
import { readStream } from '../support/event-stream.ts';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { oneEvaluationPolicy } from '../support/one-evaluation-policy.ts';
import { answered, drive, expectSoundLedger, type RunDriver, soon } from '../support/run-driver.ts';

const STAGE = 'pre-mitigation';
const Round = z.object({
  roundId: z.string(),
  questionId: z.string(),
  round: z.number(),
  state: z.string(),
  checkpointId: z.string(),
  horizonCompute: z.string(),
  closesAt: z.string(),
  closedBecause: z.string().nullable(),
  given: z.number(),
  pool: z.object({ p: z.number(), n: z.number(), median: z.number() }).loose().nullable(),
  readBy: z.array(z.string()),
});
const Shown = Round.extend({
  feedback: z
    .object({
      rationales: z.array(z.string()),
      quantiles: z.array(z.object({ p: z.number(), level: z.number(), n: z.number() })),
    })
    .nullable(),
  mine: z.object({ probability: z.number(), rationale: z.string() }).nullable(),
});
const Given = z.object({ estimateId: z.string(), roundId: z.string(), probability: z.number() });
const Events = z.object({
  items: z.array(
    z.object({
      stream: z.string(),
      version: z.number(),
      id: z.string(),
      kind: z.string(),
      data: z.record(z.string(), z.json()),
      actor: z.string(),
      recordedAt: z.string(),
      prevHash: z.string(),
      hash: z.string(),
    }),
  ),
  nextCursor: z.string().nullable(),
});

const ALERT_SECRET = generateWebhookSecret();
const Alert = z.object({
  data: z.object({
    runId: z.string(),
    severity: z.string(),
    summary: z.string(),
    details: z.record(z.string(), z.string()),
  }),
});

let interlock: TestInterlock;
let pager: Receiver;

beforeAll(async () => {
  pager = await startReceiver(() => ALERT_SECRET);
  interlock = await startTestInterlock({
    settings: {
      alerts: [{ name: 'experts', kind: 'webhook', url: `${pager.url}/page`, secret: 'env:ALERT_SECRET' }],
    },
    env: { ALERT_SECRET },
    policies: {
      one: oneEvaluationPolicy({
        alerts: ['experts'],
        cadence: { firstCheckpointBy: '1e20', scorecardDeadline: '6h' },
        rules: [
          { id: 'high', kind: 'level', stage: STAGE, atLeast: 'high', then: ['halt'] },
          {
            id: 'soon',
            kind: 'forecast',
            stage: STAGE,
            atLeast: 'critical',
            probability: 0.5,
            then: ['halt'],
          },
          {
            id: 'experts',
            kind: 'estimate',
            stage: STAGE,
            atLeast: 'critical',
            probability: 0.2,
            then: ['hold'],
          },
        ],
      }),
    },
    identities: ['ann', 'bob', 'eve'].map((id) => ({ id, roles: ['evaluator'] })),
  });
});
afterAll(async () => {
  await interlock?.close();
  await pager?.close();
});

/** A run that has cleared its first checkpoint. */
async function cleared(): Promise<RunDriver> {
  const run = drive(interlock, { kind: 'webhook', url: 'http://127.0.0.1:9/' });
  expect((await run.register()).status).toBe(201);
  const { ctf = '' } = await run.report('c1', '1e20', 's3://b/c1');
  expect((await run.result(ctf, 1, { status: 'success', score: 0.05, n: 400 })).status).toBe(200);
  await run.event('CheckpointAssessed');
  return run;
}

const at = ({ runId }: RunDriver, rest: string): string => `/v1/runs/${runId}${rest}`;

async function ask(run: RunDriver, body: Record<string, unknown> = {}, as = 'board') {
  const sent = await interlock.call('POST', at(run, '/estimate-rounds'), {
    as,
    body: { category: 'cyber', level: 'critical', ...body },
  });
  return answered(sent, 201, Round);
}

const give = (run: RunDriver, as: string, roundId: string, probability: number, more: object = {}) =>
  interlock.call('POST', at(run, '/estimates'), {
    as,
    body: { roundId, probability, rationale: `secret of ${as}`, ...more },
  });

const show = async (run: RunDriver, roundId: string, as = 'auditor') =>
  answered(await interlock.call('GET', at(run, `/estimate-rounds/${roundId}`), { as }), 200, Shown);

const act = (run: RunDriver, roundId: string, what: 'close' | 'second', as = 'board', body: object = {}) =>
  interlock.call('POST', at(run, `/estimate-rounds/${roundId}/${what}`), { as, body });

/** Everything that anybody can read of a run and of the ledger, as text. */
async function everythingRead(run: RunDriver): Promise<string> {
  const texts: string[] = [];
  for (const as of ['trainer', 'operator', 'oncall', 'auditor', 'board', 'eve']) {
    for (const path of [
      '',
      '/events?limit=200',
      '/estimate-rounds',
      '/scorecards/latest',
      '/forecasts/latest',
    ]) {
      texts.push((await interlock.call('GET', at(run, path), { as })).text);
    }
    texts.push((await interlock.call('GET', '/v1/ledger?limit=1000', { as })).text);
    texts.push((await interlock.call('GET', '/', { as })).text);
    const { items } = z
      .object({ items: z.array(z.object({ roundId: z.string() })) })
      .parse((await interlock.call('GET', at(run, '/estimate-rounds'), { as })).body);
    for (const { roundId } of items) {
      texts.push((await interlock.call('GET', at(run, `/estimate-rounds/${roundId}`), { as })).text);
    }
  }
  const isLast = ({ kind }: { kind: string }) => kind === 'EstimateGiven';
  for (const path of ['/v1/stream', at(run, '/stream')]) {
    const events = await readStream(interlock, path, (seen) => seen.filter(isLast).length >= 2, {
      lastEventId: '1',
    });
    texts.push(...events.map(({ text }) => text));
  }
  return texts.join('\n');
}

const estimatesOf = async (run: RunDriver) => {
  const sent = await interlock.call('GET', at(run, '/events?limit=200'), { as: 'auditor' });
  return answered(sent, 200, Events).items.filter(({ kind }) => kind === 'EstimateGiven');
};

const besideForecasts = async (run: RunDriver) => {
  const sent = await interlock.call('GET', at(run, '/forecasts/latest'), { as: 'trainer' });
  return answered(sent, 200, ForecastsDocument).experts;
};

describe('estimate rounds', () => {
  it('go from a question through two private rounds to a pool that holds the run', async () => {
    const run = await cleared();
    const first = await ask(run);
    expect(first).toMatchObject({ round: 1, state: 'open', checkpointId: 'c1', given: 0, pool: null });
    expect(first).toMatchObject({ horizonCompute: '220000000000000000000', readBy: ['soon', 'experts'] });
    const again = await interlock.call('POST', at(run, '/estimate-rounds'), {
      as: 'board',
      body: { category: 'cyber', stage: STAGE, level: 4 },
    });
    expect(answered(again, 200, Round).roundId).toBe(first.roundId);

    const quantiles = [{ p: 0.5, level: 2.5 }];
    expect((await give(run, 'ann', first.roundId, 0.0173, { quantiles })).status).toBe(201);
    answered(await give(run, 'ann', first.roundId, 0.0173, { quantiles }), 200, Given);
    answered(await give(run, 'bob', first.roundId, 0.4321), 201, Given);

    // Open: the giver sees their own, everybody else that two have answered.
    const read = await everythingRead(run);
    const told = ['secret of ann', 'secret of bob', '0.0173', '0.4321', '"salt"'];
    expect(told.filter((each) => read.includes(each))).toEqual([]);
    expect(await show(run, first.roundId, 'ann')).toMatchObject({
      given: 2,
      feedback: null,
      mine: { probability: 0.0173, rationale: 'secret of ann' },
    });
    expect(await besideForecasts(run)).toMatchObject([
      { questionId: first.roundId, roundId: first.roundId, state: 'open', given: 2, pool: null },
    ]);
    const before = await estimatesOf(run);
    expect(before.map(({ actor, data }) => [actor, data['withheld']])).toEqual([
      ['ann', true],
      ['bob', true],
    ]);

    // Between the rounds: how far apart, and why, but not who.
    const second = answered(await act(run, first.roundId, 'second'), 201, Round);
    expect(second).toMatchObject({ round: 2, state: 'open', questionId: first.roundId });
    const closed = await show(run, first.roundId, 'eve');
    expect(closed).toMatchObject({ state: 'closed', closedBecause: 'by-hand', mine: null });
    expect(closed.pool).toMatchObject({ n: 2, median: 0.2247 });
    expect([...(closed.feedback?.rationales ?? [])].sort()).toEqual(['secret of ann', 'secret of bob']);
    expect(closed.feedback?.quantiles).toEqual([{ p: 0.5, level: 2.5, n: 1 }]);
    const sent = await interlock.call('GET', at(run, `/estimate-rounds/${first.roundId}`), { as: 'eve' });
    const names = ['"ann"', '"bob"', '0.0173', '0.4321', 'estimateId'];
    expect(names.filter((each) => sent.text.includes(each))).toEqual([]);
    expect((await estimatesOf(run)).every(({ data }) => data['withheld'] === true)).toBe(true);

    // Beside the forecast: the pool that is known, and that a round is open.
    expect(await besideForecasts(run)).toMatchObject([
      { questionId: first.roundId, roundId: second.roundId, state: 'open', given: 0, pool: { n: 2 } },
    ]);

    // ann stands by what she said; bob revises; the pool holds the run by the estimate rule alone.
    answered(await give(run, 'bob', second.roundId, 0.6), 201, Given);
    answered(await give(run, 'eve', second.roundId, 0.7), 201, Given);
    const pooled = answered(await act(run, second.roundId, 'close', 'ann'), 200, Round);
    expect(pooled.pool).toMatchObject({ n: 3, p: 0.283139 });
    expect(await run.show()).toMatchObject({ status: 'on-hold' });
    expect((await run.scorecard()).findings).toMatchObject([
      { rule: 'experts', kind: 'estimate', observed: 0.283139, threshold: 0.2, basis: 'experts' },
    ]);

    // Settled: now it stands there who said what, and it is what was committed to.
    const after = await estimatesOf(run);
    expect(after.map(({ actor, data }) => [actor, data['probability']])).toEqual([
      ['ann', 0.0173],
      ['bob', 0.4321],
      ['bob', 0.6],
      ['eve', 0.7],
    ]);
    for (const [i, event] of before.entries()) {
      const { data, hash, ...rest } = after[i] ?? event;
      expect(hash).toBe(event.hash);
      expect(leafOf({ ...rest, data })).toBe(event.hash);
      expect(leafOf({ ...rest, data: { ...data, probability: 0.5 } })).not.toBe(event.hash);
    }
    await expectSoundLedger(interlock);
  });

  it('reach the experts through the alert channels, each round once', async () => {
    const run = await cleared();
    const sent = () =>
      pager
        .at('/page')
        .map(({ body }) => Alert.parse(JSON.parse(body)).data)
        .filter(({ runId, details }) => runId === run.runId && details['roundId'] !== undefined);
    const { roundId, closesAt } = await ask(run);
    const [first] = await soon(() => {
      expect(sent()).toHaveLength(1);
      return sent();
    });
    expect(first).toMatchObject({ severity: 'info', details: { roundId, closesAt } });
    expect(first?.summary).toContain('how likely is Cyber pre-mitigation to reach Critical (4.0)');
    // As it says: the address and the round that it names take the answer.
    expect(first?.details['answer']).toContain(`POST ${at(run, '/estimates')}`);
    answered(await give(run, 'ann', first?.details['roundId'] ?? '', 0.0173), 201, Given);
    const second = answered(await act(run, roundId, 'second'), 201, Round);
    answered(await act(run, roundId, 'second'), 200, Round);
    await soon(() =>
      expect(sent().map(({ details }) => details['roundId'])).toEqual([roundId, second.roundId]),
    );
    expect(JSON.stringify(sent())).not.toMatch(/0\.0173|secret of (ann|bob)/);
    const raised = (await run.events()).filter(
      ({ kind, data }) => kind === 'AlertRaised' && JSON.stringify(data).includes('experts are asked'),
    );
    expect(raised).toHaveLength(2);
  });

  it('close by themselves at their deadline', async () => {
    const run = await cleared();
    const { roundId } = await ask(run, { closesAt: new Date(Date.now() + 1_500).toISOString() }, 'ann');
    answered(await give(run, 'ann', roundId, 0.03), 201, Given);
    const event = await run.event('EstimateRoundClosed');
    expect(event.data).toMatchObject({ roundId, reason: 'deadline', by: null });
    expect(await show(run, roundId)).toMatchObject({ state: 'closed', pool: { p: 0.03, n: 1 } });
    const late = await give(run, 'bob', roundId, 0.5);
    expect(answered(late, 409, Problem).errors).toMatchObject([{ path: 'roundId' }]);
  });

  it('are over, and shown, once the next checkpoint is assessed; an old pool does not count for it', async () => {
    const run = await cleared();
    const { roundId } = await ask(run);
    answered(await give(run, 'ann', roundId, 0.1), 201, Given);
    answered(await act(run, roundId, 'close'), 200, Round);
    const { roundId: open } = await ask(run, { level: 'high' });
    answered(await give(run, 'bob', open, 0.9), 201, Given);
    const { ctf = '' } = await run.report('c2', '2e20', 's3://b/c2');
    await run.result(ctf, 1, { status: 'success', score: 0.06, n: 400 });
    expect((await run.event('EstimateRoundClosed', 2)).data).toMatchObject({
      roundId: open,
      reason: 'overtaken',
    });
    expect(await run.scorecard('c2')).toMatchObject({ verdict: 'proceed', findings: [] });
    expect((await estimatesOf(run)).map(({ data }) => data['probability'])).toEqual([0.1, 0.9]);
    const list = await interlock.call('GET', at(run, '/estimate-rounds'), { as: 'trainer' });
    const items = answered(list, 200, z.object({ items: z.array(Round) })).items;
    expect(items.map(({ roundId: id, pool }) => [id, pool?.p ?? null])).toEqual([
      [open, null],
      [roundId, 0.1],
    ]);
  });

  it('name what is wrong with a request, every field at once', async () => {
    const run = await cleared();
    const { roundId } = await ask(run);
    const paths = async (rest: string, body: object, status = 422): Promise<string[]> => {
      const sent = await interlock.call('POST', at(run, rest), { as: 'ann', body });
      return (answered(sent, status, Problem).errors ?? []).map(({ path }) => path).sort();
    };
    expect(await paths('/estimates', {})).toEqual(['probability', 'rationale', 'roundId']);
    expect(
      await paths('/estimates', {
        roundId,
        probability: 1.2,
        rationale: '',
        quantiles: [{ p: 1, level: 6 }],
      }),
    ).toEqual(['probability', 'quantiles[0].level', 'quantiles[0].p', 'rationale']);
    const quantiles = [{ p: 0.9, level: 2 }];
    const contradictory = { roundId, probability: 0.5, rationale: 'r', quantiles };
    expect(await paths('/estimates', contradictory)).toEqual(['quantiles.0.level']);
    const unknown = { roundId: 'round_x', probability: 0.5, rationale: 'r' };
    expect(await paths('/estimates', unknown, 404)).toEqual(['roundId']);
    expect(await paths('/estimate-rounds', { category: 'chess', level: 'high' })).toEqual(['category']);
    expect(await paths('/estimate-rounds', { level: 9, closesAt: 'soon' })).toEqual([
      'category',
      'closesAt',
      'level',
    ]);
    expect(await paths('/estimate-rounds/round_x/close', {}, 404)).toEqual(['path.round']);
    expect(await paths('/estimate-rounds/round_x/second', {}, 404)).toEqual(['path.round']);
    const elsewhere = await cleared();
    const other = await interlock.call('GET', at(elsewhere, `/estimate-rounds/${roundId}`), { as: 'ann' });
    expect(other.status).toBe(404);
  });
});

function leafOf({
  data,
  ...envelope
}: Omit<Parameters<typeof sealEnvelope>[0], 'dataJson'> & { data: JsonObject }): string {
  return sealEnvelope({ ...envelope, dataJson: canonicalJson(data) }).leaf.toString('hex');
}
