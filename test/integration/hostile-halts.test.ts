/**
 * Section F of the table of hostile inputs: acknowledgements that lie, targets that answer oddly, runs that are
 * launched again, resumes that are not earned. Ids in names are the table's.
 *
 * As far as the kinds of target go that there are: F06 (a job id reused by somebody) and F08 (cancel and requeue) are
 * about schedulers, which this version does not drive; for a process the like of F06 is a reused pid, tested with
 * its adapter. F11 is the button's, F13 waits for drills, F14 is in service-halt-recovery.test.ts and the torture.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import {
  createInterlockClient,
  listenForHalts,
  PermitGuard,
  signWebhook,
  WebhookSecret,
} from '../../clients/typescript/index.ts';
import { generateSharedSecret } from '../../src/config/credentials.ts';
import { ProposalDocument } from '../../src/http/routes/documents.ts';
import { type Interlock, startInterlock } from '../../src/main.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { score, testPolicy, writeEvaluator, writeModel } from '../support/evaluation-policy.ts';
import { type Behaviour, type HttpTarget, startHttpTarget } from '../support/http-target.ts';
import { type Sent, startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import {
  answered,
  drive,
  expectSoundLedger,
  Halts,
  pressed,
  type RunDriver,
  soon,
} from '../support/run-driver.ts';

const Recorded = z.object({ recordedIn: z.enum(['ledger', 'spool']) });

let interlock: TestInterlock;
let target: HttpTarget;

beforeAll(async () => {
  target = await startHttpTarget();
  interlock = await startTestInterlock({
    policies: { main: testPolicy({ silentDebate: true, heartbeatInterval: '1s', confirmWithin: '1s' }) },
    identities: [
      { id: 'other-trainer', roles: ['trainer'] },
      { id: 'everywhere', groups: ['leadership', 'safety-advisory', 'board'] },
    ],
  });
  await writeEvaluator(interlock.directory);
});
afterAll(async () => {
  await expectSoundLedger(interlock);
  await interlock?.close();
  await target?.close();
});

async function registered(body: Record<string, unknown> = {}, runId?: string): Promise<RunDriver> {
  const run = drive(interlock, { kind: 'webhook', url: `${target.url}/halt` }, runId);
  const sent = await run.register(body);
  expect(sent.status, sent.text).toBe(201);
  return run;
}

const ack = (id: string, state: string, as = 'trainer') =>
  interlock.call('POST', `/v1/halts/${id}/ack`, { as, body: { state } });
const beat = (run: RunDriver, body: Record<string, unknown>) =>
  interlock.call('POST', `/v1/runs/${run.runId}/heartbeat`, {
    as: 'trainer',
    body: { effectiveCompute: '1e20', nonce: 'n', ...body },
  });
const permitted = (sent: Sent) =>
  z.object({ permit: z.string().nullable() }).parse(sent.body).permit !== null;
const securityCodes = async () =>
  (await interlock.ledger.read({ after: 0, stream: 'security', limit: 1_000 })).map(
    ({ data }) => data['code'],
  );
const deliveriesTo = (run: RunDriver) =>
  target.received.filter(({ body }) => body.toString('utf8').includes(`"${run.runId}"`));

describe('acknowledgements', () => {
  it('F01 of an unknown halt, of a stranger to the run, of a halt that is over: refused, and nothing moves', async () => {
    const run = await registered({ sources: ['trainer'] });
    const { haltId } = await pressed(run);
    const before = (await run.events()).filter(({ kind }) => kind === 'HaltAcknowledged');
    expect((await ack('halt_unknown', 'stopped')).status).toBe(404);
    expect((await ack(haltId, 'stopped', 'other-trainer')).status).toBe(403);
    expect((await ack(haltId, 'stopped', 'auditor')).status).toBe(403);
    expect((await run.events()).filter(({ kind }) => kind === 'HaltAcknowledged')).toEqual(before);
    await run.resume(haltId, ['leadership', 'safety-advisory']);
    expect((await ack(haltId, 'stopped')).status).toBe(409);
  });

  it('F02 "stopped" while the run moves is not believed: halted again, people told, and a security event', async () => {
    const run = await registered();
    await beat(run, { instance: 'job', effectiveCompute: '1e20' });
    const { haltId } = await pressed(run);
    await soon(() => expect(deliveriesTo(run)).toHaveLength(1));
    expect((await ack(haltId, 'stopped')).status).toBe(200);
    await beat(run, { instance: 'job', effectiveCompute: '2e20' });
    expect((await run.event('HaltReopened')).data).toMatchObject({ haltId, round: 2, reason: 'progress' });
    expect((await run.show()).openHalt).toMatchObject({ state: 'open', acknowledged: { stoppedAt: null } });
    await soon(() => expect(deliveriesTo(run).length).toBeGreaterThan(1));
    await soon(async () => expect(await securityCodes()).toContain('false-stop'));
    // Unconfirmed past its deadline it climbs.
    expect((await run.event('HaltEscalated')).data).toMatchObject({ haltId });
  });

  it('F02 "stopped" with heartbeats that show no progress is believed only after a whole quiet interval', async () => {
    const run = await registered();
    await beat(run, { instance: 'job' });
    const { haltId } = await pressed(run);
    const said = performance.now();
    await ack(haltId, 'stopped');
    await beat(run, { instance: 'job' });
    const { openHalt } = await run.show();
    // A machine that took longer than the interval for these two may rightly have believed it.
    if (performance.now() - said < 900) expect(openHalt).toMatchObject({ state: 'open' });
    await run.event('HaltConfirmed');
    expect(performance.now() - said).toBeGreaterThan(900);
  });

  it('F04 repeated and out of order never take the state back', async () => {
    const run = await registered();
    const { haltId } = await pressed(run);
    for (const state of ['stopped', 'received', 'received', 'stopped']) {
      expect((await ack(haltId, state)).status).toBe(200);
    }
    const acknowledged = (await run.events()).filter(({ kind }) => kind === 'HaltAcknowledged');
    expect(acknowledged.map(({ data }) => data['state'])).toEqual(['stopped']);
  });
});

describe.concurrent('F05 a target that answers', () => {
  it.each<[string, Behaviour, 'accepted' | 'retry']>([
    [
      '200 with an error in the body',
      { kind: 'status', status: 200, body: '{"error":"no such job"}' },
      'retry',
    ],
    ['202', { kind: 'status', status: 202 }, 'accepted'],
    ['301 elsewhere', { kind: 'status', status: 301, headers: { location: 'http://127.0.0.1:9/' } }, 'retry'],
    ['401', { kind: 'status', status: 401 }, 'retry'],
    ['404: the job is gone', { kind: 'status', status: 404 }, 'retry'],
    ['410', { kind: 'status', status: 410 }, 'retry'],
    ['500', { kind: 'status', status: 500 }, 'retry'],
    ['a broken connection', { kind: 'reset' }, 'retry'],
    ['200 and half a megabyte', { kind: 'oversized', bytes: 524_288 }, 'retry'],
  ])('%s: no answer is taken for a stop, and it is tried again', async (_, behaviour, outcome) => {
    const own = await startHttpTarget();
    try {
      own.behave(behaviour);
      const run = drive(interlock, { kind: 'webhook', url: `${own.url}/halt` });
      expect((await run.register()).status).toBe(201);
      await pressed(run);
      const first = await run.event('HaltStepTaken');
      expect(first.data).toMatchObject({ step: 'webhook', outcome });
      expect(first.data['nextAt']).not.toBeNull();
      if (outcome === 'retry') {
        await run.event('HaltStepTaken', 2);
        own.behave({ kind: 'status', status: 200 });
        await soon(async () => {
          const taken = (await run.events()).filter(({ kind }) => kind === 'HaltStepTaken');
          expect(taken.map(({ data }) => data['outcome'])).toContain('accepted');
        });
      }
      expect((await run.show()).openHalt).toMatchObject({ state: 'open', confirmedAt: null });
    } finally {
      await own.close();
    }
  });
});

describe('F07 a run launched again after its halt', () => {
  it('under the same id by a new process: the halt reopens, goes out again, and no permit is given', async () => {
    const run = await registered();
    await beat(run, { instance: 'first' });
    const { haltId } = await pressed(run);
    await ack(haltId, 'stopped');
    await run.event('HaltConfirmed');
    const sent = deliveriesTo(run).length;
    const answer = await beat(run, { instance: 'second' });
    expect(permitted(answer)).toBe(false);
    expect(answer.body).toMatchObject({ directive: { action: 'halt', haltId } });
    expect((await run.event('HaltReopened')).data).toMatchObject({ haltId, reason: 'relaunched' });
    await soon(() => expect(deliveriesTo(run).length).toBeGreaterThan(sent));
    expect((await run.show()).openHalt).toMatchObject({ state: 'open' });
  });

  it('under a new id that names it as parent, or a checkpoint of it: latched from the first moment, with an order of its own', async () => {
    const parent = await registered();
    const { haltId } = await pressed(parent);
    for (const named of [parent.runId, `${parent.runId}/step-1000`]) {
      const child = drive(interlock, { kind: 'webhook', url: `${target.url}/halt` });
      const sent = await child.register({ parents: ['s3://elsewhere/base', named] });
      expect(sent.status, sent.text).toBe(201);
      expect(sent.body).toMatchObject({ permit: null });
      expect((await child.event('HaltOrdered')).data).toMatchObject({
        cause: { kind: 'lineage', runId: parent.runId, haltId },
      });
      expect((await child.beat('1e20')).directive).toMatchObject({ action: 'halt' });
      await soon(() => expect(deliveriesTo(child)).not.toEqual([]));
    }
  });

  it('a halt reaches children and their children, and each ends by its own resume', async () => {
    const parent = await registered();
    const child = await registered({ parents: [parent.runId] });
    const grandchild = await registered({ parents: [`${child.runId}/c1`] });
    const stranger = await registered();
    expect(permitted(await beat(grandchild, {}))).toBe(true);
    const sent = await interlock.call('POST', `/v1/runs/${parent.runId}/halt`, {
      as: 'board',
      body: { reason: 'weights', action: 'quarantine' },
    });
    const [halt] = answered(sent, 202, Halts).halts;
    // Without a heartbeat of theirs.
    for (const each of [child, grandchild]) {
      expect((await each.event('HaltOrdered')).data).toMatchObject({
        action: 'quarantine',
        cause: { kind: 'lineage' },
      });
      expect(permitted(await beat(each, {}))).toBe(false);
    }
    expect(permitted(await beat(stranger, {}))).toBe(true);
    await parent.resume(halt?.haltId ?? '', ['leadership', 'safety-advisory']);
    expect(permitted(await beat(parent, {}))).toBe(true);
    expect(permitted(await beat(child, {}))).toBe(false);
    await child.resume(null, ['leadership', 'safety-advisory']).catch(() => undefined);
    const open = (await child.show()).openHalt;
    if (open !== null) await child.resume(open.haltId, ['leadership', 'safety-advisory']);
    expect(permitted(await beat(child, {}))).toBe(true);
    expect(permitted(await beat(grandchild, {}))).toBe(false);
    // The next halt of the parent is another one.
    await pressed(parent);
    await child.event('HaltOrdered', 2);
  });

  it('a resumed child is not latched again by the halt that was signed for', async () => {
    const parent = await registered();
    await pressed(parent);
    const child = await registered({ parents: [parent.runId] });
    const { haltId } = z.object({ haltId: z.string() }).parse((await child.event('HaltOrdered')).data);
    await child.resume(haltId, ['leadership', 'safety-advisory']);
    for (let i = 0; i < 3; i += 1) expect(permitted(await beat(child, {}))).toBe(true);
    expect((await child.kinds()).filter((kind) => kind === 'HaltOrdered')).toHaveLength(1);
  });

  it('runs that name one another do not chase each other', async () => {
    const names = ['cycle-a', 'cycle-b'];
    const runs = await Promise.all(
      names.map((runId, i) => registered({ parents: [names[1 - i] ?? '', runId] }, runId)),
    );
    await runs[0]?.press();
    await runs[1]?.event('HaltOrdered');
    await soon(async () => {
      for (const run of runs)
        expect((await run.kinds()).filter((kind) => kind.startsWith('Halt')).length).toBeLessThan(12);
    });
  });
});

describe('F09 two Interlocks', () => {
  it('that order at the same instant make one halt, and a receiver sees one', async () => {
    const other: Interlock = await startInterlock(interlock.config, {
      env: { PATH: process.env['PATH'], HOME: process.env['HOME'] },
      logger: createLogger({ level: 'silent' }),
      port: 0,
    });
    try {
      const run = await registered();
      const press = (url: string) =>
        fetch(`${url}/v1/runs/${run.runId}/halt`, {
          method: 'POST',
          headers: {
            authorization: `Bearer ${interlock.tokens['board'] ?? ''}`,
            'content-type': 'application/json',
          },
          body: '{"reason":"both"}',
        });
      const presses = await Promise.all(
        [interlock.url, other.url, interlock.url, other.url].map((url) => press(url)),
      );
      expect(presses.map(({ status }) => status)).toEqual([202, 202, 202, 202]);
      await soon(async () =>
        expect((await run.kinds()).filter((kind) => kind === 'HaltOrdered')).toHaveLength(1),
      );
      await soon(() => expect(deliveriesTo(run)).not.toEqual([]));
      // A press that the ledger is too slow for goes out at once, under an id of its own, and becomes the same halt later.
      const answers = await Promise.all(presses.map(async (each) => Recorded.parse(await each.json())));
      const overtaking = answers.filter(({ recordedIn }) => recordedIn === 'spool').length;
      const ids = new Set(deliveriesTo(run).map(({ headers }) => headers['webhook-id']));
      expect(ids.size).toBeLessThanOrEqual(1 + overtaking);
    } finally {
      await other.close();
    }
  });
});

describe('F10 a resume', () => {
  const propose = async (run: RunDriver, body: Record<string, unknown> = {}) =>
    interlock.call('POST', `/v1/runs/${run.runId}/proposals`, {
      as: 'operator',
      body: { kind: 'resume', rationale: 'looked at', ...body },
    });
  const sign = (run: RunDriver, as: string, part: Record<string, unknown>) =>
    interlock.call('POST', `/v1/runs/${run.runId}/sign-offs`, {
      as,
      body: { decision: 'approve', group: as, justification: 'j', ...part },
    });
  const opened = async (run: RunDriver) => {
    const { proposalId, digest } = answered(await propose(run), 201, ProposalDocument);
    return { proposalId, digest };
  };

  it.each<[string, (run: RunDriver, on: { proposalId: string; digest: string }) => Promise<Sent[]>, number]>([
    ['with one of two sign-offs', async (run, on) => [await sign(run, 'leadership', on)], 200],
    [
      'with one person in two groups',
      async (run, on) => [
        await sign(run, 'everywhere', { ...on, group: 'leadership' }),
        await sign(run, 'everywhere', { ...on, group: 'safety-advisory' }),
      ],
      403,
    ],
    [
      'after a veto',
      async (run, on) => [
        await sign(run, 'board', { ...on, decision: 'veto' }),
        await sign(run, 'leadership', on),
      ],
      409,
    ],
    [
      'for a digest that nobody read',
      async (run, on) => [await sign(run, 'leadership', { ...on, digest: '0'.repeat(64) })],
      409,
    ],
    [
      'for a group that is not theirs',
      async (run, on) => [await sign(run, 'leadership', { ...on, group: 'safety-advisory' })],
      403,
    ],
    [
      'of a proposal that another one replaced',
      async (run, on) => {
        await propose(run, { rationale: 'another' });
        return [await sign(run, 'leadership', on)];
      },
      409,
    ],
  ])('%s: the run stays halted', async (_, attempt, status) => {
    const run = await registered();
    await pressed(run);
    const sent = await attempt(run, await opened(run));
    expect(sent.at(-1)?.status, sent.at(-1)?.text).toBe(status);
    expect(permitted(await beat(run, {}))).toBe(false);
    expect(await run.kinds()).not.toContain('RunResumed');
  });

  it('replayed with its sign-offs for the next halt resumes nothing', async () => {
    const run = await registered();
    const first = await pressed(run);
    const executed = await run.resume(first.haltId, ['leadership', 'safety-advisory']);
    await pressed(run);
    for (const group of ['leadership', 'safety-advisory']) {
      await sign(run, group, { proposalId: executed.proposalId, digest: executed.digest });
    }
    expect((await propose(run, { haltId: first.haltId })).status).toBe(409);
    expect(permitted(await beat(run, {}))).toBe(false);
    expect((await run.kinds()).filter((kind) => kind === 'RunResumed')).toHaveLength(1);
  });

  it('on terms that the run has since outgrown is not signed for: it must be proposed anew', async () => {
    const run = await registered();
    await beat(run, { effectiveCompute: '1e21' });
    await pressed(run);
    const on = await opened(run);
    expect((await sign(run, 'leadership', on)).status).toBe(200);
    await beat(run, { effectiveCompute: '9e22' });
    const last = await sign(run, 'safety-advisory', on);
    expect(last.status, last.text).toBe(409);
    expect(await run.kinds()).not.toContain('RunResumed');
    expect(permitted(await beat(run, { effectiveCompute: '9e22' }))).toBe(false);
  });
});

describe('F12 F09 a halt raised to a quarantine', () => {
  it('keeps its id, and reaches the trainer all the same, as another message', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'interlock-hostile-halts-'));
    const webhookSecret = interlock.webhookSecrets['trainer'] ?? '';
    const runId = `raised-${Date.now()}`;
    const client = createInterlockClient({
      url: interlock.url,
      token: interlock.tokens['trainer'] ?? '',
      webhookSecret,
    });
    const guard = await PermitGuard.open({ client, runId, stateDirectory: directory });
    const receiver = await listenForHalts({ guard, secrets: [webhookSecret], port: 0 });
    try {
      const run = drive(interlock, { kind: 'webhook', url: receiver.url }, runId);
      await run.register();
      const halt = await pressed(run);
      await soon(() => expect(guard.halts).toMatchObject([{ haltId: halt.haltId, action: 'halt' }]));
      await interlock.call('POST', `/v1/runs/${runId}/halt`, {
        as: 'board',
        body: { reason: 'worse', action: 'quarantine' },
      });
      await soon(() => expect(guard.halts).toMatchObject([{ haltId: halt.haltId, action: 'quarantine' }]));
      expect(guard.mayTrain('1')).toMatchObject({ verdict: 'stop', reason: 'quarantine ordered' });
    } finally {
      await receiver.close();
      await guard.close();
      rmSync(directory, { recursive: true, force: true });
    }
  });
});

describe('F15 a forged halt webhook', () => {
  it.each<
    [
      string,
      (genuine: { order: string; secret: string; body: object }) => { secret: string; body: object },
      number,
    ]
  >([
    ['signed with another secret', ({ body }) => ({ secret: generateSharedSecret(), body }), 401],
    ['with no order in it', ({ secret }) => ({ secret, body: { type: 'halt.ordered', data: {} } }), 400],
    [
      'whose order is of another run',
      ({ secret, order }) => ({
        secret,
        body: { type: 'halt.ordered', data: { order: `${order.slice(0, -4)}AAAA` } },
      }),
      422,
    ],
  ])('%s: refused by the receiver, and the run trains on', async (_, forge, status) => {
    const directory = mkdtempSync(join(tmpdir(), 'interlock-hostile-halts-'));
    const secret = interlock.webhookSecrets['trainer'] ?? '';
    const run = await registered();
    const client = createInterlockClient({
      url: interlock.url,
      token: interlock.tokens['trainer'] ?? '',
      webhookSecret: secret,
    });
    const guard = await PermitGuard.open({ client, runId: run.runId, stateDirectory: directory });
    const receiver = await listenForHalts({ guard, secrets: [secret], port: 0 });
    try {
      await guard.beat();
      const halted = await registered();
      await pressed(halted);
      const { order = '' } = (await halted.beat('1e20')).directive;
      const forged = forge({ order, secret, body: { type: 'halt.ordered', data: { order } } });
      const raw = Buffer.from(JSON.stringify(forged.body));
      const headers = signWebhook(new WebhookSecret(forged.secret), 'msg_forged', new Date(), raw);
      const response = await fetch(receiver.url, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: new Uint8Array(raw),
      });
      expect(response.status).toBe(status);
      expect(guard.mayTrain('1').verdict).toBe('go');
    } finally {
      await receiver.close();
      await guard.close();
      rmSync(directory, { recursive: true, force: true });
    }
  });
});

it('a score that trips the parent after a fork latches the fork too', async () => {
  const parent = await registered();
  const fork = await registered({ parents: [parent.runId] });
  await parent.report('c1', '1e21', await writeModel(interlock.models, 'high', { result: score(0.6) }));
  await parent.event('HaltOrdered');
  expect((await fork.event('HaltOrdered')).data).toMatchObject({
    cause: { kind: 'lineage', runId: parent.runId },
  });
});
