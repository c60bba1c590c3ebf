/**
 * `interlock init`: writes a directory from which the service starts as it is.
 *
 * Nothing is overwritten: one file that is there stops it before anything is written. Everything is
 * readable by its owner alone. Tokens and secrets are returned once; of tokens only hashes are kept.
 * interlock.yaml comes last, so that a directory left half-written by a crash cannot be served from.
 */
import { randomBytes } from 'node:crypto';
import { access, mkdir, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { InterlockError } from '../errors.ts';
import { generateSharedSecret, generateToken, generateTokenId, hashToken } from './credentials.ts';

export interface InitDependencies {
  /** From signing/keyring.ts; writes the file itself, mode 0600. */
  createKeyringFile: (path: string) => Promise<unknown>;
  /** The policy files to begin with, by file name; the first is the default. */
  policies: readonly { name: string; text: string }[];
}

export interface Initialised {
  configFile: string;
  tokens: Record<string, string>;
  webhookSecrets: Record<string, string>;
}

interface Person {
  id: string;
  name: string;
  roles: readonly string[];
  groups: readonly string[];
}

const governor = (id: string, name: string): Person => ({ id, name, roles: [], groups: [id] });

/** Long enough to try things out; then `interlock token create` makes the next. */
const TOKEN_DAYS = 365;

/** Each a distinct person: one person counts once, whatever groups they are in. */
const PEOPLE: readonly Person[] = [
  { id: 'trainer', name: 'Trainer', roles: ['trainer'], groups: [] },
  { id: 'evaluator', name: 'Evaluator', roles: ['evaluator'], groups: [] },
  { id: 'operator', name: 'Operator', roles: ['operator'], groups: [] },
  { id: 'oncall', name: 'On call', roles: ['oncall'], groups: [] },
  { id: 'auditor', name: 'Auditor', roles: ['auditor'], groups: [] },
  governor('preparedness', 'Preparedness'),
  governor('safety-advisory', 'Safety advisory group'),
  governor('leadership', 'Leadership'),
  governor('board', 'Board'),
];

export async function initDirectory(
  dir: string,
  { createKeyringFile, policies }: InitDependencies,
): Promise<Initialised> {
  const [first] = policies;
  if (first === undefined) throw new TypeError('init needs a policy to begin with');
  const root = resolve(dir);
  const configFile = join(root, 'interlock.yaml');
  const identitiesFile = join(root, 'identities.yaml');
  const keyFile = join(root, 'signing-key.json');
  const policyFiles = policies.map(({ name, text }) => ({
    path: join(root, 'policies', `${name}.yaml`),
    text,
  }));
  for (const path of [configFile, identitiesFile, keyFile, ...policyFiles.map(({ path }) => path)]) {
    if (await exists(path)) {
      throw new InterlockError(`${path} is there already; init overwrites nothing`, {
        code: 'config.exists',
      });
    }
  }

  const tokens = Object.fromEntries(PEOPLE.map(({ id }) => [id, generateToken()]));
  const webhookSecrets = { trainer: generateSharedSecret() };

  await mkdir(join(root, 'policies'), { recursive: true, mode: 0o700 });
  for (const { path, text } of policyFiles) await write(path, text);
  await createKeyringFile(keyFile);
  await write(identitiesFile, identitiesYaml(tokens, webhookSecrets));
  await write(configFile, configYaml(first.name, `urn:interlock:${randomBytes(8).toString('hex')}`));
  return { configFile, tokens, webhookSecrets };
}

async function write(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFile(path, text, { flag: 'wx', mode: 0o600 });
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}

/** Ids and names above need no quoting; credentials are quoted. */
function identitiesYaml(tokens: Record<string, string>, webhookSecrets: Record<string, string>): string {
  const at = (days: number): string =>
    `${new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 19)}Z`;
  const entries = PEOPLE.map(({ id, name, roles, groups }) => {
    const secret = webhookSecrets[id];
    return [
      `  - id: ${id}`,
      `    name: ${name}`,
      `    roles: [${roles.join(', ')}]`,
      `    groups: [${groups.join(', ')}]`,
      '    tokens:',
      `      - { id: ${generateTokenId()}, hash: "${hashToken(tokens[id] ?? '')}", createdAt: "${at(0)}", expiresAt: "${at(TOKEN_DAYS)}" }`,
      ...(secret === undefined ? [] : [`    webhookSecrets: ["${secret}"]`]),
    ].join('\n');
  });
  return `# Who may speak to Interlock. Each entry is one person or one machine: a sign-off counts persons.
#
# A running service takes a changed file over within a second; a broken one changes nothing and is logged.
#
# roles:  trainer evaluator operator oncall auditor orchestrator
# groups: governance groups, as the policy names them; any of them may press the red button
# tokens: bearer tokens, by hash; "interlock token create" and its like write here. A token is shown once
# webhookSecrets: "env:NAME", or "whsec_..." in a file that only its owner can read (as this one);
#                 several while one is being replaced
# publicKeys:     "whpk_..." Ed25519 keys of senders that sign v1a
identities:
${entries.join('\n')}
`;
}

function configYaml(policy: string, issuer: string): string {
  return `# Interlock configuration. Relative paths start at this file. Unknown keys are refused.
# Secrets and store addresses come from the environment: DATABASE_URL, DATABASE_DIRECT_URL, REDIS_URL.

server:
  host: 127.0.0.1
  port: 8080
  # publicUrl: https://interlock.example     # how evaluators and people reach this service

# Stands in every permit and halt order as iss; trainers pin it.
issuer: ${issuer}

# Without DATABASE_URL, Interlock runs its own PostgreSQL here.
dataDir: data

# Signed heads of the ledger are kept here and compared with at start, so that a database that was put back from an
# older backup shows. Best on another machine's disk: it must survive what the database does not.
ledger:
  anchors: anchors

identities: identities.yaml
signingKey: signing-key.json

policies:
  directory: policies
  default: ${policy}
  # byLabel: { "class=frontier": precautionary }   # a run's label decides; never the trainer

# Local paths that a checkpoint's modelUri may lie under.
models:
  roots: []

# Where Interlock may connect to: host, host:port, scheme://host:port, a CIDR, or loopback.
outbound:
  allow: [loopback]

orchestrators:
  webhook: { enabled: true }
  process: { enabled: true }   # signals a local pid: for one machine only

# Who is told. The policy names these channels.
alerts: []
#  - { name: oncall, kind: pagerduty, routingKey: "env:PAGERDUTY_ROUTING_KEY" }

# The red button: a process of its own that needs neither database nor queue. host: that of the server, unless stated.
button: { port: 8112 }

roles: [api, worker, scheduler, button]
evaluators: { concurrency: 2 }
logLevel: info
`;
}
