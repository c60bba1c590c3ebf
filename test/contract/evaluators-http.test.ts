import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, test } from 'vitest';
import { HttpExecutorSchema } from '../../src/domain/executor.ts';
import { createHttpEvaluator } from '../../src/evaluators/http.ts';
import { createEvaluators } from '../../src/evaluators/registry.ts';
import { createOutbound } from '../../src/outbound/outbound.ts';
import { verifyWebhook } from '../../src/signing/standard-webhooks.ts';
import { commandFixture } from './command-fixture.ts';
import { CANARY, exampleRequest, expectFailed } from './describe-evaluator.ts';
import { AT, type HttpFixture, httpFixture } from './http-fixture.ts';
import { slurmFixture } from './slurm-fixture.ts';

const idle = new AbortController().signal;
const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((one) => one.close()));
});

async function noSlurm() {
  const fixture = await slurmFixture();
  open.push(fixture);
  return fixture;
}

async function serving(...answer: Parameters<typeof httpFixture>): Promise<HttpFixture> {
  const fixture = await httpFixture(...answer);
  open.push(fixture);
  return fixture;
}

describe('the request', () => {
  test('says what is to be evaluated, signed, under an id that is the same for the same attempt', async () => {
    const fixture = await serving((response) => response.end('{"status":"success","score":0.1,"n":100}'));
    const evaluator = fixture.evaluator();
    await evaluator.run({ ...exampleRequest, topUp: 300 }, idle);
    await evaluator.run(exampleRequest, idle);
    const [first, second] = fixture.received;
    if (first === undefined || second === undefined) throw new Error('nothing received');

    const { variantEnv: _, ...said } = exampleRequest;
    expect(JSON.parse(first.body.toString())).toEqual({
      type: 'evaluation.requested',
      timestamp: AT.toISOString(),
      data: { ...said, topUp: 300 },
    });
    for (const { rawHeaders, body } of [first, second]) {
      expect(verifyWebhook({ rawHeaders, body, secrets: [fixture.secret], now: AT })).toMatchObject({
        ok: true,
        id: 'ev_aaaaaaaaaaaaaaaaaaaaaaaaaa_2',
      });
    }
  });

  test('is not sent unsigned', async () => {
    const fixture = await serving((response) => response.end('{}'));
    expect(await fixture.evaluator({ secret: 'env:NOT_SET' }).run(exampleRequest, idle)).toEqual({
      kind: 'failed',
      reason: 'not-configured',
      detail: 'env:NOT_SET is not set',
    });
    expect(fixture.received).toEqual([]);
  });

  test('is not sent where the address is not allowed', async () => {
    const fixture = await serving((response) => response.end('{}'));
    const outbound = createOutbound({ allow: ['evals.example'] });
    open.push(outbound);
    const executor = HttpExecutorSchema.parse({
      kind: 'http',
      url: fixture.url,
      mode: 'sync',
      secret: 'env:EVAL_SECRET',
      timeout: '30s',
    });
    const evaluator = createHttpEvaluator(executor, { ...fixture.deps, outbound });
    expectFailed(await evaluator.run(exampleRequest, idle), 'target-refused');
    expect(fixture.received).toEqual([]);
  });
});

