/** Which targets stop a run against its trainer's will, and what follows where none does. */
import { describe, expect, it } from 'vitest';
import type { Json, JsonObject } from '../../../src/domain/canonical-json.ts';
import { checkPolicy } from '../../../src/domain/policy/check.ts';
import { independenceWarnings } from '../../../src/domain/policy/independence.ts';
import type { RunTarget } from '../../../src/domain/run/halt-documents.ts';
import { dependenceOf, runWarnings } from '../../../src/domain/run/independence.ts';
import {
  BASE_POLICY,
  PROCESS_TARGET,
  policyOf,
  RunLife,
  registered,
  registration,
  WEBHOOK_TARGET,
} from './run-life.ts';

const target = (kind: string, config: JsonObject = {}, more: Partial<RunTarget> = {}): RunTarget => ({
  targetId: 't1',
  kind,
  config,
  ladder: WEBHOOK_TARGET.ladder,
  confirmation: 'observed',
  ...more,
});
const slurm = target('slurm', { cluster: 'train', jobId: 7 }, { targetId: 't3' });
const own = { secret: 'env:HALT_SECRET' };

describe('a target', () => {
  it.each<[string, RunTarget, RegExp | null]>([
    ['slurm', slurm, null],
    ['kubernetes', target('kubernetes'), null],
    ['ray', target('ray'), null],
    ['command', target('command'), null],
    ['a process', target('process', { pid: 7 }), /Interlock's own machine/],
    ['a webhook with the secret of the trainer', target('webhook'), /whoever registered/],
    [
      "a webhook with the trainer's secret, at the operator's",
      target('webhook', {}, { receiver: 'operator' }),
      /whoever registered/,
    ],
    ['a webhook with its own secret, somewhere', target('webhook', own), /may be received by the trainer/],
    [
      "a webhook with its own secret, at the operator's",
      target('webhook', own, { receiver: 'operator' }),
      null,
    ],
    ['what nobody knows', target('pager'), /not known here/],
    ['the name of a member', target('constructor'), /not known here/],
  ])('%s is independent of the trainer, or says why not', (_name, one, why) => {
    if (why === null) expect(dependenceOf(one)).toBeNull();
    else expect(dependenceOf(one)).toMatch(why);
  });
});

describe('a run', () => {
  const REQUIRING = policyOf({ halt: { independentTarget: 'require' } });

  it('is warned of that has none, with what each of its targets hangs on', () => {
    const { state } = registered(policyOf(), { targets: [WEBHOOK_TARGET, PROCESS_TARGET] });
    expect(runWarnings(state)).toEqual([
      {
        path: 'targets',
        message: expect.stringMatching(
          /^no target is independent of the trainer: t1 \(webhook\) is .*; t2 \(process\) is .*: add one of kind slurm,/,
        ),
      },
    ]);
  });

  it('is not warned of that has one among others, or that is finished', () => {
    const { state } = registered(policyOf(), { targets: [WEBHOOK_TARGET, slurm] });
    expect(runWarnings(state)).toEqual([]);
    expect(runWarnings({ targets: [WEBHOOK_TARGET], finishedAt: '2026-11-01T00:00:00Z' })).toEqual([]);
  });

  it.each([undefined, 'warn'])('is registered without one where the policy says %s', (stated) => {
    const policy = policyOf({ halt: stated === undefined ? {} : { independentTarget: stated } });
    expect(registered(policy).state.targets).toHaveLength(1);
  });

  it('is refused without one where the policy requires one, an operator too, and taken with one', () => {
    for (const operator of [false, true]) {
      expect(new RunLife(REQUIRING).refuses(registration({ operator }))).toMatchObject({
        code: 'invalid',
        path: 'targets',
        message: expect.stringMatching(/^no target is independent .*; policy test requires one: add one of/),
      });
    }
    expect(registered(REQUIRING, { targets: [WEBHOOK_TARGET, slurm] }).state.targets).toHaveLength(2);
  });
});

describe('a policy', () => {
  const pathsAndWords = (independentTarget: Json | undefined, offers: boolean | null): string[] =>
    independenceWarnings(
      policyOf({ halt: independentTarget === undefined ? {} : { independentTarget } }),
      offers,
    ).map(({ path, message }) => `${path} ${message}`);

  it('is warned of that does not require one, with what to set', () => {
    for (const stated of [undefined, 'warn']) {
      expect(pathsAndWords(stated, null)).toEqual([
        expect.stringMatching(/^halt\.independentTarget is not require: .*; set it to require$/),
      ]);
    }
    expect(pathsAndWords('require', null)).toEqual([]);
  });

  it('is warned of whose site offers none, and what follows depends on whether it requires one', () => {
    expect(pathsAndWords('require', true)).toEqual([]);
    expect(pathsAndWords('require', false)).toEqual([expect.stringContaining('no run can be registered')]);
    expect(pathsAndWords('warn', false)).toHaveLength(2);
    expect(pathsAndWords('warn', false)[1]).toContain("against its trainer's will");
  });

  it('that says nothing of it holds nothing of it: its digest is what runs have pinned', () => {
    expect(policyOf().halt).toEqual({ confirmWithin: '2m' });
  });

  it('with another word is refused', () => {
    expect(checkPolicy({ ...BASE_POLICY, halt: { independentTarget: 'always' } })).toMatchObject({
      ok: false,
      problems: [{ path: 'halt.independentTarget' }],
    });
  });
});
