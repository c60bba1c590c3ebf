/** A run from its registration to its halt and on, through nothing but the API, on all three storage grades. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { generateSharedSecret } from '../../src/config/credentials.ts';
import { evaluatorPids, isAlive } from '../support/alive.ts';
import { score, testPolicy, writeEvaluator, writeModel } from '../support/evaluation-policy.ts';
import { type Receiver, startReceiver } from '../support/evaluation-service.ts';
import { readStream } from '../support/event-stream.ts';
import { GRADES, gradeMissing, startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import {
  answered,
  drive,
  expectSoundLedger,
  Halts,
  offlineVerifier,
  type RunDriver,
  soon,
} from '../support/run-driver.ts';

const EVAL_SECRET = generateSharedSecret();
const ALERT_SECRET = generateSharedSecret();
/** Text that a model or its evaluator might say, and that must appear in no log line. */
const CANARY = 'CANARY-hazardous-protocol-text';

const Requested = z.object({
  type: z.literal('evaluation.requested'),
  data: z.object({
    evaluationId: z.string(),
    attempt: z.number(),
    checkpointId: z.string(),
    callbackUrl: z.string(),
  }),
});
const HaltMessage = z.object({
  type: z.literal('halt.ordered'),
  data: z.object({
    runId: z.string(),
    haltId: z.string(),
    action: z.string(),
    reason: z.string(),
    order: z.string(),
  }),
});

