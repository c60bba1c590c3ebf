import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { hashToken } from '../../src/config/credentials.ts';
import { parseIdentities } from '../../src/config/identities.ts';
import { initDirectory } from '../../src/config/init.ts';
import { ConfigError, loadConfiguration } from '../../src/config/load.ts';
import { readStrictYaml } from '../../src/config/yaml-file.ts';
import { createKeyringFile, loadKeyring } from '../../src/signing/keyring.ts';

const alertSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    name: z.string(),
    kind: z.literal('slack'),
    url: z.string().startsWith('env:', 'must be env:NAME'),
  }),
  z.strictObject({ name: z.string(), kind: z.literal('webhook'), url: z.url() }),
]);

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'interlock-config-'));
  await mkdir(join(dir, 'policies'));
  await writeFile(join(dir, 'identities.yaml'), IDENTITIES, { mode: 0o600 });
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const IDENTITIES = `identities:
  - { id: op, name: Op, roles: [operator], tokenHashes: ["sha256:${'0'.repeat(64)}"] }
`;
const MINIMAL = 'policies: { default: preparedness-beta }\n';

async function load(text: string, env: Record<string, string> = {}) {
  const file = join(dir, 'interlock.yaml');
  await writeFile(file, text, { mode: 0o600 });
  return loadConfiguration(file, { env, alertSchema });
}

async function problems(
  text: string,
  env: Record<string, string> = {},
): Promise<[number | null, string, string][]> {
  try {
    await load(text, env);
  } catch (error) {
    if (error instanceof ConfigError)
      return error.problems.map(({ line, path, message }) => [line, path, message]);
    throw error;
  }
  return [];
}

