import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { InterlockError } from '../../src/errors.ts';
import { withCorrelation } from '../../src/telemetry/correlation.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { createMetrics, METRICS } from '../../src/telemetry/metrics.ts';
import { tracingIsWanted } from '../../src/telemetry/start-tracing.ts';
import { checkpointStory, factSpan, haltStory, parseTraceparent } from '../../src/telemetry/story.ts';
import { withSpan } from '../../src/telemetry/tracing.ts';

function capture() {
  const lines: string[] = [];
  const logger = createLogger({
    level: 'debug',
    destination: { write: (line: string) => void lines.push(line) },
  });
  return { logger, lines, last: (): Record<string, unknown> => JSON.parse(lines.at(-1) ?? '{}') };
}

const TOKEN = `ilk_${'Ab3_'.repeat(10)}xyz`;
const SECRET = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;
const JWS = `eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJydW4tMSJ9.${'s'.repeat(40)}`;

describe('the logger', () => {
  it('writes plain fields with level and time', () => {
    const { logger, last } = capture();
    logger.info({ runId: 'run-1', attempt: 2, kinds: ['a', 'b'] }, 'evaluated');
    expect(last()).toEqual({
      level: 'info',
      time: expect.stringMatching(/Z$/),
      runId: 'run-1',
      attempt: 2,
      kinds: ['a', 'b'],
      msg: 'evaluated',
    });
  });

  it('drops objects that nobody said how to log', () => {
    const { logger, lines } = capture();
    const body = { transcript: 'canary-words' };
    logger.info({ event: body, list: [body], map: new Map([['a', body]]), nested: { body } }, 'x');
    logger.child({ config: body }).child({ more: body }).warn(body, 'y');
    logger.error(
      {
        req: { method: 'POST', id: 'r1', headers: { authorization: 'canary-words' }, body },
        res: { statusCode: 200, body },
      },
      'z',
    );
    expect(lines.join('')).not.toContain('canary-words');
    expect(JSON.parse(lines[2] ?? '')).toMatchObject({
      req: { method: 'POST', id: 'r1' },
      res: { statusCode: 200 },
    });
  });

  it.each([
    TOKEN,
    SECRET,
    JWS,
    `Bearer ${'q'.repeat(30)}`,
    'postgres://user:hunter2@db/x',
    '-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----',
  ])('masks %s wherever it stands', (text) => {
    const { logger, lines } = capture();
    logger.info({ note: text, webhookSecret: text, authorization: text }, `message ${text}`);
    logger.error({ err: new Error(`failed with ${text}`, { cause: new Error(text) }) }, 'x');
    logger.child({ note: text }).info('x');
    for (const line of lines) {
      expect(() => JSON.parse(line)).not.toThrow();
      expect(line).not.toMatch(/Ab3_Ab3_|BwcHBwcH|sssss|qqqqq|hunter2|MC4CAQ/);
    }
  });

  it('logs an error by type, code, message and frames, and what a parser quotes not at all', () => {
    const { logger, lines, last } = capture();
    const fault = new InterlockError('the ledger is away', {
      code: 'ledger.unavailable',
      cause: Object.assign(new Error('x'), { detail: 'canary-detail', config: { a: 'canary' } }),
    });
    logger.error({ err: fault }, 'failed');
    expect(last()).toMatchObject({
      err: {
        type: 'InterlockError',
        code: 'ledger.unavailable',
        message: 'the ledger is away',
        cause: { type: 'Error' },
      },
    });
    const parsers = [
      () => JSON.parse('{"a": canary}'),
      () => z.strictObject({ a: z.enum(['x']) }).parse({ canary: 1 }),
    ];
    for (const parse of parsers) {
      try {
        parse();
      } catch (err) {
        logger.error({ err }, 'x');
      }
    }
    expect(lines).toHaveLength(3);
    expect(lines.join('')).not.toContain('canary');
  });

  it('keeps one line one line, and shows what would hide', () => {
    const { logger, lines } = capture();
    logger.info({ id: 'a\n{"level":"info","msg":"forged"}' }, 'b\u2028\u202e\u0007\u009b31m');
    expect(lines).toHaveLength(1);
    for (const hidden of ['\n', '\u2028', '\u202e', '\u0007', '\u009b']) {
      expect(lines[0]?.trimEnd()).not.toContain(hidden);
    }
  });

  it('cuts long text', () => {
    const { logger, lines } = capture();
    logger.info({ note: 'x'.repeat(100_000) }, 'x');
    expect(lines[0]?.length).toBeLessThan(1_000);
  });

  it('carries the correlation id through awaits, once', async () => {
    const { logger, lines, last } = capture();
    await withCorrelation('corr-1', async () => {
      await Promise.resolve();
      logger.info('inside');
    });
    expect(last()['correlationId']).toBe('corr-1');
    logger.info('outside');
    expect(last()).not.toHaveProperty('correlationId');
    expect(lines[0]?.match(/correlationId/g)).toHaveLength(1);
  });
});