for (const grade of GRADES) {
  const missing = gradeMissing(grade);
  if (missing !== null) console.warn(`the ${grade} grade is skipped: ${missing}`);
  describe.skipIf(missing !== null)(`the main path on the ${grade} grade`, () => {
    let interlock: TestInterlock;
    let service: Receiver;
    let trainer: Receiver;
    let pager: Receiver;
    /** What quiz answers per checkpoint, and whether the debate calls back at all. */
    const quiz = new Map<string, number>();
    const silent = new Set<string>();
    /** Runs whose trainer does not take the first delivery of a halt. */
    const stubborn = new Set<string>();
    const children: ChildProcess[] = [];

    async function callBack(body: string): Promise<void> {
      const { evaluationId, attempt, checkpointId, callbackUrl } = Requested.parse(JSON.parse(body)).data;
      if (silent.has(checkpointId)) return;
      const { pathname, search } = new URL(callbackUrl);
      expect(pathname).toBe(`/v1/evaluations/${evaluationId}/result`);
      expect(search).toBe(`?attempt=${attempt}`);
      const sent = await interlock.call('POST', `${pathname}${search}`, {
        as: 'evaluator',
        body: { ...score(0.12), transcriptUri: `s3://transcripts/${CANARY}` },
      });
      expect(sent.status, sent.text).toBe(200);
    }

    beforeAll(async () => {
      service = await startReceiver(
        () => EVAL_SECRET,
        async ({ path, body }) => {
          if (path === '/quiz') {
            const { checkpointId } = Requested.parse(JSON.parse(body)).data;
            return { status: 200, body: score(quiz.get(checkpointId) ?? 0.1) };
          }
          await callBack(body);
          return { status: 202 };
        },
      );
      trainer = await startReceiver(
        () => interlock.webhookSecrets['trainer'] ?? '',
        ({ body }) => {
          const { runId } = HaltMessage.parse(JSON.parse(body)).data;
          return { status: stubborn.delete(runId) ? 503 : 200 };
        },
      );
      pager = await startReceiver(() => ALERT_SECRET);
      interlock = await startTestInterlock({
        grade,
        policies: { main: testPolicy({ serviceUrl: service.url, alerts: ['oncall'] }) },
        settings: {
          evaluators: { concurrency: 6 },
          alerts: [{ name: 'oncall', kind: 'webhook', url: `${pager.url}/page`, secret: 'env:ALERT_SECRET' }],
        },
        env: { EVAL_SECRET, ALERT_SECRET, UNRELATED: CANARY },
      });
      await writeEvaluator(interlock.directory);
    });

    afterAll(async () => {
      for (const child of children) child.kill('SIGKILL');
      await interlock?.close();
      await Promise.all([service, trainer, pager].map((each) => each?.close()));
    });

    const target = () => ({ kind: 'webhook', url: `${trainer.url}/halt` });
    const model = (name: string, probe: Parameters<typeof writeModel>[2]) =>
      writeModel(interlock.models, name, probe);
    const haltOf = (runId: string) =>
      trainer.at('/halt').find(({ body }) => HaltMessage.parse(JSON.parse(body)).data.runId === runId);

    it('goes from a signed checkpoint through three kinds of evaluation to a higher ceiling, then to a halt that people lift', async () => {
      const verifier = await offlineVerifier(interlock);
      const run = drive(interlock, target());
      const registered = await run.register({ title: 'a run' });
      expect(registered.status, registered.text).toBe(201);

      const first = await run.beat('1e21', 'nonce-1');
      const permit = await verifier.verifyPermit(first.permit ?? '');
      expect(permit).toMatchObject({
        ok: true,
        claims: { sub: run.runId, nonce: 'nonce-1', ceiling: '1e22' },
      });

      await run.report('c1', '9e21', await model(`${run.runId}-c1`, { result: score(0.1), output: CANARY }));
      const closed = await soon(async () => {
        const scorecard = await run.scorecard();
        expect(scorecard).toMatchObject({ checkpointId: 'c1', state: 'closed' });
        return scorecard;
      });
      expect(closed).toMatchObject({ verdict: 'proceed', findings: [] });
      expect(closed.categories.map(({ id, stages }) => [id, stages['pre-mitigation']?.name])).toEqual([
        ['cybersecurity', 'Low'],
        ['cbrn', 'Low'],
        ['persuasion', 'Low'],
      ]);
      expect(service.at('/quiz')).toHaveLength(1);
      expect(service.received.every(({ verified }) => verified)).toBe(true);

      // ratio x (1 + grace) x 9e21
      const raised = await verifier.verifyPermit((await run.beat('9.1e21')).permit ?? '');
      expect(raised).toMatchObject({ ok: true, claims: { ceiling: '1.98e22' } });

      // The second checkpoint: the quiz reaches High while the program hangs and the debate never calls back.
      const pidFile = join(interlock.directory, `${run.runId}.pids`);
      quiz.set('c2', 0.5);
      silent.add('c2');
      stubborn.add(run.runId);
      await run.report('c2', '1.8e22', await model(`${run.runId}-c2`, { hang: true, pidFile }), {
        headers: { 'x-correlation-id': `trace-${run.runId}` },
      });
      const ordered = await run.event('HaltOrdered');
      const open = await run.scorecard();
      expect(open).toMatchObject({ checkpointId: 'c2', state: 'open', verdict: 'halt' });
      expect(open.findings).toMatchObject([{ rule: 'high', category: 'cbrn', threshold: 3, waived: false }]);

      const delivered = await soon(() => {
        const delivery = haltOf(run.runId);
        if (delivery === undefined) throw new Error('no halt at the target');
        return delivery;
      });
      expect(delivered.verified).toBe(true);
      const { data } = HaltMessage.parse(JSON.parse(delivered.body));
      const haltId = z.string().parse(ordered.data['haltId']);
      expect(data).toMatchObject({ runId: run.runId, haltId, action: 'halt' });
      expect(await verifier.verifyHaltOrder(data.order)).toMatchObject({
        ok: true,
        claims: { sub: run.runId, haltId, action: 'halt', epoch: 1 },
      });
      const halted = await run.beat('1.8e22');
      expect(halted).toMatchObject({
        permit: null,
        directive: { action: 'halt', haltId, order: data.order },
      });

      // The process that commits the order takes the first step at once; no queue, no sweep.
      const taken = await run.event('HaltStepTaken');
      expect(Date.parse(taken.recordedAt) - Date.parse(ordered.recordedAt)).toBeLessThan(1_000);
      const retried = await run.event('HaltStepTaken', 2);
      expect(retried.data).toMatchObject({ attempt: 2, outcome: 'accepted' });
      expect(Date.parse(retried.recordedAt) - Date.parse(ordered.recordedAt)).toBeLessThan(5_000);

      // One correlation id from the checkpoint's webhook to the halt.
      const trace = interlock.logs.filter((line) => line.includes(`"correlationId":"trace-${run.runId}"`));
      for (const message of [
        'checkpoint reported',
        'evaluation reported',
        'halt ordered',
        'a halt step did not take',
      ]) {
        expect(
          trace.some((line) => line.includes(message)),
          message,
        ).toBe(true);
      }

      await confirmByAcknowledgement(run, haltId);
      await soon(() =>
        expect(pager.at('/page').map(({ body }) => JSON.parse(body).type)).toContain('alert.halt-ordered'),
      );
      expect(pager.received.every(({ verified }) => verified)).toBe(true);

      const proposal = await run.resume(haltId, ['leadership', 'safety-advisory'], { ceiling: '4e22' });
      expect(proposal).toMatchObject({ status: 'executed', approvalsNeeded: [] });
      expect(proposal.terms.levels).toMatchObject({ cbrn: expect.closeTo(3.143, 2) });
      const resumed = await run.beat('1.8e22');
      expect(resumed.directive.action).toBe('continue');
      expect(await verifier.verifyPermit(resumed.permit ?? '')).toMatchObject({
        ok: true,
        claims: { epoch: 2, clearedHalts: [haltId], ceiling: proposal.terms.ceiling },
      });

      // Beyond the terms: a level higher than the one that was waived.
      quiz.set('c3', 0.6);
      await run.report('c3', '3.6e22', await model(`${run.runId}-c3`, { result: score(0.1) }));
      const again = await run.event('HaltOrdered', 2);
      expect(again.data).toMatchObject({
        epoch: 3,
        cause: { findings: [{ rule: 'high', category: 'cbrn', checkpointId: 'c3' }] },
      });

      const [pid] = await evaluatorPids(pidFile);
      expect(pid).toBeGreaterThan(1);
      await run.press();
      await soon(async () => expect(await isAlive(pid ?? 0)).toBe(false));
    });

    async function confirmByAcknowledgement(run: RunDriver, haltId: string): Promise<void> {
      const ack = (state: string) =>
        interlock.call('POST', `/v1/halts/${haltId}/ack`, { as: 'trainer', body: { state } });
      expect((await ack('received')).body).toMatchObject({ state: 'open', confirmedAt: null });
      expect((await ack('stopped')).body).toMatchObject({ acknowledged: { stoppedAt: expect.any(String) } });
      await soon(async () => {
        const { openHalt, halt } = await run.show();
        expect(openHalt).toMatchObject({ haltId, state: 'stopped' });
        expect(halt?.stopped).toBe(true);
      });
    }

    it('believes the stop of a process when it sees it, and the red button kills the evaluations of its run', async () => {
      const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], {
        detached: true,
        stdio: 'ignore',
      });
      children.push(child);
      await once(child, 'spawn');
      const run = drive(interlock, { kind: 'process', pid: child.pid });
      expect((await run.register()).status).toBe(201);
      const pidFile = join(interlock.directory, `${run.runId}.pids`);
      silent.add('p1');
      await run.report('p1', '1e21', await model(`${run.runId}-p1`, { hang: true, pidFile }));
      const [evaluating = -1] = await soon(() => evaluatorPids(pidFile));
      expect(await isAlive(evaluating)).toBe(true);

      const exited = once(child, 'exit');
      const pressed = await run.press('board');
      expect(pressed).toMatchObject({
        state: 'open',
        causes: [{ kind: 'person', by: 'board', group: 'board' }],
      });
      expect(await exited).toEqual([null, 'SIGTERM']);
      await run.event('TargetStopObserved');
      await run.event('HaltConfirmed');
      await soon(async () => expect(await isAlive(evaluating)).toBe(false));
      expect((await run.show()).openHalt).toMatchObject({
        state: 'stopped',
        deliveries: [{ stoppedAt: expect.any(String) }],
      });
      expect(await run.kinds()).toContain('EvaluationsCancelled');
    });

    it('halts every run at one press', async () => {
      const runs = [drive(interlock, target()), drive(interlock, target())];
      for (const run of runs) expect((await run.register()).status).toBe(201);
      const sent = await interlock.call('POST', '/v1/halt', {
        as: 'preparedness',
        body: { reason: 'all of them', action: 'quarantine' },
      });
      const { halts, failed } = answered(sent, 202, Halts);
      expect(failed).toEqual([]);
      for (const { runId } of runs) {
        expect(halts).toContainEqual(expect.objectContaining({ runId, action: 'quarantine' }));
        await soon(() => expect(haltOf(runId)?.verified).toBe(true));
      }
    });

    it('streams events without a gap or a repetition across a lost connection', async () => {
      const run = drive(interlock, target());
      expect((await run.register()).status).toBe(201);
      const path = `/v1/runs/${run.runId}/stream`;
      const live = await readStream(interlock, path, (events) => events.length >= 2, {
        opened: async () => run.report('s1', '1e21', await model(`${run.runId}-s1`, { result: score(0.1) })),
      });
      expect(live[0]?.kind).toBe('CheckpointReported');
      await run.event('CheckpointAssessed');
      const all = (await run.events()).map(({ seq, kind }) => [String(seq), kind]);
      // Everything since the very first event, then everything since what the live reader had seen.
      const [registered] = all;
      const rest = await readStream(interlock, path, (events) => events.length >= all.length - 1, {
        lastEventId: registered?.[0] ?? '',
      });
      expect(rest.map(({ id, kind }) => [id, kind])).toEqual(all.slice(1, rest.length + 1));
      const seen = live.at(-1)?.id ?? '';
      const resumed = await readStream(
        interlock,
        path,
        (events) => events.some(({ kind }) => kind === 'CheckpointAssessed'),
        {
          lastEventId: seen,
        },
      );
      const ids = [...live, ...resumed].map(({ id }) => id);
      expect(ids).toEqual(all.slice(1, ids.length + 1).map(([id]) => id));

      const everywhere = await readStream(interlock, '/v1/stream', (events) => events.length >= 1, {
        lastEventId: '0',
      });
      expect(everywhere[0]?.kind).toBe('RunRegistered');
    });

    it('pages its lists without a gap or a repetition', async () => {
      const Page = z.object({
        items: z.array(z.record(z.string(), z.json())),
        nextCursor: z.string().nullable(),
      });
      const walk = async (path: string, limit: number) => {
        const items: Record<string, unknown>[] = [];
        for (let cursor = ''; ; ) {
          const page = answered(
            await interlock.call('GET', `${path}?limit=${limit}${cursor}`, { as: 'auditor' }),
            200,
            Page,
          );
          items.push(...page.items);
          if (page.nextCursor === null) return items;
          cursor = `&cursor=${page.nextCursor}`;
        }
      };
      const runs = Array.from({ length: 7 }, () => drive(interlock, target()));
      // Registered at once: several share a millisecond, and none may fall between two pages.
      const sent = await Promise.all(runs.map((run) => run.register()));
      expect(sent.map(({ status }) => status)).toEqual(runs.map(() => 201));
      const listed = (await walk('/v1/runs', 2)).map(({ runId }) => runId);
      expect(new Set(listed).size).toBe(listed.length);
      expect(listed).toEqual(expect.arrayContaining(runs.map(({ runId }) => runId)));
      expect(listed).toHaveLength((await walk('/v1/runs', 200)).length);

      const [run] = runs;
      if (run === undefined) throw new Error('no run');
      const weights = await model(run.runId, { result: score(0.1) });
      for (const [i, compute] of ['1e20', '1.1e20', '1.2e20', '1.3e20'].entries()) {
        await run.report(`l${i}`, compute, weights);
      }
      const own = `/v1/runs/${run.runId}`;
      const checkpoints = (await walk(`${own}/checkpoints`, 1)).map(({ checkpointId }) => checkpointId);
      expect(checkpoints).toEqual(['l3', 'l2', 'l1', 'l0']);
      await soon(async () => {
        const open = (await walk(`${own}/checkpoints`, 200)).filter(
          ({ disposition, verdict }) => disposition === 'evaluate' && verdict === null,
        );
        expect(open).toEqual([]);
      });
      const seqs = (await walk(`${own}/events`, 3)).map(({ version }) => version);
      expect(seqs).toEqual(seqs.map((_, i) => i + 1));
      expect(await walk(`${own}/scorecards`, 1)).toEqual(await walk(`${own}/scorecards`, 200));
      await run.press();
      expect(await walk(`${own}/halts`, 1)).toHaveLength(1);
      expect(await walk(`${own}/proposals`, 1)).toEqual([]);
      const ledger = answered(
        await interlock.call('GET', '/v1/ledger?after=0&limit=5', { as: 'auditor' }),
        200,
        Page,
      );
      expect(ledger.items.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5]);
      expect(ledger.nextCursor).toBe('5');
    });

    it('leaves a ledger that verifies, live and exported, and a replay that agrees', async () => {
      await expectSoundLedger(interlock);
    });

    it('has written no secret and no word of a model into its log', () => {
      const all = interlock.logs.join('');
      expect(all).toContain('halt ordered');
      const secrets = [
        ...Object.values(interlock.tokens),
        ...Object.values(interlock.webhookSecrets),
        EVAL_SECRET,
        ALERT_SECRET,
      ];
      for (const secret of [...secrets, CANARY]) expect(all).not.toContain(secret);
      expect(all).not.toMatch(/eyJ[A-Za-z0-9_-]{8,}\./);
      expect(interlock.logs.filter((line) => /"level":(50|60)/.test(line))).toEqual([]);
    });
  });
}
