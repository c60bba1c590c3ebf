/** Lineage through the API: parents by name and by digest, what is in them, and whom a halt reaches. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { score, testPolicy, writeEvaluator, writeModel } from '../support/evaluation-policy.ts';
import { type HttpTarget, startHttpTarget } from '../support/http-target.ts';
import { type Sent, startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { drive, expectSoundLedger, pressed, type RunDriver, soon } from '../support/run-driver.ts';

let interlock: TestInterlock;
let target: HttpTarget;
let harmless: string;

beforeAll(async () => {
  target = await startHttpTarget();
  interlock = await startTestInterlock({
    policies: { main: testPolicy({ silentDebate: true, heartbeatInterval: '1s', confirmWithin: '1s' }) },
  });
  await writeEvaluator(interlock.directory);
  harmless = await writeModel(interlock.models, 'harmless', { result: score(0.05) });
});
afterAll(async () => {
  await expectSoundLedger(interlock);
  await interlock?.close();
  await target?.close();
});

const digest = (n: number): string => `sha256:${n.toString(16).padStart(64, '0')}`;
const permitOf = ({ body }: Sent) => z.object({ permit: z.string().nullable() }).parse(body).permit;

async function registered(body: Record<string, unknown> = {}, as = 'trainer'): Promise<RunDriver> {
  const run = drive(interlock, { kind: 'webhook', url: `${target.url}/halt` });
  const sent = await run.register(body, as);
  expect(sent.status, sent.text).toBe(201);
  return run;
}

async function reported(
  run: RunDriver,
  checkpointId: string,
  at: string,
  more: Record<string, unknown> = {},
) {
  const sent = await run.checkpoint({ checkpointId, effectiveCompute: at, modelUri: harmless, ...more });
  expect(sent.status, sent.text).toBe(202);
}

const holdsOf = async (run: RunDriver) => (await run.show()).openHolds.map(({ key }) => key);

describe('parents', () => {
  it('by the digest of weights that a checkpoint reported: the run counts from there, and a halt finds it', async () => {
    const parent = await registered();
    await reported(parent, 'c1', '4e21', { weightsDigest: digest(1) });
    const child = await registered({ parents: [digest(1)] });
    expect(await child.show()).toMatchObject({
      status: 'training',
      lineage: { parents: [parent.runId], unknown: [], floor: '4e21' },
    });
    const { haltId } = await pressed(parent);
    expect((await child.event('HaltOrdered')).data).toMatchObject({
      cause: { kind: 'lineage', runId: parent.runId, haltId },
    });
  });

  it('that turn out to be known later let the run go on', async () => {
    const child = await registered({ parents: [digest(2)], initialCompute: '3e21' });
    expect(await holdsOf(child)).toEqual(['lineage:unknown-parent']);
    const parent = await registered();
    await reported(parent, 'c1', '3e21', { weightsDigest: digest(2) });
    await child.event('HoldLifted');
    expect((await child.show()).lineage).toMatchObject({ parents: [parent.runId], unknown: [] });
  });

  it('nobody knows: no permit from the first moment, until people sign or where an operator vouched', async () => {
    const run = drive(interlock, { kind: 'webhook', url: `${target.url}/halt` });
    const sent = await run.register({ initialCompute: '1e21', parents: ['s3://elsewhere/base'] });
    expect(sent.status, sent.text).toBe(201);
    expect(permitOf(sent)).toBeNull();
    expect((await run.beat('1e21')).directive).toMatchObject({ action: 'pause' });
    await run.resume(null, ['leadership', 'safety-advisory']);
    expect((await run.beat('1e21')).permit).not.toBeNull();

    const why = 'published weights, reviewed on 3 November';
    const trusted = await registered({ initialCompute: '1e21', vouchedParentage: why }, 'operator');
    expect(await holdsOf(trusted)).toEqual([]);
    expect((await trusted.show()).lineage).toMatchObject({ vouched: why });
    const refused = drive(interlock, { kind: 'webhook', url: `${target.url}/halt` });
    expect(await refused.register({ initialCompute: '1e21', vouchedParentage: why })).toMatchObject({
      status: 403,
    });
  });

  it('of a merge are counted once where they share an ancestor', async () => {
    const base = await registered();
    await reported(base, 'c1', '2e21');
    const forks = [];
    for (const at of ['3e21', '4e21']) {
      const fork = await registered({ parents: [`${base.runId}/c1`] });
      await reported(fork, 'c1', at);
      forks.push(fork);
    }
    const parents = forks.map(({ runId }) => `${runId}/c1`);
    const merge = await registered({ parents, initialCompute: '5e21' });
    expect(await holdsOf(merge)).toEqual([]);
    expect((await merge.show()).lineage).toMatchObject({ floor: '5e21' });
    const less = await registered({ parents, initialCompute: '4e21' });
    expect(await holdsOf(less)).toEqual(['lineage:below-ancestors']);
  });

  it('that a checkpoint names are held against it, and their halts reach the run', async () => {
    const donor = await registered();
    await reported(donor, 'c1', '2e21', { weightsDigest: digest(3) });
    const run = await registered();
    await reported(run, 'c1', '1e21');
    await reported(run, 'c2', '1.2e21', { parents: [digest(3), 'gs://nobody/knows'] });
    expect((await holdsOf(run)).sort()).toEqual(['lineage:below-ancestors', 'lineage:unknown-parent:c2']);
    await pressed(donor);
    expect((await run.event('HaltOrdered')).data).toMatchObject({ cause: { runId: donor.runId } });
  });
});

describe('a halt for what the weights can do', () => {
  it('reaches siblings that train, and those that register later, but not the parent', async () => {
    const base = await registered();
    await reported(base, 'c1', '1e21');
    const twin = await registered({ parents: [`${base.runId}/c1`] });
    const sick = await registered({ parents: [base.runId] });
    const high = await writeModel(interlock.models, 'high', { result: score(0.6) });
    await sick.report('c1', '2e21', high);
    const { haltId } = z.object({ haltId: z.string() }).parse((await sick.event('HaltOrdered')).data);
    const cause = { kind: 'lineage', runId: sick.runId, haltId, through: base.runId };
    expect((await twin.event('HaltOrdered')).data).toMatchObject({ cause });
    const late = drive(interlock, { kind: 'webhook', url: `${target.url}/halt` });
    expect(permitOf(await late.register({ parents: [`${base.runId}/c1`] }))).toBeNull();
    expect((await late.event('HaltOrdered')).data).toMatchObject({ cause });
    expect((await base.show()).openHalt).toBeNull();
    // Resumed, it stays so: whoever signed has signed for that halt.
    const own = z.object({ haltId: z.string() }).parse((await twin.event('HaltOrdered')).data);
    await twin.resume(own.haltId, ['leadership', 'safety-advisory']);
    expect((await twin.beat('1e21')).permit).not.toBeNull();
  });

  it('is told from one for the conduct of one run, which stays with it', async () => {
    const base = await registered();
    const [twin, sick] = [
      await registered({ parents: [base.runId] }),
      await registered({ parents: [base.runId] }),
    ];
    await sick.beat('5e22');
    await sick.event('HaltOrdered');
    const child = await registered({ parents: [sick.runId] }, 'operator');
    await child.event('HaltOrdered');
    await soon(async () => expect((await child.show()).openHalt).not.toBeNull());
    expect((await twin.beat('1e20')).permit).not.toBeNull();
  });
});

it('states that fit no digest are refused by their field', async () => {
  const run = await registered();
  const sent = await run.checkpoint({
    checkpointId: 'c1',
    effectiveCompute: '1e21',
    modelUri: harmless,
    weightsDigest: 'sha256:ABC',
  });
  expect(sent.status).toBe(422);
  expect(sent.text).toContain('weightsDigest');
});

it('an efficiency multiplier that falls holds the run', async () => {
  const run = await registered();
  await reported(run, 'c1', '1e21', { efficiencyMultiplier: 4 });
  await reported(run, 'c2', '1.1e21', { efficiencyMultiplier: 2 });
  expect(await holdsOf(run)).toEqual(['compute:efficiency-fell']);
});
