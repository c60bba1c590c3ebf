/**
 * The command line as a person uses it, with real processes: init, serve, register, a result at High, halt, status,
 * proposal and sign-off, verification live and offline, export, replay, and a clean stop.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { WhatIfSchema } from '../../src/domain/run/what-if.ts';
import { type Ended, interlock, listening, type Started, start } from './cli-process.ts';

const Initialised = z.strictObject({
  configFile: z.string(),
  tokens: z.record(z.string(), z.string()),
  webhookSecrets: z.strictObject({ trainer: z.string() }),
});

let home: string;
let elsewhere: string;
let init: z.infer<typeof Initialised>;
let service: Started;
let url: string;
let training: ChildProcess;

/** As a person: with the service's address and a token in the environment, as the help says. */
const as = (who: string, argv: readonly string[]): Promise<Ended> =>
  interlock(argv, { cwd: home, env: { INTERLOCK_URL: url, INTERLOCK_TOKEN: init.tokens[who] ?? '' } });
/** As whoever has the configuration. */
const local = (argv: readonly string[]): Promise<Ended> =>
  interlock(argv, { cwd: home, env: { INTERLOCK_CONFIG: init.configFile } });
/** As an auditor: in another directory, without configuration, token or address. */
const outside = (argv: readonly string[]): Promise<Ended> => interlock(argv, { cwd: elsewhere });

