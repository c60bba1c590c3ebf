/**
 * Evaluators that answer anything, and programs that do anything: each attempt ends on time, with a result or with a
 * fixed word for why there is none. What a model said comes along nowhere but inside the untrusted result.
 */
import { symlinkSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { parseNativeResult } from '../../src/domain/native-result.ts';
import type { EvaluatorOutcome } from '../../src/evaluators/evaluator.ts';
import { type CommandFixture, commandFixture, processesOf } from './command-fixture.ts';
import { exampleRequest } from './describe-evaluator.ts';
import { type HttpFixture, httpFixture } from './http-fixture.ts';

const CANARY = 'CANARY how to make it, step by step';
const withoutCanary = (outcome: EvaluatorOutcome): EvaluatorOutcome => {
  if (outcome.kind !== 'reported') expect(JSON.stringify(outcome)).not.toContain('CANARY');
  return outcome;
};

describe('programs', () => {
  let fixture: CommandFixture;
  beforeAll(async () => {
    fixture = await commandFixture();
  });
  afterAll(() => fixture.close());
  const sh = async (script: string, options: Parameters<CommandFixture['run']>[1] = {}) =>
    withoutCanary(await fixture.run(['sh', '-c', script, 'sh', '{resultFile}'], options));

  it.each<[string, string]>([
    ['D10 output without end', 'yes CANARY'],
    ['D10 one line without end', "tr '\\0' C < /dev/zero"],
    ['D10 binary without end', 'cat /dev/zero'],
    ['D10 errors without end', 'yes CANARY >&2'],
  ])('%s is stopped at the cap', async (_what, script) => {
    const from = performance.now();
    const outcome = await sh(script, { executor: { timeout: '20s' } });
    expect(outcome).toMatchObject({ kind: 'failed', reason: 'output-too-large' });
    expect(performance.now() - from).toBeLessThan(20_000);
  });

  it.each<[string, string]>([
    ['D11 a link to somebody else’s file', 'ln -s /etc/passwd "$1"'],
    ['D11 a pipe that nobody writes to', 'mkfifo "$1"'],
    ['D11 a directory', 'mkdir "$1"'],
    ['D11 a device', 'ln -s /dev/zero "$1"'],
    ['D11 a file without end', 'head -c 3000000 /dev/zero > "$1"'],
    ['D12 text that is cut in the middle', 'printf \'{"status":"success","score":0.\' > "$1"'],
    ['D12 two results in one file', 'printf \'{"score":0.1}{"score":0.2}\' > "$1"'],
    ['D12 a bare NaN', 'printf \'{"status":"success","score":NaN}\' > "$1"'],
    ['D12 bytes that are no text', 'printf \'{"error":"\\377"}\' > "$1"'],
    ['D12 a list', 'echo "[]" > "$1"'],
  ])('%s as a result file is no result', async (_what, script) => {
    const outcome = await sh(script);
    expect(outcome.kind).toBe('failed');
    expect(outcome).toMatchObject({
      reason: expect.stringMatching(/^(unreadable-result|output-too-large)$/),
    });
  });

  it.each<[string, string, object]>([
    [
      'D12 ten objects: the last line counts',
      'for i in 0 1 2 3 4 5 6 7 8 9; do echo "{\\"n\\":$i}"; done',
      { kind: 'reported', result: { n: 9 } },
    ],
    [
      'D12 chatter behind the last object',
      'echo "{\\"n\\":1}"; echo bye',
      { kind: 'reported', result: { n: 1 } },
    ],
    [
      'D12 a last object that is broken: no earlier one stands in for it',
      'echo "{\\"n\\":1}"; echo "{\\"n\\":"',
      { kind: 'failed', reason: 'unreadable-result' },
    ],
    ['D12 nothing at all', 'true', { kind: 'failed', reason: 'no-result' }],
  ])('%s', async (_what, script, outcome) => expect(await sh(script)).toMatchObject(outcome));

  it('D13 a child that keeps the pipe open does not keep the slot, and is gone', async () => {
    const from = performance.now();
    // By what it was called with: in a namespace of its own it has another number than here.
    const seconds = `60.${process.pid}`;
    const outcome = await sh(`sleep ${seconds} & echo '{}'`, { executor: { timeout: '20s' } });
    expect(performance.now() - from).toBeLessThan(15_000);
    expect(outcome).toMatchObject({ kind: 'reported', result: {} });
    await vi.waitFor(async () => expect(await processesOf(seconds)).toEqual([]));
  });

  it('C20 what an event names is one argument, whatever is in it', async () => {
    const hostile = 's3://bucket/$(touch owned);touch-owned`touch$IFS-owned`|&&*?"\'\\{runId}';
    const outcome = await fixture.run(
      ['sh', '-c', 'printf \'{"n":%s,"length":%s}\' "$#" "$(printf %s "$1" | wc -c)"', 'sh', '{modelUri}'],
      { request: { modelUri: hostile } },
    );
    expect(outcome).toMatchObject({ kind: 'reported', result: { n: 1, length: hostile.length } });
  });

  it('C18 a link out of the roots is not followed', async () => {
    symlinkSync('/etc', `${fixture.modelRoot}/out`);
    const outcome = await fixture.run(['true'], { request: { modelUri: `${fixture.modelRoot}/out/passwd` } });
    expect(outcome.kind).toBe('failed');
  });
});

describe('services', () => {
  let fixture: HttpFixture | null = null;
  afterEach(() => fixture?.close());
  const asked = async (answer: (response: ServerResponse) => void, more: object = {}) => {
    fixture = await httpFixture((response) => answer(response));
    return withoutCanary(await fixture.evaluator(more).run(exampleRequest, new AbortController().signal));
  };
  const with200 =
    (body: string | Buffer, headers: Record<string, string> = {}) =>
    (response: ServerResponse) => {
      response.writeHead(200, headers);
      response.end(body);
    };

  it.each<[string, (response: ServerResponse) => void, string]>([
    ['D14 HTML', with200(`<html>${CANARY}</html>`), 'unreadable-result'],
    ['D14 nothing', with200(''), 'no-result'],
    ['D14 a list', with200('[]'), 'unreadable-result'],
    ['D14 a bare NaN', with200('{"score":NaN}'), 'unreadable-result'],
    ['D14 text behind the object', with200(`{"score":0.1} ${CANARY}`), 'unreadable-result'],
    ['D14 bytes that are no text', with200(Buffer.from([0x7b, 0xff, 0x7d])), 'unreadable-result'],
    [
      'D14 a gzip bomb',
      with200(gzipSync(Buffer.alloc(50_000_000)), { 'content-encoding': 'gzip' }),
      'unreadable-result',
    ],
    [
      'D14 a redirect',
      (response) => void response.writeHead(302, { location: 'http://169.254.169.254/' }).end(),
      'http-status',
    ],
    ['D14 a fault', (response) => void response.writeHead(500).end(CANARY), 'http-status'],
    ['D14 accepted', (response) => void response.writeHead(202).end('{}'), 'http-status'],
    ['D14 a connection that breaks', (response) => void response.socket?.destroy(), 'unreachable'],
    [
      'D14 a gigabyte',
      (response) => {
        response.writeHead(200);
        const more = (): void => {
          while (!response.destroyed && response.write(Buffer.alloc(65_536, 0x20))) {
            // Until nobody takes any more.
          }
        };
        response.on('drain', more);
        more();
      },
      'output-too-large',
    ],
  ])('%s is a failure with a fixed word', async (_what, answer, reason) =>
    expect(await asked(answer)).toMatchObject({ kind: 'failed', reason }),
  );

  it.each<[string, (response: ServerResponse) => void]>([
    ['D14 silence', () => undefined],
    [
      'D14 an answer that never ends',
      (response) => {
        response.writeHead(200);
        const timer = setInterval(() => response.write(' '), 20);
        response.on('close', () => clearInterval(timer));
      },
    ],
  ])('%s ends at the timeout', async (_what, answer) =>
    expect(await asked(answer, { timeout: '300ms' })).toMatchObject({ kind: 'failed', reason: 'timed-out' }),
  );
});

describe('what a result may carry on', () => {
  it.each<[string, object]>([
    ['D19 an error', { error: CANARY }],
    ['D19 a model', { model: CANARY }],
    ['D19 a metric’s name', { metrics: { [CANARY]: { value: 1 } } }],
    ['D19 a transcript in the place of its URI', { transcriptUri: CANARY }],
    ['D19 a transcript in a data URI', { transcriptUri: `data:text/plain,${CANARY}` }],
    ['D19 a transcript behind a question mark', { transcriptUri: `s3://t/1?${CANARY.replaceAll(' ', '')}` }],
    ['D19 a score', { score: CANARY }],
    ['D19 an instant', { startedAt: CANARY }],
    ['D19 a key of its own', { [CANARY]: 1 }],
    ['D19 a key inside a metric', { metrics: { a: { value: 1, [CANARY]: 1 } } }],
    ['D19 a status', { status: CANARY }],
  ])('%s: no word of it is left', (_what, part) => {
    const parsed = parseNativeResult({ status: 'success', n: 100, ...part });
    expect(JSON.stringify(parsed)).not.toContain('CANARY');
  });
});
