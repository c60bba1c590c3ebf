/** How a cancelled evaluation is called off: by a real program, and at a real server. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CommandExecutorSchema, HttpExecutorSchema } from '../../src/domain/executor.ts';
import { detectContainment } from '../../src/evaluators/containment.ts';
import type { EvaluationRequest } from '../../src/evaluators/evaluator.ts';
import { readLog } from '../../src/evaluators/formats/detect.ts';
import { createEvaluators, type Evaluators } from '../../src/evaluators/registry.ts';
import { createOutbound, type Outbound } from '../../src/outbound/outbound.ts';
import { generateWebhookSecret, verifyWebhook, WebhookSecret } from '../../src/signing/standard-webhooks.ts';
import { type HttpTarget, startHttpTarget } from '../support/http-target.ts';

const request: EvaluationRequest = {
  evaluationId: 'ev_1',
  attempt: 2,
  runId: 'r1',
  checkpointId: 'c1',
  evaluation: 'ctf',
  variant: 'tools',
  modelUri: 's3://w/c1',
  effectiveCompute: '1e22',
  variantEnv: {},
  callbackUrl: 'http://127.0.0.1:9/',
};
const secret = WebhookSecret.parse(generateWebhookSecret());
const live = (): AbortSignal => new AbortController().signal;

let directory: string;
let outbound: Outbound;
let evaluators: Evaluators;
let secrets: readonly WebhookSecret[];
beforeEach(async () => {
  secrets = [secret];
  directory = mkdtempSync(join(tmpdir(), 'interlock-call-off-'));
  outbound = createOutbound({ allow: ['loopback'] });
  evaluators = createEvaluators({
    command: {
      modelRoots: [],
      baseEnvironment: { PATH: process.env['PATH'], HOME: directory, LANG: 'C' },
      environmentVariable: () => undefined,
      jobsDirectory: directory,
      attemptsDirectory: join(directory, 'attempts'),
      readLog,
      baseDirectory: directory,
      containment: await detectContainment({ mode: 'marks', limits: {} }),
    },
    http: { outbound, now: () => new Date(), secrets: () => secrets },
    slurm: {
      readLog: () => Promise.reject(new Error('reads no log')),
      cluster: null,
      modelRoots: [],
      baseEnvironment: { PATH: undefined, HOME: undefined, LANG: undefined },
      environmentVariable: () => undefined,
    },
  });
});
afterEach(async () => {
  await outbound.close();
  rmSync(directory, { recursive: true });
});

describe('by a program', () => {
  const executor = (text: string) => {
    writeFileSync(join(directory, 'off'), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    return CommandExecutorSchema.parse({
      kind: 'command',
      command: ['false'],
      timeout: '1h',
      callOff: [join(directory, 'off'), '--sandbox', '{runId}-{evaluation}-{variant}'],
    });
  };

  it('is told which evaluation it is about, in its arguments', async () => {
    const outcome = await evaluators.callOff(executor(`echo "$@" > "${directory}/said"`), request, live());
    expect(outcome.kind).toBe('accepted');
    expect(readFileSync(join(directory, 'said'), 'utf8')).toBe('--sandbox r1-ctf-tools\n');
  });

  it.each([
    ['ends well', 'exit 0', 'accepted'],
    ['prints something', 'echo gone', 'accepted'],
    ['fails', 'exit 3', 'retry'],
    ['is killed', 'kill -9 $$', 'retry'],
  ] as const)('that %s', async (_, text, kind) => {
    expect((await evaluators.callOff(executor(text), request, live())).kind).toBe(kind);
  });
});

describe('at a service', () => {
  let target: HttpTarget;
  beforeEach(async () => {
    target = await startHttpTarget();
  });
  afterEach(() => target.close());
  const executor = () =>
    HttpExecutorSchema.parse({
      kind: 'http',
      mode: 'callback',
      url: `${target.url}/run`,
      callOff: `${target.url}/off`,
      secret: 'env:S',
      timeout: '1h',
    });

  it('is signed, names the attempt, and is the same message each time', async () => {
    for (let i = 0; i < 2; i += 1) await evaluators.callOff(executor(), request, live());
    const [first, second] = target.received;
    expect(first?.url).toBe('/off');
    expect(first?.headers['webhook-id']).toBe(second?.headers['webhook-id']);
    const { rawHeaders = [], body = Buffer.alloc(0) } = first ?? {};
    expect(verifyWebhook({ rawHeaders, body, secrets: [secret], now: new Date() }).ok).toBe(true);
    expect(JSON.parse(String(body))).toMatchObject({
      type: 'evaluation.cancelled',
      data: { evaluationId: 'ev_1', attempt: 2, runId: 'r1', checkpointId: 'c1' },
    });
  });

  it.each([
    [200, 'accepted'],
    [204, 'accepted'],
    [302, 'retry'],
    [404, 'retry'],
    [500, 'retry'],
  ] as const)('that answers %d: %s', async (status, kind) => {
    target.behave({ kind: 'status', status });
    expect((await evaluators.callOff(executor(), request, live())).kind).toBe(kind);
  });

  it('is tried again without a secret and without an answer, and refused for good where outbound does not allow it', async () => {
    target.behave({ kind: 'reset' });
    expect((await evaluators.callOff(executor(), request, live())).kind).toBe('retry');
    secrets = [];
    expect(await evaluators.callOff(executor(), request, live())).toEqual({
      kind: 'retry',
      detail: 'env:S is not set',
    });
    secrets = [secret];
    const far = { ...executor(), callOff: 'http://192.0.2.1/off' };
    expect((await evaluators.callOff(far, request, live())).kind).toBe('rejected');
  });
});

it('cannot be done where the policy names nothing', async () => {
  const executor = HttpExecutorSchema.parse({ kind: 'http', mode: 'callback', timeout: '1h' });
  expect((await evaluators.callOff(executor, request, live())).kind).toBe('rejected');
});