describe('metrics', () => {
  it('renders counters, gauges and cumulative histograms', () => {
    const metrics = createMetrics();
    metrics.count('interlock_verdicts_total', { verdict: 'halt' });
    metrics.count('interlock_verdicts_total', { verdict: 'halt' }, 2);
    metrics.set('interlock_database_up', {}, 1);
    metrics.collect('interlock_ledger_size', () => 42);
    for (const s of [0.004, 0.2, 99])
      metrics.observe('interlock_halt_order_to_delivery_seconds', { kind: 'webhook' }, s);
    const text = metrics.render();
    expect(text).toContain(
      '# TYPE interlock_verdicts_total counter\ninterlock_verdicts_total{verdict="halt"} 3\n',
    );
    expect(text).toContain('interlock_database_up 1\n');
    expect(text).toContain('interlock_ledger_size 42\n');
    expect(text).toContain('interlock_halt_order_to_delivery_seconds_bucket{kind="webhook",le="0.005"} 1\n');
    expect(text).toContain('interlock_halt_order_to_delivery_seconds_bucket{kind="webhook",le="0.25"} 2\n');
    expect(text).toContain('interlock_halt_order_to_delivery_seconds_bucket{kind="webhook",le="+Inf"} 3\n');
    expect(text).toContain('interlock_halt_order_to_delivery_seconds_count{kind="webhook"} 3\n');
  });

  it('escapes labels and caps the number of series', () => {
    const metrics = createMetrics();
    metrics.count('interlock_ledger_events_total', { kind: 'a"b\\c\nd' });
    expect(metrics.render()).toContain('{kind="a\\"b\\\\c\\nd"} 1');
    for (let i = 0; i < 1_500; i += 1) metrics.count('interlock_ledger_events_total', { kind: `k${i}` });
    expect(metrics.render()).toContain('{kind="other"} 501');
  });

  it('names every metric by the conventions', () => {
    for (const [name, { type, help }] of Object.entries(METRICS)) {
      expect(name).toMatch(/^interlock_[a-z_]+$/);
      expect(name.endsWith('_total')).toBe(type === 'counter');
      expect(help).not.toBe('');
    }
  });
});

describe('stories', () => {
  it('are the same for everybody who knows the ids, and differ with any of them', () => {
    const story = checkpointStory('run-1', 'ck-1');
    expect(story).toEqual(checkpointStory('run-1', 'ck-1'));
    expect(story.traceId).toMatch(/^[0-9a-f]{32}$/);
    const all = [
      story,
      checkpointStory('run-1', 'ck-2'),
      checkpointStory('run-1c', 'k-1'),
      haltStory('run-1', 'ck-1'),
    ];
    expect(new Set(all.map(({ traceId }) => traceId)).size).toBe(all.length);
    expect(factSpan(story, 'halt', 'a').spanId).not.toBe(factSpan(story, 'halt', 'b').spanId);
  });

  it.each([
    ['00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', true],
    ['cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00', true],
    ['ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', false],
    ['00-00000000000000000000000000000000-b7ad6b7169203331-01', false],
    ['00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01', false],
    ['00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01', false],
    ['00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more', false],
    [['00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'], false],
    ['', false],
  ])('read the traceparent %j: %s', (header, isOne) => {
    expect(parseTraceparent(header) !== null).toBe(isOne);
  });

  it.each([
    [{}, false],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://x:4318' }, true],
    [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://x:4318/v1/traces' }, true],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: '' }, false],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://x:4318', OTEL_SDK_DISABLED: 'TRUE' }, false],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://x:4318', OTEL_TRACES_EXPORTER: 'none' }, false],
    [{ OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: 'http://x:4318/v1/metrics' }, false],
  ])('are told under %j: %s', (env, wanted) => {
    expect(tracingIsWanted(env)).toBe(wanted);
  });
});

describe('spans', () => {
  it('give back what the work gives, and throw what it throws', async () => {
    expect(
      await withSpan('halt', { 'interlock.run.id': 'r' }, async (set) => {
        set({ 'interlock.outcome': 'accepted' });
        return 7;
      }),
    ).toBe(7);
    await expect(withSpan('halt', {}, async () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  });
});
