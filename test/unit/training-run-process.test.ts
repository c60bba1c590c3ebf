/**
 * The trainer and the evaluator as real processes, against a stand-in for the service that evaluates
 * with the real evaluator and halts on what it measured.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { signWebhook, WebhookSecret } from '../../clients/typescript/index.ts';
import { evaluateCommand, trainCommand } from '../../examples/training-run/commands.ts';
import { computeAt } from '../../examples/training-run/learner.ts';
import { type Checkpoint, runId, startInterlock, temporaryDirectory, token } from './client-support.ts';

const run = promisify(execFile);

const lineSchema = z.looseObject({ event: z.string(), at: z.iso.datetime() });
const resultSchema = z.strictObject({
  status: z.literal('success'),
  score: z.number().min(0).max(1),
  stderr: z.number(),
  n: z.number().min(400),
  model: z.string(),
  startedAt: z.iso.datetime(),
  completedAt: z.iso.datetime(),
});

let directory: ReturnType<typeof temporaryDirectory>;
let interlock: Awaited<ReturnType<typeof startInterlock>>;
let trainer: ChildProcess | undefined;

beforeEach(async () => {
  directory = temporaryDirectory();
  interlock = await startInterlock(directory.path);
});
afterEach(async () => {
  trainer?.kill('SIGKILL');
  await interlock.close();
  directory.remove();
});

function startTrainer(extra: string[] = []) {
  const folders = ['--state', join(directory.path, 'state'), '--models', join(directory.path, 'models')];
  const place = ['--url', interlock.url, '--run', runId, '--heartbeat-ms', '200', ...folders];
  const [program = '', ...first] = trainCommand();
  const child = spawn(program, [...first, ...place, ...extra], {
    cwd: directory.path,
    env: {
      PATH: process.env['PATH'],
      INTERLOCK_TOKEN: token,
      INTERLOCK_WEBHOOK_SECRET: interlock.webhookSecret,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  trainer = child;
  const lines: z.infer<typeof lineSchema>[] = [];
  const reader = createInterface({ input: child.stdout });
  const exited = new Promise<number | null>((resolve) => {
    child.once('close', (code) => resolve(code));
  });
  const onLine = (listener: (line: z.infer<typeof lineSchema>) => void) =>
    reader.on('line', (line) => listener(lineSchema.parse(JSON.parse(line))));
  const heard = (event: string) =>
    new Promise<z.infer<typeof lineSchema>>((resolve) => {
      onLine((line) => {
        if (line.event === event) resolve(line);
      });
    });
  onLine((line) => lines.push(line));
  return { child, lines, exited, heard, onLine };
}

async function evaluate(
  task: string,
  { checkpointId, modelUri }: Pick<Checkpoint, 'checkpointId' | 'modelUri'>,
) {
  const out = join(directory.path, `${checkpointId}-${task}.json`);
  const [program = '', ...first] = evaluateCommand();
  const args = [...first, '--task', task, '--model', modelUri, '--out', out];
  const finished = await run(program, args, { cwd: directory.path, env: {} }).then(
    () => 0,
    (error: unknown) => z.object({ code: z.number() }).parse(error).code,
  );
  return { code: finished, result: JSON.parse(readFileSync(out, 'utf8')) as unknown };
}

describe('a training run under Interlock', () => {
  it('waits at each ceiling, goes on when measured skill clears it, and stops on the halt in a heartbeat', async () => {
    interlock.script.permit = { ceiling: computeAt(450) };
    const scores: number[] = [];
    let reachCeiling = (): void => undefined;
    const atCeiling = new Promise<void>((resolve) => {
      reachCeiling = resolve;
    });
    interlock.script.onCheckpoint = (checkpoint) => {
      // As the service does: acknowledge first, evaluate after, then raise the ceiling or halt.
      void evaluate('navigation', checkpoint).then(async ({ result }) => {
        const { score } = resultSchema.parse(result);
        scores.push(score);
        await atCeiling;
        if (checkpoint.step < 1200) {
          interlock.script.permit = { ceiling: computeAt(checkpoint.step * 3) };
        } else {
          const order = await interlock.signer.halt();
          interlock.script.permit = null;
          interlock.script.directive = { action: 'halt', haltId: 'halt_a', order };
        }
      });
    };
    const { lines, exited, onLine } = startTrainer();
    onLine((line) => {
      if (line.event === 'paused' && line['reason'] === 'ceiling reached') reachCeiling();
    });

    expect(await exited).toBe(0);
    expect(lines.at(-1)).toMatchObject({ event: 'stopped', by: 'halt', haltId: 'halt_a', via: 'heartbeat' });
    expect(interlock.seen.checkpoints.map(({ body }) => body.step)).toEqual([300, 600, 1200]);
    expect(scores[2]).toBeGreaterThan((scores[0] ?? 1) + 0.05);
    // Never a step past the ceiling then in force, which is three times the last cleared checkpoint.
    const furthest = Math.max(...interlock.seen.beats.map((beat) => Number(beat.effectiveCompute)));
    expect(furthest).toBeLessThanOrEqual(Number(computeAt(1800)));
    expect(lines).toContainEqual(
      expect.objectContaining({
        event: 'paused',
        reason: 'ceiling reached',
        effectiveCompute: computeAt(451),
      }),
    );
    expect(interlock.seen.acks).toEqual([
      { haltId: 'halt_a', state: 'received' },
      { haltId: 'halt_a', state: 'stopped' },
    ]);
  }, 60_000);

  it('stops on a signed webhook without waiting for a heartbeat', async () => {
    interlock.script.permit = { ceiling: computeAt(1_000_000) };
    const { lines, exited, heard } = startTrainer(['--halt-port', '0', '--heartbeat-ms', '60000']);
    const [listening] = await Promise.all([heard('listening'), heard('checkpoint')]);

    const { haltUrl } = z.looseObject({ haltUrl: z.string() }).parse(listening);
    const order = await interlock.signer.halt();
    const data = { runId, haltId: 'halt_a', action: 'halt', reason: 'test', order };
    const body = Buffer.from(
      JSON.stringify({ type: 'halt.ordered', timestamp: new Date().toISOString(), data }),
    );
    const headers = signWebhook(new WebhookSecret(interlock.webhookSecret), 'halt_a_1', new Date(), body);
    const response = await fetch(haltUrl, {
      method: 'POST',
      headers: { ...headers },
      body: new Uint8Array(body),
    });

    expect(response.status).toBe(200);
    expect(await exited).toBe(0);
    expect(lines.at(-1)).toMatchObject({ event: 'stopped', by: 'halt', via: 'webhook' });
    expect(lines.at(-1)?.['msFromReceiptToStop']).toBeLessThan(1000);
  }, 60_000);

  it('ends cleanly on SIGTERM, with a final line that says so', async () => {
    interlock.script.permit = { ceiling: computeAt(10) };
    const { child, lines, exited, heard } = startTrainer();
    await heard('paused');
    child.kill('SIGTERM');

    expect(await exited).toBe(143);
    expect(lines.at(-1)).toMatchObject({ event: 'stopped', by: 'sigterm' });
  }, 60_000);

  it('gives no score for damaged weights', async () => {
    interlock.script.permit = { ceiling: computeAt(450) };
    const { child, exited, heard } = startTrainer();
    const line = await heard('checkpoint');
    child.kill('SIGTERM');
    await exited;
    const modelUri = z.string().parse(line['modelUri']);

    truncateSync(fileURLToPath(modelUri), 10_000);
    const { code, result } = await evaluate('decipher', { checkpointId: 'step-300', modelUri });

    expect(code).toBe(1);
    expect(result).toMatchObject({ status: 'error', error: 'checkpoint refused: SHA-256 does not match' });
    expect(result).not.toHaveProperty('score');
  }, 60_000);
});
