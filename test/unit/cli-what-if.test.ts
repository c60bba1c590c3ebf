/** `interlock what-if` on an export: the answer for people and for machines, and what it refuses. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { JsonObject } from '../../src/domain/canonical-json.ts';
import { WhatIfSchema } from '../../src/domain/run/what-if.ts';
import { pin } from '../../src/service/policies.ts';
import { say } from './cli-terminal.ts';
import { asJson, BASE_POLICY, evaluation, policyOf, RunLife, success } from './domain/run-life.ts';
import { buildLedger, type Entry, headLine } from './ledger-fixture.ts';

let directory: string;
let ledger: string;
let entries: Entry[];

async function file(name: string, text: string): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, text);
  return path;
}

const policyFile = (changes: JsonObject): Promise<string> =>
  file('other.yaml', JSON.stringify({ ...BASE_POLICY, policy: 'other', ...changes }));

const STRICT = { id: 'strict', kind: 'level', stage: 'pre-mitigation', atLeast: 2.5, then: ['halt'] };

const exported = (events: readonly Entry[]): string =>
  [...buildLedger(events).lines, headLine('a.b.c')].map((line) => `${line}\n`).join('');

/** Level 2.83 at c3, High at c4. */
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'interlock-what-if-'));
  const { policy, digest } = pin(policyOf());
  const life = new RunLife(policy);
  life.register({ policyDigest: digest });
  for (const [i, score] of [0.1, 0.3, 0.45, 0.6].entries()) {
    life.report(`c${i + 1}`, `${2 ** i}e22`);
    life.result(`c${i + 1}/labs`, success(0.1, 100_000));
    life.result(`c${i + 1}/ctf`, success(score, 100_000));
  }
  entries = [
    { stream: `policy-${digest}`, kind: 'PolicyRecorded', data: asJson({ policy }) },
    ...life.events.map(({ kind, data }) => ({ stream: 'run-r1', kind, data: asJson(data) })),
  ];
  ledger = await file('ledger.jsonl', exported(entries));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

describe('what-if', () => {
  test('says where the verdicts part, why, and what it cannot say', async () => {
    const policy = await policyFile({ rules: [STRICT] });
    const { code, out, err } = await say(['what-if', '--run', 'r1', '--policy', policy, '--file', ledger]);
    expect([code, err]).toEqual([0, '']);
    expect(out).toContain('r1 under other (it had pinned test)');
    expect(out).toContain('recorded         halted at c4 (8e22): Cybersecurity pre-mitigation');
    expect(out).toContain(
      'what if          halted at c3 (4e22): Cybersecurity pre-mitigation: estimate 2.83',
    );
    expect(out).toContain('The verdicts part at c3.');
    expect(out).toMatch(/^c3 +4e22 +proceed +halt +≠ +strict$/m);
    expect(out).toMatch(/^c4 +8e22 +halt +halt +after the stop +strict$/m);
    expect(out).toContain('From c3 on the run would have been stopped');
  });

  test('an evaluation that was never run holds, and the evidence that is there is asked apart', async () => {
    const evaluations = [evaluation('ctf', 'cyber'), evaluation('labs', 'bio'), evaluation('web', 'bio')];
    const policy = await policyFile({ rules: [STRICT], evaluations });
    const { code, out } = await say(['what-if', '--run', 'r1', '--policy', policy, '--file', ledger]);
    expect(code).toBe(0);
    expect(out).toContain('what if          held at c1 (1e22): Biology: web (default) is inconclusive');
    expect(out).toContain('of what was run  halted at c3');
    expect(out).toContain('web/default was never run: missing is not safe, so it holds (4 checkpoints)');
  });

  test('--json is one document, and the same for a policy that stops nothing', async () => {
    const policy = await policyFile({ rules: [{ ...STRICT, atLeast: 'critical' }] });
    const argv = ['what-if', '--run', 'r1', '--policy', policy, '--file', ledger];
    const { code, out } = await say([...argv, '--json']);
    const answer = WhatIfSchema.parse(JSON.parse(out));
    expect(code).toBe(0);
    expect(answer).toMatchObject({ runId: 'r1', samePolicy: false, partsAt: 'c4', stop: { whatIf: null } });
    expect((await say(argv)).out).toContain('what if          would not have been stopped');
  });

  test('the policy that the run had pinned agrees with the record', async () => {
    const policy = await file('same.yaml', JSON.stringify(BASE_POLICY));
    const { out } = await say(['what-if', '--run', 'r1', '--policy', policy, '--file', ledger]);
    expect(out).toContain('r1 under test, the policy it had pinned');
    expect(out).toContain('The verdicts agree at every checkpoint.');
  });

  test.each([
    ['a run that is not there', 'r2', {}, 1, 'no run r2'],
    ['a policy that is refused', 'r1', { rules: [] }, 1, 'refused'],
  ])('%s', async (_what, run, changes, expected, complaint) => {
    const policy = await policyFile(changes);
    const { code, out, err } = await say(['what-if', '--run', run, '--policy', policy, '--file', ledger]);
    expect([code, out]).toEqual([expected, '']);
    expect(err).toContain(complaint);
  });

  test.each([
    [
      'a history with a gap',
      () =>
        exported(
          entries
            .filter((_, i) => i !== 3)
            .map((entry, i) => ({ ...entry, version: i < 3 ? Math.max(1, i) : i + 1 })),
        ),
      'does not follow',
    ],
    ['a line that is no event', () => `${exported(entries)}junk\n`, 'line'],
    ['an export without its policy', () => exported(entries.slice(1)), 'holds no policy'],
  ])('%s is no history to judge', async (_what, text, complaint) => {
    const broken = await file('broken.jsonl', text());
    const policy = await policyFile({ rules: [STRICT] });
    const { code, out, err } = await say(['what-if', '--run', 'r1', '--policy', policy, '--file', broken]);
    expect([code, out]).toEqual([2, '']);
    expect(err).toContain(complaint);
  });
});