describe('a sync answer', () => {
  const rows: [string, number, Record<string, string>, string | Buffer, string][] = [
    ['a redirect', 302, { location: 'http://169.254.169.254/' }, '', 'http-status'],
    ['a redirect with a result', 307, { location: '/elsewhere' }, '{"score":0.1}', 'http-status'],
    ['accepted, but not yet done', 202, {}, '{"status":"success","score":0.1,"n":100}', 'http-status'],
    ['no content', 204, {}, '', 'http-status'],
    ['not found', 404, {}, CANARY, 'http-status'],
    ['overloaded', 503, { 'retry-after': '5' }, CANARY, 'http-status'],
    ['HTML', 200, { 'content-type': 'text/html' }, `<p>${CANARY}</p>`, 'unreadable-result'],
    ['a list', 200, {}, '[{"score":0.1}]', 'unreadable-result'],
    ['a NaN token', 200, {}, '{"score":NaN}', 'unreadable-result'],
    ['bytes that are not UTF-8', 200, {}, Buffer.from([0x7b, 0xff, 0x7d]), 'unreadable-result'],
    [
      'a gzip bomb',
      200,
      { 'content-encoding': 'gzip' },
      gzipSync(Buffer.alloc(20_000_000)),
      'unreadable-result',
    ],
    ['too long', 200, {}, `{"x":"${'x'.repeat(1024 * 1024)}"}`, 'output-too-large'],
  ];
  test.each(rows)('%s is a failure', async (_, status, headers, body, reason) => {
    const fixture = await serving((response) => response.writeHead(status, headers).end(body));
    const outcome = await fixture.evaluator().run(exampleRequest, idle);
    expect(outcome).toMatchObject({ kind: 'failed', reason });
    expect(JSON.stringify(outcome)).not.toContain('CANARY');
  });

  test('that never comes ends at the timeout', async () => {
    const fixture = await serving(() => undefined);
    expectFailed(await fixture.evaluator({ timeout: '200ms' }).run(exampleRequest, idle), 'timed-out');
  });

  test('that breaks off is no result', async () => {
    const fixture = await serving((response) => {
      response.writeHead(200, { 'content-length': '1000' }).write('{"score":0.9}', () => response.destroy());
    });
    expectFailed(await fixture.evaluator().run(exampleRequest, idle), 'unreachable');
  });

  test('a shutdown of the client is a cancellation', async () => {
    const fixture = await serving(() => undefined);
    const outcome = fixture.evaluator().run(exampleRequest, idle);
    await fixture.close();
    expectFailed(await outcome, 'cancelled');
  });
});

describe('a callback dispatch', () => {
  test('without a URL calls nobody: the evaluator watches the run and posts by itself', async () => {
    const fixture = await serving((response) => response.end());
    const watched = fixture.evaluator({ mode: 'callback', url: undefined, secret: undefined });
    expect(await watched.run(exampleRequest, idle)).toEqual({ kind: 'dispatched' });
    expect(fixture.received).toEqual([]);
  });

  test.each([[200], [202], [204]])('%i is taken; what it says is not read', async (status) => {
    const fixture = await serving((response) => response.writeHead(status).end(status === 204 ? '' : CANARY));
    const outcome = await fixture.evaluator({ mode: 'callback' }).run(exampleRequest, idle);
    expect(outcome).toEqual({ kind: 'dispatched' });
  });

  test.each([[301], [400], [409], [500]])('%i is not', async (status) => {
    const fixture = await serving((response) => response.writeHead(status).end());
    const outcome = await fixture.evaluator({ mode: 'callback' }).run(exampleRequest, idle);
    expect(outcome).toEqual({ kind: 'failed', reason: 'http-status', detail: `HTTP ${status}` });
  });
});

test('the registry finds the evaluator by the kind of the executor', async () => {
  const http = await serving((response) => response.end('{"by":"http"}'));
  const command = await commandFixture();
  open.push(command);
  const evaluators = createEvaluators({
    command: command.deps,
    http: http.deps,
    slurm: (await noSlurm()).deps,
  });
  const byHttp = HttpExecutorSchema.parse({
    kind: 'http',
    url: http.url,
    mode: 'sync',
    secret: 'env:EVAL_SECRET',
    timeout: '30s',
  });
  const byCommand = command.executor(['/bin/sh', '-c', 'echo "{\\"by\\":\\"command\\"}"']);
  expect(await evaluators.run(byHttp, exampleRequest, idle)).toMatchObject({ result: { by: 'http' } });
  expect(await evaluators.run(byCommand, exampleRequest, idle)).toMatchObject({ result: { by: 'command' } });
});