describe('configuration', () => {
  it('makes no outside evaluator of a person whom a provider vouches for', async () => {
    const provider = (roles: string) =>
      `${MINIMAL}oidc: [{ name: corp, issuer: "https://id.example", audience: a, groupMap: { g: { roles: [${roles}] } } }]\n`;
    expect(await problems(provider('operator'))).toEqual([]);
    expect(await problems(provider('operator, outside-evaluator'))).toEqual([
      [
        expect.any(Number),
        expect.stringMatching(/^oidc\[0\]\.groupMap.*roles$/),
        expect.stringContaining('a key of its own'),
      ],
    ]);
  });

  it('has defaults for all but the policy, absolute paths, and is frozen', async () => {
    const config = await load(MINIMAL);
    expect(config).toMatchObject({
      server: { host: '127.0.0.1', port: 8080, publicUrl: null },
      dataDir: join(dir, 'data'),
      signingKey: join(dir, 'signing-key.json'),
      policies: { directory: join(dir, 'policies'), default: 'preparedness-beta' },
      database: { url: null, directUrl: null },
      orchestrators: { webhook: { enabled: true }, process: { enabled: false } },
      roles: ['api', 'worker', 'scheduler', 'button'],
      button: { host: '127.0.0.1', port: 8112 },
      logLevel: 'info',
    });
    expect(config.identities[0]).toMatchObject({ id: 'op', roles: ['operator'] });
    expect(
      Object.isFrozen(config) && Object.isFrozen(config.server) && Object.isFrozen(config.identities[0]),
    ).toBe(true);
  });

  it('reports every problem of both files at once, with line, path and what would be right', async () => {
    await writeFile(
      join(dir, 'identities.yaml'),
      'identities:\n  - { id: "a b", name: A, role: [trainer] }\n  - { id: x, name: X, roles: [boss] }\n',
    );
    const found = await problems(
      'server:\n  prot: 8080\n  port: "80"\npolicies:\n  default: p\n  directroy: x\nalert: []\nroles: [api, wroker]\n',
    );
    expect(found).toEqual(
      expect.arrayContaining([
        [expect.any(Number), 'server.prot', 'unknown key; did you mean "port"?'],
        [3, 'server.port', 'must be a number'],
        [expect.any(Number), 'policies.directroy', 'unknown key; did you mean "directory"?'],
        [expect.any(Number), 'alert', 'unknown key; did you mean "alerts"?'],
        [8, 'roles[1]', expect.stringContaining('"worker"')],
        [2, 'identities[0].id', expect.stringContaining('letters, digits')],
        [expect.any(Number), 'identities[0].role', 'unknown key; did you mean "roles"?'],
        [3, 'identities[1].roles[0]', expect.stringContaining('"trainer"')],
      ]),
    );
  });

  it.each<[string, string, string, RegExp]>([
    ['no policy', 'server: {}', 'policies', /is required/],
    ['an empty file', '', '', /must be an object/],
    ['a port out of range', `${MINIMAL}server: { port: 70000 }`, 'server.port', /at most 65535/],
    [
      'a public URL with credentials',
      `${MINIMAL}server: { publicUrl: "https://a:b@x" }`,
      'server.publicUrl',
      /without credentials/,
    ],
    [
      'a database password in the file',
      `${MINIMAL}database: { url: "postgres://u:hunter2@db/x" }`,
      'database.url',
      /env:NAME/,
    ],
    [
      'a database of another kind',
      `${MINIMAL}database: { url: "mysql://db/x" }`,
      'database.url',
      /postgres:\/\//,
    ],
    [
      'an environment variable that is not set',
      `${MINIMAL}database: { url: env:NO_SUCH }`,
      'database.url',
      /NO_SUCH is not set/,
    ],
    ['Redis without a database', `${MINIMAL}redis: { url: "redis://r" }`, 'redis.url', /needs database\.url/],
    [
      'a policy directory that is not there',
      'policies: { default: p, directory: nowhere }',
      'policies.directory',
      /not a directory/,
    ],
    ['one port for two doors', `${MINIMAL}button: { port: 8080 }`, 'button.port', /own port/],
    ['a role twice', `${MINIMAL}roles: [api, api]`, 'roles', /twice/],
    ['no role', `${MINIMAL}roles: []`, 'roles', /must not be empty/],
    [
      'process halts for remote callers',
      `${MINIMAL}server: { host: 0.0.0.0 }\norchestrators: { process: { enabled: true } }`,
      'orchestrators.process.enabled',
      /loopback/,
    ],
    [
      'Kubernetes without a cluster',
      `${MINIMAL}orchestrators: { kubernetes: { enabled: true } }`,
      'orchestrators.kubernetes.clusters',
      /at least one cluster/,
    ],
    [
      'a kubeconfig that depends on where Interlock is started',
      `${MINIMAL}orchestrators: { kubernetes: { enabled: true, clusters: { a: { kubeconfig: config } } } }`,
      'orchestrators.kubernetes.clusters.a.kubeconfig',
      /absolute path/,
    ],
    [
      'two channels of one name',
      `${MINIMAL}alerts: [{ name: a, kind: webhook, url: "https://x" }, { name: a, kind: webhook, url: "https://y" }]`,
      'alerts[1].name',
      /another channel/,
    ],
    [
      'a channel that its own schema refuses',
      `${MINIMAL}alerts: [{ name: a, kind: slack, url: "https://x" }]`,
      'alerts[0].url',
      /must be env:NAME/,
    ],
    [
      'a kind of channel that does not exist',
      `${MINIMAL}alerts: [{ name: a, kind: fax }]`,
      'alerts[0].kind',
      /slack/,
    ],
    [
      'a label without a value',
      'policies: { default: p, byLabel: { tier: p } }',
      'policies.byLabel.tier',
      /label=value/,
    ],
    [
      'a Ray cluster with a password in its address',
      `${MINIMAL}orchestrators: { ray: { enabled: true, clusters: { blue: { url: "http://u:hunter2@ray:8265" } } } }`,
      'orchestrators.ray.clusters.blue.url',
      /without credentials/,
    ],
    [
      'a Ray token in the file',
      `${MINIMAL}orchestrators: { ray: { clusters: { blue: { url: "http://ray:8265", token: hunter2 } } } }`,
      'orchestrators.ray.clusters.blue.token',
      /absolute path of a file/,
    ],
    [
      'a header that frames the request',
      `${MINIMAL}orchestrators: { ray: { clusters: { blue: { url: "http://ray:8265", headers: { host: "env:X" } } } } }`,
      'orchestrators.ray.clusters.blue.headers.host',
      /none that frames/,
    ],
    [
      'a command by a relative path',
      `${MINIMAL}orchestrators: { command: { commands: { lab: { stop: [stop.sh], status: [/opt/s] } } } }`,
      'orchestrators.command.commands.lab.stop',
      /absolute path of a program/,
    ],
    [
      'a command without a status',
      `${MINIMAL}orchestrators: { command: { commands: { lab: { stop: [/opt/s] } } } }`,
      'orchestrators.command.commands.lab.status',
      /is required/,
    ],
    [
      'a receiver with a path, which would hold for all of its host',
      `${MINIMAL}orchestrators: { webhook: { independentReceivers: ["https://halts.example/a"] } }`,
      'orchestrators.webhook.independentReceivers[0]',
      /without a path/,
    ],
    [
      'no as a boolean',
      `${MINIMAL}orchestrators: { webhook: { enabled: no } }`,
      'orchestrators.webhook.enabled',
      /must be true or false/,
    ],
  ])('refuses %s', async (_, text, path, message) => {
    const found = await problems(text);
    expect(found.map(([, at]) => at)).toEqual([path]);
    expect(found[0]?.[2]).toMatch(message);
  });

  it('lets the environment override the stores, and never prints what it says', async () => {
    const config = await load(`${MINIMAL}database: { url: env:OTHER }`, {
      DATABASE_URL: 'postgres://u:hunter2@db/interlock',
      REDIS_URL: 'rediss://:hunter2@queue',
      DATABASE_DIRECT_URL: '',
    });
    expect(config.database.url?.reveal()).toBe('postgres://u:hunter2@db/interlock');
    expect(config.database.directUrl).toBeNull();
    expect(JSON.stringify(config)).not.toContain('hunter2');
    const [wrong] = await problems(MINIMAL, { DATABASE_URL: 'hunter2' });
    expect(wrong?.[2]).toMatch(/DATABASE_URL must be a URL/);
    expect(JSON.stringify(wrong)).not.toContain('hunter2');
  });

  it('never repeats a value in a problem', async () => {
    const text =
      'server: { host: 7, port: canary-1 }\nissuer: "canary 2"\npolicies: canary-3\nlogLevel: canary-4\n';
    expect(JSON.stringify(await problems(text))).not.toContain('canary');
  });

  it.each([
    [0o600, true],
    [0o640, false],
    [0o604, false],
  ])('takes a secret that stands in an identities file of mode %o: %s', async (mode, isTaken) => {
    const secret = `whsec_${Buffer.alloc(32).toString('base64')}`;
    await rm(join(dir, 'identities.yaml'));
    const text = `identities: [{ id: t, name: T, webhookSecrets: ["${secret}"] }]\n`;
    await writeFile(join(dir, 'identities.yaml'), text);
    await chmod(join(dir, 'identities.yaml'), mode);
    const found = await problems(MINIMAL);
    expect(found.map(([, path]) => path)).toEqual(isTaken ? [] : ['identities[0].webhookSecrets[0]']);
    expect(JSON.stringify(found)).not.toContain(secret);
  });

  it('says how to begin where there is no file', async () => {
    await expect(loadConfiguration(join(dir, 'none.yaml'), { env: {}, alertSchema })).rejects.toThrow(
      /interlock init --dir/,
    );
  });

  it.each([
    ['interlock.yaml', 'config/interlock.yaml'],
    ['identities.example.yaml', 'config/identities.example.yaml'],
  ])('accepts the committed %s', async (name, path) => {
    const text = await readFile(path, 'utf8');
    if (name === 'interlock.yaml') expect(await problems(text)).toEqual([]);
    else {
      const yaml = readStrictYaml(text);
      const env = { TRAINER_WEBHOOK_SECRET: `whsec_${Buffer.alloc(32).toString('base64')}` };
      const value = yaml.ok ? yaml.yaml.value : null;
      expect(parseIdentities({ value, isSharedFile: true, env })).toMatchObject({ ok: true });
    }
  });
});

