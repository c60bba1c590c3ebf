/** Files that people write, as somebody careless or malicious would: policies, interlock.yaml, identities. */
import { statSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { alertChannelConfigSchema } from '../../src/alerts/registry.ts';
import { parseIdentities } from '../../src/config/identities.ts';
import { initDirectory } from '../../src/config/init.ts';
import { ConfigError, loadConfiguration } from '../../src/config/load.ts';
import { readStrictYaml } from '../../src/config/yaml-file.ts';
import type { Json, JsonObject } from '../../src/domain/canonical-json.ts';
import { checkPolicy } from '../../src/domain/policy/check.ts';
import { InterlockError } from '../../src/errors.ts';
import { createOutbound } from '../../src/outbound/outbound.ts';
import { unreachableApprovals } from '../../src/service/approvers.ts';
import { loadPolicies } from '../../src/service/policies.ts';
import { createKeyringFile } from '../../src/signing/keyring.ts';
import { BASE_POLICY, evaluation, policyOf } from './domain/run-life.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'interlock-hostile-'));
  await mkdir(join(dir, 'policies'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const cpuMs = (work: () => unknown): number => {
  const from = process.cpuUsage();
  work();
  return process.cpuUsage(from).user / 1000;
};

/** Paths and words of what `policy check` finds. */
function problems(changes: JsonObject): string[] {
  const check = checkPolicy({ ...BASE_POLICY, ...changes });
  return check.ok ? [] : check.problems.map(({ path, message }) => `${path}: ${message}`);
}
const first = (more: JsonObject): Json[] => [evaluation('ctf', 'cyber', more), evaluation('labs', 'bio')];
const refusedYaml = (text: string): string => {
  const read = readStrictYaml(text);
  return read.ok ? 'taken' : read.problems.map(({ message }) => message).join('; ');
};

describe('policies', () => {
  it.each<[string, JsonObject, RegExp]>([
    [
      'E01 thresholds that fall',
      { evaluations: first({ levels: { medium: 0.5, high: 0.4, critical: 0.8 } }) },
      /^evaluations\.0\.levels\.high: must lie beyond/,
    ],
    [
      'E01 thresholds that are equal',
      { evaluations: first({ levels: { medium: 0.2, high: 0.2, critical: 0.8 } }) },
      /^evaluations\.0\.levels\.high/,
    ],
    [
      'E01 a threshold beyond the best',
      { evaluations: first({ levels: { medium: 0.2, high: 0.5, critical: 1.5 } }) },
      /^evaluations\.0\.levels\.critical/,
    ],
    [
      'E01 a threshold that is no number',
      { evaluations: first({ levels: { medium: 0.2, high: '0.5', critical: 0.8 } }) },
      /^evaluations\.0\.levels\.high: must be a number/,
    ],
    [
      'E02 no required evaluation of a category',
      { evaluations: first({ required: false }) },
      /^categories\.0: .*no required/,
    ],
    [
      'E02 only an evaluation after mitigations',
      { evaluations: first({ stage: 'post-mitigation' }) },
      /^categories\.0: /,
    ],
    [
      'E02 no halting rule',
      { rules: [{ id: 'r', kind: 'level', stage: 'pre-mitigation', atLeast: 'high', then: ['alert'] }] },
      /^rules: no rule halts/,
    ],
    [
      'E02 a halting rule for another category',
      {
        rules: [
          {
            id: 'r',
            kind: 'level',
            stage: 'pre-mitigation',
            atLeast: 'high',
            categories: ['bio'],
            then: ['halt'],
          },
        ],
      },
      /^categories\.0: no rule halts/,
    ],
    [
      'E02 a halting rule that only looks after mitigations',
      { rules: [{ id: 'r', kind: 'level', stage: 'post-mitigation', atLeast: 'high', then: ['halt'] }] },
      /^rules: no rule halts/,
    ],
    ['E04 a typo', { treshold: 1 }, /^treshold: unknown key/],
    [
      'E04 a typo with its right word',
      { cadence: { ratio: 2, grce: 0.1, firstCheckpointBy: 1e22 } },
      /^cadence\.grce: unknown key; did you mean "grace"\?/,
    ],
    [
      'E04 a key inside an evaluation',
      { evaluations: first({ requird: true }) },
      /^evaluations\.0\.requird: .*"required"/,
    ],
    [
      'E05 no deadline',
      { cadence: { firstCheckpointBy: 1e22, holdDeadline: '0s' } },
      /^cadence\.holdDeadline: must be longer than 0/,
    ],
    [
      'E05 a negative deadline',
      { cadence: { firstCheckpointBy: 1e22, holdDeadline: '-1h' } },
      /^cadence\.holdDeadline/,
    ],
    [
      'E05 ten years',
      { cadence: { firstCheckpointBy: 1e22, holdDeadline: '3650d' } },
      /^cadence\.holdDeadline: .*less than 3650d/,
    ],
    [
      'E05 a deadline of letters',
      { cadence: { firstCheckpointBy: 1e22, holdDeadline: '1e3h' } },
      /^cadence\.holdDeadline/,
    ],
    ['E05 a permit of two hours', { permit: { ttl: '2h' } }, /^permit\.ttl: must be at most 1h/],
    [
      'E08 approval by a group that there is not',
      { governance: { groups: ['board'], resume: { approvals: ['owls'] } } },
      /^governance\.resume\.approvals: owls is not one of/,
    ],
    [
      'E08 approval by nobody',
      { governance: { groups: ['board'], resume: { approvals: [] } } },
      /^governance\.resume\.approvals: must not be empty/,
    ],
    [
      'E08 one group twice',
      { governance: { groups: ['board'], resume: { approvals: ['board', 'board'] } } },
      /^governance\.resume\.approvals: board is listed twice/,
    ],
    [
      'E12 a pattern where a name belongs',
      { rules: [{ id: '(a+)+$', kind: 'level', stage: 'pre-mitigation', atLeast: 'high', then: ['halt'] }] },
      /^rules\.0\.id/,
    ],
    [
      'E12 a pattern as a consequence',
      { rules: [{ id: 'r', kind: 'level', stage: 'pre-mitigation', atLeast: 'high', then: ['(a+)+$'] }] },
      /^rules\.0\.then\.0/,
    ],
    [
      'E11 a secret in the open',
      {
        evaluations: first({
          executor: {
            kind: 'http',
            mode: 'sync',
            url: 'https://e.example/',
            secret: 'whsec_abc',
            timeout: '1h',
          },
        }),
      },
      /^evaluations\.0\.executor\.secret/,
    ],
    [
      'E06 an evaluator with credentials in its URL',
      {
        evaluations: first({
          executor: {
            kind: 'http',
            mode: 'sync',
            url: 'https://u:p@e.example/',
            secret: 'env:S',
            timeout: '1h',
          },
        }),
      },
      /^evaluations\.0\.executor\.url/,
    ],
  ])('%s is refused', (_what, changes, message) => {
    const found = problems(changes);
    expect(
      found.find((line) => message.test(line)),
      found.join('\n'),
    ).toBeDefined();
    for (const line of found) expect(line).not.toMatch(/u:p@|whsec_abc/);
  });

  it('E12 a metric is compared as it stands: there are no patterns in a policy', () => {
    const pattern = '(a+)+$';
    const policy = policyOf({
      evaluations: first({
        score: { metric: pattern, kind: 'proportion', chance: 0, best: 1, minSamples: 100 },
      }),
    });
    expect(policy.evaluations[0]?.score.metric).toBe(pattern);
  });

  it('E09 a policy of ten thousand rules is refused in bounded time, with a bounded answer', () => {
    const rule = (i: number) => ({
      id: `r${i}`,
      kind: 'level',
      stage: 'pre-mitigation',
      atLeast: 'high',
      thne: ['halt'],
    });
    const rules = Array.from({ length: 10_000 }, (_, i) => rule(i));
    let found: string[] = [];
    expect(cpuMs(() => (found = problems({ rules })))).toBeLessThan(3_000);
    expect(found.length).toBeGreaterThan(0);
    expect(found.length).toBeLessThanOrEqual(100);
    const many = problems({ rules: rules.map(({ thne, ...rest }) => ({ ...rest, then: thne })) });
    expect(many).toEqual(['rules: must have at most 100 elements']);
  });

  it('E09 a file larger than a mebibyte is not read', () => {
    expect(refusedYaml(`a: ${'x'.repeat(1024 * 1024)}`)).toContain('larger than 1 MiB');
  });

  it('E04 a policy that is not named as its file is refused', async () => {
    await writeFile(join(dir, 'policies', 'other.yaml'), JSON.stringify(BASE_POLICY));
    await expect(loadPolicies(join(dir, 'policies'))).rejects.toThrow(/must be named as its file/);
  });

  it('E08 sign-offs that can never come together are said', () => {
    const policy = policyOf();
    const person = (id: string, ...groups: string[]) => ({ id, groups });
    const said = (...people: ReturnType<typeof person>[]) => unreachableApprovals([policy], people);
    expect(said(person('ann', 'leadership'), person('bob', 'safety'))).toEqual([]);
    expect(said(person('ann', 'leadership', 'safety'), person('bob', 'safety'))).toEqual([]);
    expect(said(person('bob', 'safety'), person('ann', 'leadership', 'safety'))).toEqual([]);
    expect(said(person('ann', 'leadership'))).toEqual([
      expect.stringContaining('needs safety, and no identity'),
    ]);
    expect(said(person('ann', 'leadership', 'safety'))).toEqual([
      expect.stringContaining('a different person'),
    ]);
  });
});

describe('YAML', () => {
  const bomb = Array.from(
    { length: 30 },
    (_, i) => `b${i}: &b${i} [*${i === 0 ? 'a' : `b${i - 1}`}, *${i === 0 ? 'a' : `b${i - 1}`}]`,
  );
  it.each<[string, string, RegExp]>([
    ['E03 a bomb of anchors', ['a: &a [x, x]', ...bomb].join('\n'), /aliases/],
    ['E03 an anchor that names itself', 'a: &a [*a]', /./],
    ['E03 a function', 'a: !!js/function "function () { return 1 }"', /tags/],
    ['E03 any tag', 'a: !!python/object/apply:os.system ["id"]', /tags/],
    ['E03 a set', 'a: !!set { b }', /./],
    ['E03 a key twice', 'a: 1\na: 2', /twice/],
    ['E03 a key twice in another spelling', 'a: 1\n"\\u0061": 2', /twice/],
    ['E03 an octal number', 'a: 010', /begin with 0/],
    ['E03 a merge key', 'x: &x { a: 1 }\ny: { <<: *x }', /<</],
    ['E03 a prototype', '__proto__: { admin: true }', /__proto__/],
    ['E03 YAML 1.1', '%YAML 1.1\n---\na: no', /1\.2/],
    ['E03 two documents', 'a: 1\n---\na: 2', /one document/],
    ['E03 a key that is no text', '[1]: 2', /text/],
    ['E03 ten thousand brackets', '['.repeat(10_000), /./],
    [
      'E03 two hundred brackets, which no machine needs to recurse for',
      `${'['.repeat(200)}${']'.repeat(200)}`,
      /nested too deeply/,
    ],
    [
      'E03 two hundred maps',
      Array.from({ length: 200 }, (_, i) => `${' '.repeat(i)}a:`).join('\n'),
      /nested too deeply/,
    ],
    ['E03 ten thousand dashes', `${'- '.repeat(10_000)}a`, /./],
  ])('%s is refused', (_what, text, message) => expect(refusedYaml(text)).toMatch(message));

  it('E03 no is a word and not a boolean', () => {
    const read = readStrictYaml('a: no\nb: yes\nc: on\nd: 1_000\ne: 0o17\nf: 1:30');
    expect(read.ok && read.yaml.value).toEqual({ a: 'no', b: 'yes', c: 'on', d: '1_000', e: 15, f: '1:30' });
    expect(problems({ evaluations: first({ required: 'no' }) })).toEqual([
      'evaluations.0.required: must be true or false',
    ]);
  });

  it.each<[string, string]>([
    ['X28 fifty thousand keys', Array.from({ length: 50_000 }, (_, i) => `k${i}: 1`).join('\n')],
    ['X28 a megabyte of one digit', `a: ${'9'.repeat(1_000_000)}`],
    ['X28 a megabyte of blanks', ' '.repeat(1_000_000)],
    ['X28 a megabyte of one comment', '#'.repeat(1_000_000)],
    ['X28 a megabyte of one folded text', `a: >\n${'  x\n'.repeat(200_000)}`],
    ['X28 a megabyte of escapes', `a: "${'\\n'.repeat(400_000)}"`],
    ['X28 a megabyte of colons', 'a:'.repeat(200_000)],
  ])('%s takes no longer than its length', (_what, text) => {
    expect(cpuMs(() => readStrictYaml(text))).toBeLessThan(3_000);
  });
});

describe('interlock.yaml', () => {
  async function load(text: string, identities = IDENTITIES, mode = 0o600): Promise<string[]> {
    await writeFile(join(dir, 'identities.yaml'), identities, { mode });
    await chmod(join(dir, 'identities.yaml'), mode);
    await writeFile(join(dir, 'interlock.yaml'), text, { mode: 0o600 });
    try {
      await loadConfiguration(join(dir, 'interlock.yaml'), {
        env: {},
        alertSchema: alertChannelConfigSchema,
      });
      return [];
    } catch (error) {
      if (error instanceof ConfigError)
        return error.problems.map(({ path, message }) => `${path}: ${message}`);
      throw error;
    }
  }
  const IDENTITIES = `identities:\n  - { id: op, name: Op, roles: [operator], tokenHashes: ["sha256:${'0'.repeat(64)}"] }\n`;
  const MINIMAL = 'policies: { default: p }\n';

  it.each<[string, string, RegExp]>([
    [
      'E04 an unknown key',
      `${MINIMAL}outbund: { allow: [] }`,
      /outbund: unknown key; did you mean "outbound"/,
    ],
    [
      'E05 a port beyond the last',
      `${MINIMAL}server: { port: 65536 }`,
      /server\.port: must be at most 65535/,
    ],
    [
      'E06 a public address with credentials',
      `${MINIMAL}server: { publicUrl: "https://u:p@x.example/" }`,
      /server\.publicUrl: must be an http or https URL without credentials/,
    ],
    [
      'E06 a public address with a fragment',
      `${MINIMAL}server: { publicUrl: "https://x.example/#y" }`,
      /server\.publicUrl/,
    ],
    [
      'E11 a database password in the file',
      `${MINIMAL}database: { url: "postgres://u:hunter2@db/x" }`,
      /database\.url: has a password in the file/,
    ],
    [
      'E11 a Redis password in the file',
      `${MINIMAL}redis: { url: "redis://:hunter2@r" }`,
      /redis\.url: has a password in the file/,
    ],
    [
      'E05 no workers',
      `${MINIMAL}evaluators: { concurrency: 0 }`,
      /evaluators\.concurrency: must be at least 1/,
    ],
  ])('%s is refused', async (_what, text, message) => {
    const found = await load(text);
    expect(
      found.find((line) => message.test(line)),
      found.join('\n'),
    ).toBeDefined();
    expect(found.join('\n')).not.toMatch(/hunter2|u:p@/);
  });

  it.each<[string, string, number, RegExp]>([
    ['E11 a secret of eight bytes', 'webhookSecrets: ["whsec_AAAAAAAAAAA="]', 0o600, /24 to 64/],
    [
      'E11 a secret in a file that all can read',
      `webhookSecrets: ["whsec_${'A'.repeat(43)}="]`,
      0o644,
      /others can read/,
    ],
    ['E11 a token itself instead of its hash', 'tokenHashes: ["ilk_abc"]', 0o600, /must be|sha256/],
    ['E10 an id that somebody has', 'id: op', 0o600, /used by another identity|twice/],
    ['E10 a token that somebody has', `tokenHashes: ["sha256:${'0'.repeat(64)}"]`, 0o600, /also held by/],
    ['E08 the role of governance without a group', 'roles: [governance]', 0o600, /must be one of/],
  ])('%s is refused', async (_what, member, mode, message) => {
    const id = member.startsWith('id:') ? '' : 'id: other, ';
    const found = await load(MINIMAL, `${IDENTITIES}  - { ${id}name: Other, ${member} }\n`, mode);
    expect(
      found.find((line) => message.test(line)),
      found.join('\n'),
    ).toBeDefined();
    expect(found.join('\n')).not.toMatch(/whsec_A|ilk_abc/);
  });

  it.each([
    '169.254.169.254',
    '169.254.0.0/16',
    '0xa9fea9fe',
    '[fe80::1]',
    'fd00:ec2::254',
    '::ffff:169.254.169.254',
    '64:ff9b::a9fe:a9fe',
    '224.0.0.0/4',
    '10.0.0.1/8',
    'http://u:p@host',
    'host/path',
    'https://host/path',
    'host:0',
    'host:99999',
    '*.example',
    'a b',
    'http://',
    '%zz',
    '',
  ])('E06 outbound.allow: %j is refused at start', (entry) => {
    expect(() => createOutbound({ allow: [entry] })).toThrow(InterlockError);
  });

  it('E06 a look-alike is another host', () => {
    const outbound = createOutbound({ allow: ['halts.example'] });
    for (const url of [
      'https://h\u0430lts.example/',
      'https://hal\u017fs.example/',
      'https://halts.example.evil/',
    ]) {
      expect(outbound.refusal(url), url).toMatch(/not in outbound\.allow/);
    }
    expect(outbound.refusal('https://HALTS.example/')).toBeNull();
  });

  it('E10 an id stands for one person, once', () => {
    const entry = (id: string) => ({ id, name: id, roles: ['operator'] });
    const parsed = parseIdentities({
      value: { identities: [entry('ann'), entry('ann')] },
      isSharedFile: false,
      env: {},
    });
    expect(parsed.ok).toBe(false);
  });

  it('E11 the file that init writes is its owner’s alone', async () => {
    const target = join(dir, 'fresh');
    await initDirectory(target, {
      createKeyringFile,
      policies: [{ name: 'test', text: JSON.stringify(BASE_POLICY) }],
    });
    for (const file of ['identities.yaml', 'signing-key.json']) {
      expect(statSync(join(target, file)).mode & 0o077, file).toBe(0);
    }
    expect(await readFile(join(target, 'identities.yaml'), 'utf8')).not.toContain('ilk_');
  });
});
