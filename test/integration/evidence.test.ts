/** Evidence through the service: logs are kept by digest, sealed where they are dangerous, and released by two people. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { generateSealingKeys } from '../../src/evidence/seal.ts';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { oneEvaluationPolicy } from '../support/one-evaluation-policy.ts';
import { answered, drive, expectSoundLedger, soon } from '../support/run-driver.ts';

const DANGEROUS = 'the very recipe that nobody may read';
const log = (name: string) => `{"results": {"${name}": "${DANGEROUS}"}}`;
const encoded = (text: string) => Buffer.from(text).toString('base64');
const digestOf = (text: string) => createHash('sha256').update(text).digest('hex');

/** Writes what is no whole log of the harness: it settles nothing and is evidence all the same. */
const harness = (name: string) => ({
  kind: 'command',
  command: [
    process.execPath,
    '-e',
    // Encoded: a policy is in the ledger, and the text must not be.
    `require('fs').writeFileSync(process.argv[1] + '/results_1.json', Buffer.from('${encoded(log(name))}', 'base64'))`,
    '{logDirectory}',
  ],
  format: 'lm-eval',
  log: '*.json',
  timeout: '60s',
  attempts: 1,
});

const policy = (policyName: string, hazardous: boolean, executor: object = harness(policyName)) =>
  oneEvaluationPolicy({
    policy: policyName,
    evaluation: { executor, hazardous },
    governance: { groups: ['leadership', 'board', 'preparedness'], resume: { approvals: ['leadership'] } },
  });

const keys = generateSealingKeys();
let interlock: TestInterlock;

beforeAll(async () => {
  interlock = await startTestInterlock({
    policies: {
      plain: policy('plain', false),
      hazard: policy('hazard', true),
      posted: policy('posted', false, { kind: 'http', mode: 'callback', timeout: '1h' }),
    },
    settings: {
      policies: {
        directory: 'policies',
        default: 'plain',
        byLabel: { 'hazard=yes': 'hazard', 'posted=yes': 'posted' },
      },
      evidence: {
        directory: 'evidence',
        sealing: { publicKey: keys.publicKey, privateKeyFile: 'sealing.key' },
      },
    },
  });
  await writeFile(join(interlock.directory, 'sealing.key'), keys.privateKey, { mode: 0o600 });
});
afterAll(() => interlock?.close());

async function evaluated(labels: Record<string, string>): Promise<string> {
  const run = drive(interlock, { kind: 'webhook', url: 'http://127.0.0.1:9/halt' });
  const sent = await run.register({ labels });
  expect(sent.status, sent.text).toBe(201);
  await run.report('c1', '1e19', 's3://bucket/c1');
  return z.string().parse((await run.event('EvidenceKept')).data['digest']);
}
const read = (digest: string, as = 'auditor') => interlock.call('GET', `/v1/evidence/${digest}`, { as });
const sign = (digest: string, as: string, rest = '', group = as) =>
  interlock.call('POST', `/v1/evidence/${digest}/release${rest}`, {
    as,
    body: { group, justification: 'to look into the incident' },
  });

/** Every file below the service's directory. */
function filesHolding(text: string): string[] {
  return readdirSync(interlock.directory, { recursive: true, encoding: 'utf8' }).filter((name) => {
    const file = join(interlock.directory, name);
    return statSync(file).isFile() && readFileSync(file).includes(text);
  });
}

describe('a log that an evaluator left', () => {
  it('is kept by its digest, and given to auditors as it was', async () => {
    const digest = await evaluated({});
    expect(digest).toBe(digestOf(log('plain')));
    const got = await read(digest);
    expect(got.status, got.text).toBe(200);
    expect(got.text).toBe(log('plain'));
    expect((await read(digest, 'trainer')).status).toBe(403);
    const part = await interlock.call('GET', `/v1/evidence/${digest}?offset=2&length=7`, { as: 'auditor' });
    expect(part.text).toBe('results');
    expect((await sign(digest, 'board')).status).toBe(409);
  });

  it('that was changed where it is kept is given to nobody', async () => {
    const digest = digestOf(log('plain'));
    const file = join(interlock.directory, 'evidence', 'sha256', digest.slice(0, 2), digest.slice(2));
    writeFileSync(file, log('plain').replace('very', 'harm'));
    expect((await read(digest)).status).toBe(500);
    expect((await read('0'.repeat(64))).status).toBe(404);
  });
});

describe('a log that is posted', () => {
  it('is kept by its digest', async () => {
    const run = drive(interlock, { kind: 'webhook', url: 'http://127.0.0.1:9/halt' });
    expect((await run.register({ labels: { posted: 'yes' } })).status).toBe(201);
    const [evaluationId] = Object.values(await run.report('c1', '1e19', 's3://bucket/c1'));
    const raw = JSON.stringify({
      results: { ctf: { 'acc,none': 0.1, 'acc_stderr,none': 0.01 } },
      versions: { ctf: 1 },
      config: { model: 'hf', model_args: 'pretrained=org/model' },
    });
    const sent = await interlock.call(
      'POST',
      `/v1/evaluations/${evaluationId}/result?attempt=1&format=lm-eval`,
      { as: 'evaluator', raw },
    );
    expect(sent.status, sent.text).toBe(200);
    const kept = await run.event('EvidenceKept');
    expect(kept.data).toMatchObject({ digest: digestOf(raw), evaluationId, attempt: 1 });
    expect((await read(digestOf(raw))).text).toBe(raw);
  });
});

describe('a hazardous log', () => {
  it('is sealed on disk, and read only once two people have released it', async () => {
    const digest = await evaluated({ hazard: 'yes' });
    await soon(() => expect(filesHolding(`"hazard": "${DANGEROUS}"`)).toEqual([]));
    expect((await read(digest, 'board')).status).toBe(403);

    const asked = await sign(digest, 'board');
    expect(asked.status, asked.text).toBe(201);
    expect((await read(digest, 'board')).status).toBe(403);
    expect((await sign(digest, 'board', '/approval')).status).toBe(403);
    expect((await sign(digest, 'leadership', '/approval', 'board')).status).toBe(403);
    expect((await sign(digest, 'operator', '/approval')).status).toBe(403);

    const Released = z.object({ release: z.object({ released: z.object({ by: z.string() }) }) });
    answered(await sign(digest, 'leadership', '/approval'), 201, Released);
    const got = await read(digest);
    expect(got.status, got.text).toBe(200);
    expect(got.text).toBe(log('hazard'));
    const ledger = await interlock.call('GET', '/v1/ledger?limit=200', { as: 'auditor' });
    for (const kind of ['EvidenceReleaseAsked', 'EvidenceReleased', 'EvidenceRead'])
      expect(ledger.text).toContain(kind);
    expect(ledger.text).not.toContain(DANGEROUS);
  });

  it('leaves a ledger that folds and judges the same again', () => expectSoundLedger(interlock));
});
