/**
 * One checkpoint from its webhook to the stop of its run, as an OTLP receiver is told it, across a kill -9.
 *
 * Real processes and a real receiver. The first Interlock is killed with the evaluation in its hands; the second one
 * gives it out again and halts. Both tell one story, in one trace, which they derive from the ledger's ids.
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { parse, stringify } from 'yaml';
import { initDirectory } from '../../src/config/init.ts';
import { createKeyringFile } from '../../src/signing/keyring.ts';
import { checkpointStory, factSpan } from '../../src/telemetry/story.ts';
import { SPAN_ATTRIBUTES } from '../../src/telemetry/tracing.ts';
import { score, testPolicy, writeEvaluator, writeModel } from '../support/evaluation-policy.ts';
import { parseExposition } from '../support/exposition.ts';
import { type HttpTarget, startHttpTarget } from '../support/http-target.ts';
import { type OtlpReceiver, type ReceivedSpan, startOtlpReceiver } from '../support/otlp-receiver.ts';
import { listening, type Started, start } from './cli-process.ts';

const CANARY = 'CANARY-words-of-a-model';
const TRACEPARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
const RUN = 'gpt-next-7';
const CHECKPOINT = 'step-1000';
const soon = { timeout: 30_000, interval: 50 };

describe('tracing', () => {
  let directory: string;
  let receiver: OtlpReceiver;
  let trainer: HttpTarget;
  let interlock: Started | null = null;
  let url = '';
  let tokens: Readonly<Record<string, string>> = {};

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'interlock-tracing-'));
    [receiver, trainer] = await Promise.all([startOtlpReceiver(), startHttpTarget()]);
    await mkdir(join(directory, 'models'));
    const made = await initDirectory(directory, {
      createKeyringFile,
      policies: [{ name: 'main', text: JSON.stringify(testPolicy()) }],
    });
    tokens = made.tokens;
    await writeEvaluator(directory);
    const config: unknown = parse(await readFile(made.configFile, 'utf8'));
    if (typeof config !== 'object' || config === null) throw new Error('init wrote no configuration');
    const roots = { models: { roots: [join(directory, 'models')] } };
    await writeFile(made.configFile, stringify({ ...config, ...roots }));
  });
  afterAll(async () => {
    interlock?.child.kill('SIGTERM');
    await interlock?.ended;
    await Promise.all([receiver.close(), trainer.close()]);
    await rm(directory, { recursive: true, force: true, maxRetries: 5 });
  });

  async function serve(env: Record<string, string>): Promise<void> {
    interlock = start(['serve', '--config', join(directory, 'interlock.yaml'), '--port', '0'], {
      cwd: directory,
      env,
    });
    url = await listening(interlock);
  }

  const exporting = () => ({
    OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
    OTEL_SERVICE_NAME: 'interlock-of-the-test',
    OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test',
    OTEL_BSP_SCHEDULE_DELAY: '100',
  });

  async function post(path: string, as: string, body: unknown, headers: Record<string, string> = {}) {
    const answer = await fetch(`${url}${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${tokens[as]}`, 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    });
    expect([200, 201, 202]).toContain(answer.status);
  }

  const { traceId } = checkpointStory(RUN, CHECKPOINT);
  const told = (name: string): ReceivedSpan[] =>
    receiver.spans.filter((span) => span.traceId === traceId && span.name === name);
  const tells = (name: string) => vi.waitUntil(() => told(name).length > 0, soon);

  it('is one story from the webhook to the stop, across a kill and a restart', async () => {
    await serve(exporting());
    const targets = [{ kind: 'webhook', url: `${trainer.url}/halt` }];
    await post('/v1/runs', 'trainer', { runId: RUN, targets });
    // The first attempt hangs, and with it the first Interlock will be killed.
    const probe = { result: { ...score(0.5), error: CANARY }, hang: 1 };
    const modelUri = await writeModel(join(directory, 'models'), 'm', probe);
    const report = { runId: RUN, checkpointId: CHECKPOINT, effectiveCompute: '2e21', modelUri };
    await post(
      '/v1/checkpoints',
      'trainer',
      { ...report, metadata: { note: CANARY } },
      { traceparent: TRACEPARENT },
    );
    await tells('work.claim');
    interlock?.child.kill('SIGKILL');
    await interlock?.ended;

    await serve(exporting());
    await trainer.nthRequest(1);
    await tells('halt.deliver');
    const halt: { data?: { haltId?: string } } = JSON.parse(String(trainer.received[0]?.body));
    const haltId = halt.data?.haltId ?? '';
    await post(`/v1/halts/${haltId}/ack`, 'trainer', { state: 'stopped' });
    await tells('halt.stopped');
    await tells('ledger.append');

    const names = new Set(receiver.spans.filter((span) => span.traceId === traceId).map(({ name }) => name));
    expect([...names]).toEqual(
      expect.arrayContaining([
        'checkpoint.receive',
        'ledger.append',
        'checkpoint.recorded',
        'work.enqueue',
        'work.claim',
        'evaluation.run',
        'evaluation.reported',
        'halt.ordered',
        'halt.deliver',
        'halt.stopped',
      ]),
    );
    // From both processes, and what one did links to a fact that the other recorded.
    const recorded = factSpan({ traceId }, 'checkpoint', CHECKPOINT);
    expect(told('checkpoint.recorded').map(({ spanId }) => spanId)).toEqual([recorded.spanId]);
    const runs = told('evaluation.run');
    expect(runs.flatMap(({ links }) => links.map(({ spanId }) => spanId))).toEqual(
      runs.map(() => recorded.spanId),
    );
    const ordered = factSpan({ traceId }, 'halt', haltId);
    expect(told('halt.ordered').map(({ spanId }) => spanId)).toEqual([ordered.spanId]);
    expect(told('halt.deliver')[0]?.links[0]).toMatchObject({ traceId, spanId: ordered.spanId });
    const first = told('checkpoint.recorded')[0]?.resource['service.instance.id'];
    const second = told('halt.ordered')[0]?.resource['service.instance.id'];
    expect(first).toEqual(expect.any(String));
    expect(second).not.toBe(first);
    expect(second).toEqual(expect.any(String));

    // No tree is deeper than the work inside it, and what the sender stated is a link and no parent.
    const byId = new Map(receiver.spans.map((span) => [span.spanId, span]));
    for (const span of receiver.spans) {
      if (span.parentSpanId === undefined || span.parentSpanId === '') continue;
      const parent = byId.get(span.parentSpanId);
      if (parent !== undefined) expect(parent.traceId).toBe(span.traceId);
    }
    const [receive] = told('checkpoint.receive');
    expect(receive?.parentSpanId ?? '').toBe('');
    expect(receive?.links).toMatchObject([
      { traceId: TRACEPARENT.slice(3, 35), spanId: TRACEPARENT.slice(36, 52) },
    ]);
  });

  it('says ids and fixed words, and nothing that was sent or found', () => {
    expect(receiver.faults).toEqual([]);
    expect(receiver.spans.length).toBeGreaterThan(10);
    for (const { scope, attributes, events, resource } of receiver.spans) {
      expect(scope).toBe('interlock');
      expect(events).toEqual([]);
      expect(Object.keys(attributes).filter((name) => !SPAN_ATTRIBUTES.has(name))).toEqual([]);
      expect(resource).toMatchObject({
        'service.name': 'interlock-of-the-test',
        'deployment.environment.name': 'test',
      });
    }
    const all = receiver.texts.join('\n');
    for (const secret of [CANARY, 'ilk_', 'whsec_', directory, 'models/m.json'])
      expect(all).not.toContain(secret);
  });

  it('times in /metrics are those of the ledger, though another process ordered', async () => {
    const read = async () => parseExposition(await (await fetch(`${url}/metrics`)).text());
    const sample = async (family: string, name: string) =>
      (await read()).get(family)?.samples.find((each) => each.name === name)?.value;
    expect(
      await sample('interlock_halt_order_to_stop_seconds', 'interlock_halt_order_to_stop_seconds_count'),
    ).toBe(1);
    const families = await read();
    const values = (name: string) =>
      Object.fromEntries(
        (families.get(name)?.samples ?? []).map(({ labels, value }) => [
          [...labels.values()].join(' '),
          value,
        ]),
      );
    expect(values('interlock_runs')).toEqual({ training: 0, 'on-hold': 0, halted: 1, finished: 0 });
    expect(values('interlock_halts_open')).toEqual({ no: 0, yes: 1 });
    expect(values('interlock_database_up')).toEqual({ '': 1 });
    expect(values('interlock_queue_up')).toEqual({ '': 1 });
    expect(values('interlock_ledger_size')['']).toBeGreaterThan(5);
    expect(Object.keys(values('interlock_queue_jobs'))).toContain('evaluate waiting');
    expect(Math.abs(values('interlock_clock_offset_seconds')[''] ?? 99)).toBeLessThan(2);
    expect(values('interlock_reconcile_lag_seconds')['']).toBeLessThan(30);
    // Somebody asks for this every few seconds, for ever: it is no news in the log.
    for (const path of ['/healthz', '/readyz']) expect((await fetch(`${url}${path}`)).status).toBe(200);
    expect(interlock?.err()).not.toMatch(/healthz|readyz|metrics/);
    for (const { type, samples } of families.values()) {
      for (const { value } of samples) if (type !== 'gauge') expect(value).toBeGreaterThanOrEqual(0);
    }
  });

  it('a receiver that is away costs no work, and is said', async () => {
    interlock?.child.kill('SIGTERM');
    expect((await interlock?.ended)?.code).toBe(0);
    await serve({ ...exporting(), OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9' });
    const modelUri = 's3://models/away';
    await post('/v1/checkpoints', 'trainer', {
      runId: RUN,
      checkpointId: 'away',
      effectiveCompute: '2.2e21',
      modelUri,
    });
    interlock?.child.kill('SIGTERM');
    const ended = await interlock?.ended;
    interlock = null;
    expect(ended?.code).toBe(0);
    expect(ended?.err).toContain('spans could not be sent');
  });
});