describe('strict YAML', () => {
  const bomb = `a: &a [x, x, x, x, x, x, x, x, x]\n${'bcdefgh'
    .split('')
    .map((k, i) => `${k}: &${k} [${Array(9).fill(`*${'abcdefg'[i]}`).join(', ')}]`)
    .join('\n')}\n`;
  it.each<[string, string, RegExp]>([
    ['a duplicate key', 'a: 1\nb: 2\na: 3\n', /stated twice/],
    ['a merge key', 'a: &x { b: 1 }\nc: { <<: *x }\n', /<< is not allowed/],
    ['a bomb of aliases', bomb, /too many aliases/],
    ['a function tag', 'a: !!js/function "function () {}"\n', /tags are not allowed/],
    ['a custom tag', 'a: !secret x\n', /tags are not allowed/],
    ['another version', '%YAML 1.1\n---\na: no\n', /YAML 1\.2/],
    ['two documents', 'a: 1\n---\nb: 2\n', /one document/],
    ['a leading zero', 'a: 010\n', /must not begin with 0/],
    ['a prototype key', '__proto__: { a: 1 }\n', /__proto__ is not allowed/],
    ['a key that is no text', '? [a]\n: 1\n', /must be text|not valid/],
    ['tabs', 'a:\n\tb: 1\n', /tabs|not valid|indentation/],
    ['deep nesting', `a: ${'['.repeat(100_000)}`, /too deeply|not valid/],
    ['a file over 1 MiB', `# ${'x'.repeat(1024 * 1024)}`, /larger than 1 MiB/],
  ])('refuses %s', (_, text, message) => {
    const result = readStrictYaml(text);
    expect(result.ok ? [] : result.problems.map((p) => p.message)).toEqual(
      expect.arrayContaining([expect.stringMatching(message)]),
    );
  });

  it('reads no, on and yes as text, 0o10 as a number, and a few aliases', () => {
    const result = readStrictYaml('a: no\nb: on\nc: 0o10\nd: &d [1]\ne: *d\n');
    expect(result.ok && result.yaml.value).toEqual({ a: 'no', b: 'on', c: 8, d: [1], e: [1] });
  });
});

