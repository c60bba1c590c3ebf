/** What launchers, prolog scripts and admission hooks are told: yes to what may train, and no to everything else. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { oneEvaluationPolicy } from '../support/one-evaluation-policy.ts';
import { drive, type RunDriver } from '../support/run-driver.ts';
import { selfSigned } from '../support/self-signed.ts';

let interlock: TestInterlock;
beforeAll(async () => {
  interlock = await startTestInterlock({ policies: { one: oneEvaluationPolicy() } });
});
afterAll(() => interlock?.close());

const ask = ({ runId }: Pick<RunDriver, 'runId'>, as: string | null = 'trainer') =>
  interlock.call('GET', `/v1/runs/${runId}/may-start`, as === null ? {} : { as });
const registered = async (body: object = {}): Promise<RunDriver> => {
  const run = drive(interlock, { kind: 'webhook', url: 'http://127.0.0.1:9/' });
  expect((await run.register({ ...body })).status).toBe(201);
  return run;
};
const refused = async (run: RunDriver, detail: RegExp): Promise<void> => {
  const { status, body } = await ask(run);
  expect(status).toBe(409);
  expect(body).toMatchObject({
    type: 'urn:interlock:problem:may-not-start',
    detail: expect.stringMatching(detail),
  });
};

describe('may a run start?', () => {
  it('is no for one that nobody registered, and for whoever does not say who asks', async () => {
    expect((await ask({ runId: 'never-heard-of' })).status).toBe(404);
    expect((await ask(await registered(), null)).status).toBe(401);
  });

  it('is yes for one that nothing stands against, by whatever identity, and starts nothing', async () => {
    const run = await registered();
    const before = (await run.events()).length;
    for (const as of ['trainer', 'operator', 'auditor']) {
      const { status, body } = await ask(run, as);
      expect(status).toBe(200);
      expect(body).toMatchObject({ runId: run.runId, mayStart: true, epoch: 0 });
    }
    expect(await run.events()).toHaveLength(before);
  });

  it('is no from the halt on, and yes again once it is resumed, in the next epoch', async () => {
    const run = await registered();
    const { haltId } = await run.press();
    await refused(run, new RegExp(`is halted \\(${haltId}\\)`));
    await run.resume(haltId, ['board']);
    expect((await ask(run)).body).toMatchObject({ mayStart: true, epoch: 2 });
  });

  it('is no for one on hold, with the reason', async () => {
    const run = await registered();
    const { ctf = '' } = await run.report('c1', '1e20', 's3://b/c1');
    for (const attempt of [1, 2, 3]) {
      if ((await run.show()).status === 'on-hold') break;
      await run.result(ctf, attempt, { status: 'error', error: 'broken' });
    }
    await expect.poll(async () => (await run.show()).status, { timeout: 20_000 }).toBe('on-hold');
    await refused(run, /is on hold: /);
  });

  it('is no for one that was declared finished', async () => {
    const run = await registered();
    expect(
      (await interlock.call('POST', `/v1/runs/${run.runId}/finish`, { as: 'trainer', body: {} })).status,
    ).toBe(200);
    await refused(run, /was declared finished at /);
  });

  it('is no for one that descends from a halted run, before anybody has latched it', async () => {
    const parent = await registered();
    await parent.press();
    const child = await registered({ parents: [parent.runId] });
    await refused(child, /descends from is halted|is halted/);
  });
});

const example = (path: string): string => fileURLToPath(new URL(`../../examples/${path}`, import.meta.url));

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'interlock-may-start-'));
  writeFileSync(
    join(directory, 'token'),
    `${interlock.tokens['orchestrator'] ?? interlock.tokens['trainer'] ?? ''}\n`,
  );
});
afterAll(() => rmSync(directory, { recursive: true }));

describe('the prolog script', () => {
  const prolog = (comment: string, config: string): Promise<number> => {
    const file = join(directory, 'prolog.conf');
    writeFileSync(file, config);
    const env = { PATH: process.env['PATH'], INTERLOCK_PROLOG_CONFIG: file, SLURM_JOB_COMMENT: comment };
    return new Promise((resolve) => {
      execFile(example('slurm/prolog.sh'), { env }, (error) => resolve(Number(error?.code ?? 0)));
    });
  };
  const config = (url = interlock.url, more = ''): string =>
    `INTERLOCK_URL=${url}\nINTERLOCK_TOKEN_FILE=${join(directory, 'token')}\n${more}`;

  it('lets a job start whose run may, and no other', async () => {
    const run = await registered();
    expect(await prolog(`team:x interlock:run=${run.runId}`, config())).toBe(0);
    await run.press();
    expect(await prolog(`interlock:run=${run.runId}`, config())).toBe(1);
    expect(await prolog('interlock:run=never-heard-of', config())).toBe(1);
    expect(await prolog('interlock:run=', config())).toBe(1);
  });

  it('says no where nobody answers, and where it cannot read how to ask', async () => {
    const run = await registered();
    expect(await prolog(`interlock:run=${run.runId}`, config('http://127.0.0.1:9'))).toBe(1);
    expect(await prolog(`interlock:run=${run.runId}`, 'INTERLOCK_URL=http://127.0.0.1:9\n')).toBe(1);
  });

  it('leaves jobs alone that name no run, unless every job must', async () => {
    expect(await prolog('team:x', config())).toBe(0);
    expect(await prolog('team:x', config(interlock.url, 'INTERLOCK_REQUIRE_RUN=yes\n'))).toBe(1);
  });
});

describe('the admission webhook', () => {
  const Review = z.object({
    apiVersion: z.literal('admission.k8s.io/v1'),
    response: z.object({ uid: z.string(), allowed: z.boolean(), status: z.object({ message: z.string() }) }),
  });
  let server: ChildProcess;
  let port: number;
  let cert: string;

  beforeAll(async () => {
    const made = selfSigned({ notAfter: new Date(Date.now() + 86_400_000) });
    cert = made.cert;
    writeFileSync(join(directory, 'tls.crt'), made.cert);
    writeFileSync(join(directory, 'tls.key'), made.key);
    const at = (name: string): string => join(directory, name);
    server = spawn(process.execPath, [
      example('kubernetes/admission/server.mjs'),
      ...[
        '--url',
        interlock.url,
        '--token-file',
        at('token'),
        '--cert',
        at('tls.crt'),
        '--key',
        at('tls.key'),
      ],
      ...['--port', '0', '--host', '127.0.0.1'],
    ]);
    const [line] = await once(server.stdout ?? process.stdin, 'data');
    port = z.object({ listening: z.number() }).parse(JSON.parse(String(line))).listening;
  });
  afterAll(async () => {
    server.kill('SIGKILL');
    await once(server, 'exit');
  });

  const review = async (object: object, more: object = {}): Promise<z.infer<typeof Review>['response']> => {
    const sent = request({ host: '127.0.0.1', port, method: 'POST', ca: cert, servername: 'localhost' });
    sent.end(JSON.stringify({ request: { uid: 'u-1', object, ...more } }));
    const [answer] = await once(sent, 'response');
    const chunks: Buffer[] = [];
    for await (const chunk of answer) chunks.push(Buffer.from(chunk));
    return Review.parse(JSON.parse(Buffer.concat(chunks).toString())).response;
  };
  const job = (run: string, spec: object = {}): object => ({
    kind: 'Job',
    metadata: { labels: { 'interlock/run': run } },
    spec,
  });

  it('lets in what is of a run that may start, and no other', async () => {
    const run = await registered();
    expect(await review(job(run.runId))).toMatchObject({ uid: 'u-1', allowed: true });
    const { haltId } = await run.press();
    const denied = await review(job(run.runId));
    expect(denied.allowed).toBe(false);
    expect(denied.status.message).toContain(haltId);
    expect((await review(job('never-heard-of'))).allowed).toBe(false);
    expect((await review(job('../../healthz'))).allowed).toBe(false);
  });

  it('never stands in the way of what stops, nor of what is no run', async () => {
    const run = await registered();
    await run.press();
    for (const spec of [
      { suspend: true },
      { parallelism: 0 },
      { replicas: 0 },
      { runPolicy: { suspend: true } },
    ]) {
      expect((await review(job(run.runId, spec))).allowed).toBe(true);
    }
    expect((await review({ kind: 'Pod', metadata: {} })).allowed).toBe(true);
    const deleted = {
      kind: 'Job',
      metadata: { labels: { 'interlock/run': run.runId }, deletionTimestamp: 'now' },
    };
    expect((await review(deleted)).allowed).toBe(true);
    expect((await review(job(run.runId), { operation: 'DELETE', object: null })).allowed).toBe(true);
  });

  it('asks about a run whose label is taken off or changed, and lets in nothing that it cannot read', async () => {
    const [halted, other] = [await registered(), await registered()];
    await halted.press();
    const oldObject = job(halted.runId);
    expect((await review({ kind: 'Job', metadata: {} }, { operation: 'UPDATE', oldObject })).allowed).toBe(
      false,
    );
    expect((await review(job(other.runId), { operation: 'UPDATE', oldObject })).allowed).toBe(false);
    expect(
      (await review(job(other.runId), { operation: 'UPDATE', oldObject: job(other.runId) })).allowed,
    ).toBe(true);
    expect((await review(job(other.runId), { object: null })).allowed).toBe(false);
  });
});