async function post(who: string, path: string, body: object): Promise<unknown> {
  const response = await fetch(`${url}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${init.tokens[who]}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  expect(response.ok).toBe(true);
  return response.json();
}

beforeAll(async () => {
  home = await realpath(await mkdtemp(join(tmpdir(), 'interlock-cli-')));
  elsewhere = await realpath(await mkdtemp(join(tmpdir(), 'interlock-auditor-')));
  const { code, out } = await interlock(['init', '--dir', 'data', '--json'], { cwd: home });
  expect(code).toBe(0);
  init = Initialised.parse(JSON.parse(out));
  service = start(['serve', '--config', init.configFile, '--port', '0'], { cwd: home });
  url = await listening(service);
  // A group of its own: the halt signals the group.
  training = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], {
    detached: true,
    stdio: 'ignore',
  });
  await once(training, 'spawn');
});

afterAll(async () => {
  if (training.exitCode === null && training.signalCode === null) training.kill('SIGKILL');
  if (service.child.exitCode === null) service.child.kill('SIGKILL');
  await service.ended;
  // After a failure the embedded database may outlive the service; any command's end takes it along.
  await local(['ledger', 'rebuild-views']);
  await rm(home, { recursive: true, force: true, maxRetries: 5 });
  await rm(elsewhere, { recursive: true, force: true });
});

describe('a run, from registration to resume', () => {
  test("register: with the trainer's or operator's token, again without effect, differently refused", async () => {
    const register = [
      'run',
      'register',
      '--run',
      'demo',
      '--target-pid',
      String(training.pid),
      '--title',
      'Demo',
    ];
    expect((await as('auditor', register)).code).toBe(1);
    const first = await as('operator', [...register, '--json']);
    expect(first).toMatchObject({ code: 0, err: '' });
    expect(JSON.parse(first.out)).toMatchObject({
      run: { runId: 'demo', title: 'Demo', status: 'training' },
    });
    expect((await as('operator', register)).code).toBe(0);
    const other = await as('operator', [...register, '--label', 'class=frontier']);
    expect(other).toMatchObject({ code: 1, out: '' });
    expect((await as('nobody', ['run', 'list'])).code).toBe(2);
  });

  test('a result at High halts the run, and status says whether it has really stopped', async () => {
    const { evaluations } = z
      .object({ evaluations: z.array(z.object({ evaluationId: z.string(), name: z.string() })) })
      .parse(
        await post('trainer', '/v1/checkpoints', {
          runId: 'demo',
          checkpointId: 'step-1',
          effectiveCompute: '5e21',
          modelUri: 's3://weights/step-1',
        }),
      );
    const ctf = evaluations.find(({ name }) => name === 'ctf')?.evaluationId ?? '';
    await vi.waitUntil(
      async () =>
        (await as('evaluator', ['status', '--run', 'demo', '--json'])).out.includes('awaiting-callback'),
      { timeout: 30_000, interval: 200 },
    );
    await post('evaluator', `/v1/evaluations/${ctf}/result?attempt=1`, {
      status: 'success',
      score: 0.6,
      n: 200,
    });
    if (training.exitCode === null && training.signalCode === null) await once(training, 'exit');
    await vi.waitUntil(
      async () => (await as('oncall', ['status', '--run', 'demo'])).out.includes('HALTED, stopped'),
      { timeout: 30_000, interval: 200 },
    );
    const { out } = await as('oncall', ['status']);
    expect(out.split('\n')[0]).toBe(`${url}: 1 run: 1 halted and stopped`);
    expect(out).toMatch(/cybersecurity +████\|████\|█[█▒·]{3}\|[▒·]{4} {2}3\.\d\d High/);
    expect(out).toMatch(/t1 \(process\): sigterm accepted \d+ ms after the order, seen stopped/);
    expect(out).toContain('interlock propose --run demo');
  });

  test('only people of a governance group press the button; a halted run and an absent one', async () => {
    const button = ['halt', '--run', 'demo', '--reason', 'to be sure'];
    expect((await as('trainer', button)).code).toBe(1);
    const pressed = await as('board', button);
    expect(pressed.code).toBe(0);
    expect(pressed.out).toContain('board (board) pressed the red button: to be sure');
    expect((await as('board', ['halt', '--run', 'absent', '--reason', 'x'])).code).toBe(1);
    expect((await as('board', ['halt', '--all', '--reason', 'x', '--json'])).code).toBe(0);
  });

  test('a proposal is shown before it is signed, and the last signature resumes', async () => {
    const proposed = await as('operator', [
      'propose',
      '--run',
      'demo',
      '--rationale',
      'weights moved',
      '--expires',
      '14d',
      '--json',
    ]);
    expect(proposed.code).toBe(0);
    const { proposalId } = z.object({ proposalId: z.string() }).parse(JSON.parse(proposed.out));
    const sign = [
      'sign-off',
      '--run',
      'demo',
      '--proposal',
      proposalId,
      '--decision',
      'approve',
      '--group',
      'leadership',
      '--justification',
      'tight',
    ];
    const unsigned = await as('leadership', sign);
    expect(unsigned.code).toBe(2);
    expect(unsigned.out).toContain('pressed the red button: to be sure');
    expect(unsigned.err).toContain('nothing was signed');
    expect((await as('leadership', [...sign, '--digest', '0'.repeat(64)])).code).toBe(1);
    const signed = await as('leadership', [...sign, '--yes']);
    expect(signed.code).toBe(0);
    expect(signed.out).toContain('demo is resumed under the terms');
    expect((await as('auditor', ['run', 'show', 'demo'])).out).toContain('waiver    resumed up to');
  });
});

describe('those who check', () => {
  test('live: the ledger verifies and the replay agrees, beside the service and beside each other', async () => {
    const [verified, replayed, exported] = await Promise.all([
      local(['ledger', 'verify', '--json']),
      local(['replay', '--json']),
      local(['ledger', 'export', '--out', join(elsewhere, 'ledger.jsonl')]),
    ]);
    expect(verified.code).toBe(0);
    expect(JSON.parse(verified.out)).toMatchObject({ ok: true, problems: [] });
    expect(replayed.code).toBe(0);
    expect(JSON.parse(replayed.out)).toMatchObject({ ok: true, mismatches: [] });
    expect(exported.code).toBe(0);
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
  });

  test('offline: an export and the public keys are enough', async () => {
    const keys = await local(['ledger', 'keys']);
    expect(keys.out).not.toContain('"d"');
    await writeFile(join(elsewhere, 'jwks.json'), keys.out);
    const verified = await outside([
      'ledger',
      'verify',
      '--file',
      'ledger.jsonl',
      '--key',
      'jwks.json',
      '--json',
    ]);
    expect(verified.code).toBe(0);
    // The export signs a head of its own, so nothing in it is uncovered.
    expect(JSON.parse(verified.out)).toMatchObject({ ok: true, unsignedEvents: 0 });
    const replayed = await outside(['replay', '--file', 'ledger.jsonl', '--run', 'demo']);
    expect(replayed).toMatchObject({ code: 0, out: expect.stringContaining('the replay agrees') });
    expect((await outside(['replay', '--file', 'ledger.jsonl', '--run', 'absent'])).code).toBe(1);
  });

  test('what if: live and from the export, under the policy it had pinned and under a stricter one', async () => {
    const policies = join(home, 'data', 'policies');
    const under = (policy: string): string[] => [
      'what-if',
      '--run',
      'demo',
      '--policy',
      join(policies, `${policy}.yaml`),
      '--json',
    ];
    const [live, offline] = await Promise.all([
      local(under('preparedness-beta')),
      outside([...under('preparedness-beta'), '--file', 'ledger.jsonl']),
    ]);
    expect([live.code, offline.code, live.err, offline.err]).toEqual([0, 0, '', '']);
    const same = WhatIfSchema.parse(JSON.parse(live.out));
    expect(same).toMatchObject({ samePolicy: true, partsAt: null });
    expect(same.stop.whatIf).toMatchObject({ verdict: 'halt', checkpointId: 'step-1' });
    expect(WhatIfSchema.parse(JSON.parse(offline.out)).checkpoints).toEqual(same.checkpoints);
    const strict = await outside([...under('precautionary'), '--file', 'ledger.jsonl']);
    const answer = WhatIfSchema.parse(JSON.parse(strict.out));
    expect(answer.checkpoints[0]?.missing).toContain('anomaly-battery/default');
    expect(answer.notComparable.map(({ evaluation }) => evaluation)).toContain('anomaly-battery/default');
    expect(answer.stop.apartFromMissing?.stop).toMatchObject({ verdict: 'halt', checkpointId: 'step-1' });
  });

  test('a tampered, cut or foreign export does not verify', async () => {
    const lines = (await readFile(join(elsewhere, 'ledger.jsonl'), 'utf8')).split('\n');
    const at = lines.findIndex((line) => line.includes('"to be sure"'));
    const verify = async (name: string, content: readonly string[], ...more: string[]) => {
      await writeFile(join(elsewhere, name), content.join('\n'));
      return outside(['ledger', 'verify', '--file', name, '--key', 'jwks.json', ...more]);
    };
    const changed = await verify(
      'changed.jsonl',
      lines.with(at, lines[at]?.replace('to be sure', 'for a joke') ?? ''),
    );
    expect(changed.code).toBe(1);
    expect(changed.out).toContain(`line ${at + 1}: entry ${at + 1} is not what entry ${at + 2} follows`);
    expect((await verify('removed.jsonl', lines.toSpliced(at, 1))).code).toBe(1);
    // A tail cut together with its heads looks like an older export; a head that was kept tells.
    const head = z.object({ signedHead: z.string() }).parse(JSON.parse(lines.at(-2) ?? '')).signedHead;
    const heads = lines.filter((line) => line.startsWith('{"signedHead"'));
    const first = z
      .object({ size: z.number() })
      .parse(JSON.parse(Buffer.from((heads[0] ?? '').split('.')[1] ?? '', 'base64url').toString('utf8')));
    const cut = [...lines.slice(0, first.size), heads[0] ?? '', ''];
    expect((await verify('cut.jsonl', cut)).code).toBe(0);
    const caught = await verify('cut.jsonl', cut, '--trusted-head', head);
    expect(caught.code).toBe(1);
    expect(caught.out).toContain('the trusted head covers');
    const foreign = await interlock(['init', '--dir', 'foreign'], { cwd: elsewhere });
    expect(foreign.code).toBe(0);
    const foreignKeys = await outside(['ledger', 'keys', '--config', 'foreign/interlock.yaml']);
    await writeFile(join(elsewhere, 'foreign.json'), foreignKeys.out);
    expect(
      (await outside(['ledger', 'verify', '--file', 'ledger.jsonl', '--key', 'foreign.json'])).code,
    ).toBe(1);
  });

  test('an export replaces no file and goes to standard output by default', async () => {
    const again = await local(['ledger', 'export', '--out', join(elsewhere, 'ledger.jsonl')]);
    expect(again).toMatchObject({ code: 2, out: '' });
    const piped = await local(['ledger', 'export', '--no-sign']);
    expect(piped).toMatchObject({ code: 0, err: '' });
    expect(
      piped.out.startsWith((await readFile(join(elsewhere, 'ledger.jsonl'), 'utf8')).slice(0, 200)),
    ).toBe(true);
  });

  test('views are rebuilt beside the service', async () => {
    expect(await local(['ledger', 'rebuild-views'])).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^rebuilt \d+ rows/),
    });
    expect((await as('auditor', ['run', 'list'])).out).toContain('demo');
  });
});

describe('serving and stopping', () => {
  test('a port in use is told, with exit 2', async () => {
    const { port } = new URL(url);
    const { code, out, err } = await local(['serve', '--port', port]);
    expect([code, out]).toEqual([2, '']);
    expect(err).toContain('in use');
  });

  test('SIGTERM stops clean within seconds; standard output had the one line', async () => {
    const beganMs = performance.now();
    service.child.kill('SIGTERM');
    const { code, out, err } = await service.ended;
    expect(code).toBe(0);
    expect(performance.now() - beganMs).toBeLessThan(10_000);
    expect(out).toBe(`listening on ${url}\n`);
    for (const line of err.trim().split('\n')) expect(() => JSON.parse(line)).not.toThrow();
  });

  test('without a service: HTTP commands exit 2, the ledger still opens, for two commands at once', async () => {
    expect((await as('oncall', ['status'])).code).toBe(2);
    const both = await Promise.all([local(['replay']), local(['ledger', 'verify'])]);
    expect(both.map(({ code }) => code)).toEqual([0, 0]);
  });

  test('a second signal exits at once', async () => {
    const again = start(['serve', '--config', init.configFile, '--port', '0'], { cwd: home });
    await listening(again);
    again.child.kill('SIGINT');
    again.child.kill('SIGTERM');
    // The first may have finished already: then the exit is clean.
    expect([0, 143, 130]).toContain((await again.ended).code);
  });

  test('a listener that is no Interlock is told as such', async () => {
    const mute = createServer((socket) => {
      // Read to its end, or the server would wait for it for ever.
      socket.resume();
      socket.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi');
    });
    await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
    const address = mute.address();
    const port = typeof address === 'object' ? address?.port : 0;
    const { code, err } = await as('oncall', ['status', '--url', `http://127.0.0.1:${port}`]);
    expect(code).toBe(2);
    expect(err).toContain('not JSON');
    await new Promise((resolve) => mute.close(resolve));
  });
});