describe('init', () => {
  const policies = [{ name: 'preparedness-beta', text: 'policy: preparedness-beta\n' }];

  it('writes a directory that loads as it is, for its owner alone', async () => {
    const target = join(dir, 'made', 'here');
    const made = await initDirectory(target, { createKeyringFile, policies });
    const config = await loadConfiguration(made.configFile, { env: {}, alertSchema });
    expect(config.identities.map(({ id, roles }) => `${id}: ${roles.join(' ')}`)).toEqual([
      'trainer: trainer',
      'evaluator: evaluator',
      'operator: operator',
      'oncall: oncall',
      'auditor: auditor',
      'preparedness: governance',
      'safety-advisory: governance',
      'leadership: governance',
      'board: governance',
    ]);
    expect(Object.keys(made.tokens)).toEqual(config.identities.map(({ id }) => id));
    for (const { id, tokens } of config.identities) {
      expect(tokens.map(({ hash }) => `sha256:${hash}`)).toEqual([hashToken(made.tokens[id] ?? '')]);
      expect(tokens.every(({ expiresAt }) => expiresAt !== null)).toBe(true);
    }
    expect(config.identities[0]?.webhookSecrets.map((s) => s.reveal())).toEqual([
      made.webhookSecrets['trainer'],
    ]);
    expect(config).toMatchObject({
      outbound: { allow: ['loopback'] },
      orchestrators: { process: { enabled: true } },
    });
    expect((await loadKeyring(config.signingKey)).jwks().keys).toHaveLength(1);
    for (const path of [
      '',
      'policies',
      'interlock.yaml',
      'identities.yaml',
      'signing-key.json',
      'policies/preparedness-beta.yaml',
    ]) {
      const { mode } = await stat(join(target, path));
      expect(mode & 0o077, path).toBe(0);
    }
    const written = await Promise.all(
      ['interlock.yaml', 'identities.yaml'].map((f) => readFile(join(target, f), 'utf8')),
    );
    for (const token of Object.values(made.tokens)) expect(written.join('')).not.toContain(token);
  });

  it.each(['interlock.yaml', 'identities.yaml', 'signing-key.json', 'policies/preparedness-beta.yaml'])(
    'overwrites nothing where %s is there, and writes nothing else',
    async (name) => {
      const target = join(dir, 'there');
      await mkdir(join(target, 'policies'), { recursive: true });
      await writeFile(join(target, name), 'mine');
      await expect(initDirectory(target, { createKeyringFile, policies })).rejects.toMatchObject({
        code: 'config.exists',
      });
      expect(await readFile(join(target, name), 'utf8')).toBe('mine');
      if (name !== 'interlock.yaml') await expect(stat(join(target, 'interlock.yaml'))).rejects.toThrow();
    },
  );
});
