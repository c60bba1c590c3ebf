/**
 * Quarantine and scoped resume through the whole service: real programs and a real server isolate, people release, and a work
 * permit is no permit to train.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { HaltDocument, ProposalDocument } from '../../src/http/routes/documents.ts';
import { generateWebhookSecret } from '../../src/signing/standard-webhooks.ts';
import { type HttpTarget, startHttpTarget } from '../support/http-target.ts';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { oneEvaluationPolicy } from '../support/one-evaluation-policy.ts';
import {
  answered,
  drive,
  expectSoundLedger,
  offlineVerifier,
  type RunDriver,
  soon,
} from '../support/run-driver.ts';

let interlock: TestInterlock;
let store: HttpTarget;
let site: string;

beforeAll(async () => {
  store = await startHttpTarget();
  site = mkdtempSync(join(tmpdir(), 'interlock-quarantine-'));
  const program = (name: string, text: string): string => {
    writeFileSync(join(site, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    return join(site, name);
  };
  const policy = oneEvaluationPolicy({
    evaluation: {
      executor: {
        kind: 'http',
        mode: 'callback',
        timeout: '1h',
        callOff: `${store.url}/off`,
        secret: 'env:LOCK_SECRET',
      },
    },
    governance: {
      groups: ['board', 'leadership', 'safety-advisory'],
      resume: { approvals: ['board'] },
      release: { approvals: ['safety-advisory'] },
      scopedResume: { approvals: ['leadership'], vetoes: ['board'] },
    },
    halt: {
      confirmWithin: '2m',
      quarantine: {
        isolateAfter: '1s',
        isolate: [
          { step: 'cut-network', kind: 'command', command: 'lab' },
          { step: 'lock-weights', kind: 'webhook', url: `${store.url}/lock`, secret: 'env:LOCK_SECRET' },
        ],
      },
    },
    permit: { ttl: '10m', heartbeatInterval: '1s' },
  });
  interlock = await startTestInterlock({
    policies: { one: policy },
    env: { LOCK_SECRET: generateWebhookSecret() },
    settings: {
      isolation: {
        commands: {
          lab: {
            isolate: [program('isolate', `cat > "${site}/message"; touch "${site}/cut"`)],
            status: [program('status', `[ -e "${site}/cut" ] && echo '{"state":"isolated"}'`)],
          },
        },
      },
    },
  });
});
afterAll(async () => {
  await interlock?.close();
  await store?.close();
  rmSync(site, { recursive: true });
});

const registered = async (): Promise<RunDriver> => {
  const run = drive(interlock, { kind: 'webhook', url: 'http://127.0.0.1:9/' });
  expect((await run.register()).status).toBe(201);
  return run;
};
const quarantine = async ({ runId }: RunDriver) => {
  const body = { reason: 'weights', action: 'quarantine' };
  const sent = await interlock.call('POST', `/v1/runs/${runId}/halt`, { as: 'board', body });
  return answered(sent, 202, z.object({ halts: z.array(HaltDocument) })).halts[0]?.haltId ?? '';
};
const proposes = async ({ runId }: RunDriver, body: object) =>
  interlock.call('POST', `/v1/runs/${runId}/proposals`, {
    as: 'operator',
    body: { rationale: 'r', ...body },
  });
const signs = async (
  { runId }: RunDriver,
  proposal: z.output<typeof ProposalDocument>,
  group: string,
  decision = 'approve',
) => {
  const { proposalId, digest } = proposal;
  const body = { proposalId, digest, decision, group, justification: 'agreed' };
  const sent = await interlock.call('POST', `/v1/runs/${runId}/sign-offs`, { as: group, body });
  return answered(sent, 200, z.object({ proposal: ProposalDocument })).proposal;
};
const asksToWork = ({ runId }: RunDriver, as = 'evaluator') =>
  interlock.call('POST', `/v1/runs/${runId}/work-permit`, {
    as,
    body: { purpose: 'alignment', nonce: 'n1' },
  });

describe('a quarantine', () => {
  it('isolates by program and by webhook, in order, and is released and resumed by signatures of their own', async () => {
    store.behave({ kind: 'status', status: 202 });
    const run = await registered();
    await quarantine(run);
    const begun = await run.event('IsolationStepBegun');
    expect(begun.data).toMatchObject({ step: 'cut-network', because: 'deadline' });
    await run.event('IsolationStepBegun', 2);
    expect(JSON.parse(readFileSync(join(site, 'message'), 'utf8'))).toMatchObject({
      runId: run.runId,
      step: 'cut-network',
    });
    // Taken is not done: it is asked until it says so.
    await soon(async () => {
      const { openHalt } = await run.show();
      expect(openHalt?.quarantine?.steps[1]).toMatchObject({
        acceptances: expect.any(Number),
        confirmedAt: null,
      });
      expect(openHalt?.quarantine?.steps[1]?.acceptances).toBeGreaterThan(0);
    });
    store.behave({ kind: 'status', status: 200, body: '{"state":"isolated"}' });
    await run.event('IsolationStepConfirmed', 2);

    expect(await proposes(run, { kind: 'resume' })).toMatchObject({
      status: 409,
      body: { detail: expect.stringContaining('propose its release first') },
    });
    expect((await asksToWork(run)).status).toBe(409);
    const release = answered(await proposes(run, { kind: 'release' }), 201, ProposalDocument);
    expect(release).toMatchObject({ kind: 'release', approvalsNeeded: ['safety-advisory'] });
    expect(await signs(run, release, 'safety-advisory')).toMatchObject({ status: 'executed' });
    expect((await run.show()).status).toBe('halted');
    const resume = answered(await proposes(run, { kind: 'resume' }), 201, ProposalDocument);
    expect(await signs(run, resume, 'board')).toMatchObject({ status: 'executed' });
    expect((await run.show()).status).toBe('training');
  });

  it('takes a person at their word, from those who may say so', async () => {
    store.behave({ kind: 'status', status: 503 });
    const run = await registered();
    const haltId = await quarantine(run);
    const says = (as: string, step: string) =>
      interlock.call('POST', `/v1/halts/${haltId}/isolation/${step}`, {
        as,
        body: { state: 'isolated', detail: 'by hand' },
      });
    expect((await says('trainer', 'lock-weights')).status).toBe(403);
    expect((await says('oncall', 'no-such-step')).status).toBe(404);
    const halt = answered(await says('oncall', 'lock-weights'), 200, HaltDocument);
    expect(halt.quarantine?.steps[1]).toMatchObject({ confirmedBy: 'oncall', lastDetail: 'by hand' });
    const page = await interlock.call('GET', '/');
    expect(page.text).toContain('by the word of oncall');
  });

  it('tells the trainer that it is one', async () => {
    const run = await registered();
    await quarantine(run);
    expect((await run.beat('1e19')).directive).toMatchObject({ action: 'quarantine' });
  });
});

it('calls an evaluation off that somebody else carries out, until that is taken', async () => {
  store.behave({ kind: 'status', status: 503 });
  const run = await registered();
  const { ctf } = await run.report('c1', '1e20', 's3://weights/c1');
  await run.event('EvaluationDispatched');
  const before = store.received.length;
  await run.press();
  const told = () =>
    store.received
      .slice(before)
      .filter(({ url }) => url === '/off')
      .map(({ body }) => JSON.parse(String(body)));
  await soon(() => expect(told().length).toBeGreaterThan(0));
  store.behave({ kind: 'status', status: 200 });
  await soon(async () => {
    const events = (await run.events()).filter(({ kind }) => kind === 'EvaluationCalledOff');
    expect(events.at(-1)?.data).toMatchObject({ outcome: 'accepted', nextAt: null });
  });
  expect(told()[0]).toMatchObject({ type: 'evaluation.cancelled', data: { evaluationId: ctf, attempt: 1 } });
});

describe('leave for evaluation and alignment work', () => {
  it('is a permit of another kind, which no trainer takes for one to train', async () => {
    const run = await registered();
    const verifier = await offlineVerifier(interlock);
    const free = answered(
      await asksToWork(run),
      200,
      z.object({ permit: z.string(), expiresAt: z.string() }),
    );
    expect(await verifier.verifyWorkPermit(free.permit)).toMatchObject({
      ok: true,
      claims: { sub: run.runId, scope: 'evaluation', purpose: 'alignment', haltId: null, nonce: 'n1' },
    });
    expect(await verifier.verifyPermit(free.permit)).toEqual({ ok: false, reason: 'header' });
    const { permit } = await run.beat('1e19');
    expect(await verifier.verifyWorkPermit(permit ?? '')).toEqual({ ok: false, reason: 'header' });
  });

  it('is gone with a halt, comes back with a scoped resume, and goes with its veto; training stays halted', async () => {
    const run = await registered();
    const { haltId } = await run.press();
    expect(await asksToWork(run)).toMatchObject({
      status: 409,
      body: { type: 'urn:interlock:problem:no-work-permit' },
    });
    const expires = new Date(Date.now() + 120_000).toISOString();
    const proposal = answered(
      await proposes(run, { kind: 'scoped-resume', terms: { scope: 'evaluation', expires } }),
      201,
      ProposalDocument,
    );
    expect(await signs(run, proposal, 'leadership')).toMatchObject({ status: 'executed' });
    const verifier = await offlineVerifier(interlock);
    const { body } = await asksToWork(run);
    const given = z.object({ permit: z.string(), expiresAt: z.string() }).parse(body);
    const verified = await verifier.verifyWorkPermit(given.permit);
    expect(verified).toMatchObject({ ok: true, claims: { haltId } });
    // Not beyond what people signed for, although permits live longer.
    expect(Date.parse(given.expiresAt)).toBeLessThanOrEqual(Date.parse(expires));
    expect((await run.beat('1e19')).directive.action).toBe('halt');
    await signs(run, proposal, 'board', 'veto');
    expect((await asksToWork(run)).status).toBe(409);
    expect((await run.show()).openHalt?.causes).toHaveLength(1);
  });

  it.each([
    [{ kind: 'scoped-resume', terms: { scope: 'training' } }, 'terms.scope'],
    [{ kind: 'scoped-resume', terms: { ceiling: '1e22' } }, 'terms.ceiling'],
    [{ kind: 'release', terms: {} }, 'terms'],
    [{ kind: 'resume', terms: { scope: 'evaluation' } }, 'terms.scope'],
    [{ kind: 'parole' }, 'kind'],
  ])('%j is refused at %s', async (body, at) => {
    const run = await registered();
    await run.press();
    const sent = await proposes(run, body);
    expect(sent.status).toBe(422);
    expect(sent.body).toMatchObject({ errors: [{ path: at }] });
  });

  it('is for evaluators and trainers to ask for', async () => {
    const run = await registered();
    expect((await asksToWork(run, 'auditor')).status).toBe(403);
    expect((await asksToWork({ ...run, runId: 'nobody' })).status).toBe(404);
  });
});

it('leaves a ledger that verifies and replays', () => expectSoundLedger(interlock));
