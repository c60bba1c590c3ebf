/**
 * Loads interlock.yaml and the identities it names: either a frozen configuration, or every problem
 * at once, each with its file, line, path and what would be right.
 *
 * Fails at start and only at start: a service that runs has a whole configuration. Values are never
 * repeated in a problem, since any of them may be a secret pasted into the wrong place.
 * Not here: reading policies and the signing key (their own parts do that, when the service is composed).
 */
import { createHash } from 'node:crypto';
import { open, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { z } from 'zod';
import { type FieldProblem, fieldPath, fieldProblems, type PathPart } from '../domain/field-errors.ts';
import { InterlockError } from '../errors.ts';
import { type Environment, resolveEnv } from './environment.ts';
import type { EvidenceConfig } from './evidence.ts';
import { type IdentityRecord, parseIdentities } from './identities.ts';
import type { IsolationConfig } from './isolation.ts';
import { type Mode, modeOf, modeProblems } from './mode.ts';
import { oidcDisagreements } from './oidc.ts';
import type { OrchestratorsConfig } from './orchestrators.ts';
import {
  ConfigurationFile,
  DATABASE_SCHEMES,
  isStoreUrl,
  REDIS_SCHEMES,
  type ServiceRole,
} from './schema.ts';
import { Secret } from './secret.ts';
import { readStrictYaml, type StrictYaml, YAML_BYTES_MAX } from './yaml-file.ts';

export interface Configuration<Alert> {
  readonly file: string;
  readonly mode: Mode;
  readonly server: { readonly host: string; readonly port: number; readonly publicUrl: string | null };
  readonly issuer: string;
  /** Paths are absolute from here on. */
  readonly dataDir: string;
  readonly database: { readonly url: Secret | null; readonly directUrl: Secret | null };
  readonly redis: { readonly url: Secret | null };
  readonly signingKey: string;
  /** Null where no heads are kept outside. */
  readonly ledger: { readonly anchors: string | null };
  readonly policies: {
    readonly directory: string;
    readonly default: string;
    readonly byLabel: Readonly<Record<string, string>>;
  };
  readonly models: { readonly roots: readonly string[]; readonly digest: 'local' | 'off' };
  /** Null where no logs are kept. */
  readonly evidence: EvidenceConfig | null;
  readonly outbound: { readonly allow: readonly string[] };
  readonly orchestrators: OrchestratorsConfig;
  readonly isolation: IsolationConfig;
  readonly alerts: readonly Alert[];
  readonly button: { readonly host: string; readonly port: number };
  readonly roles: readonly ServiceRole[];
  readonly evaluators: ConfigurationFile['evaluators'];
  /** `only`: started as a worker of these labels and nothing else. */
  readonly workers: ConfigurationFile['workers'] & { readonly only?: boolean };
  readonly limits: ConfigurationFile['limits'];
  readonly logLevel: ConfigurationFile['logLevel'];
  readonly identities: readonly IdentityRecord[];
  readonly identitiesFile: string;
  readonly oidc: ConfigurationFile['oidc'];
}

export interface ConfigProblem {
  file: string;
  line: number | null;
  path: string;
  message: string;
}

export class ConfigError extends InterlockError {
  readonly problems: readonly ConfigProblem[];

  constructor(problems: readonly ConfigProblem[]) {
    const lines = problems.map(
      ({ file, line, path, message }) =>
        `  ${file}${line === null ? '' : `:${line}`}: ${path === '' ? '' : `${path} `}${message}`,
    );
    const count = problems.length === 1 ? 'one problem' : `${problems.length} problems`;
    super(`the configuration has ${count}:\n${lines.join('\n')}`, { code: 'config.invalid' });
    this.problems = problems;
  }
}

export interface LoadOptions<A extends z.ZodType> {
  env: Environment;
  /** The union of all alert channels' schemas, from the registry in alerts/. */
  alertSchema: A;
  now?: () => Date;
}

export async function loadConfiguration<A extends z.ZodType>(
  path: string,
  { env, alertSchema, now = () => new Date() }: LoadOptions<A>,
): Promise<Configuration<z.output<A>>> {
  const file = resolve(path);
  const problems: ConfigProblem[] = [];
  const source = await readYaml(file, problems);
  if (source === null) throw new ConfigError(problems);
  const report = (parts: readonly PathPart[], message: string): void => {
    problems.push({ file, line: source.yaml.lineOf(parts), path: fieldPath(parts), message });
  };

  const parsed = ConfigurationFile.safeParse(source.yaml.value);
  if (!parsed.success) {
    for (const problem of fieldProblems(ConfigurationFile, parsed.error))
      report(problem.parts, problem.message);
    // The identities are still looked at, so that one run shows everything.
    await loadIdentities(resolve(dirname(file), statedIdentities(source.yaml.value)), env, problems);
    throw new ConfigError(problems);
  }
  const stated = parsed.data;
  const at = (relative: string): string => resolve(dirname(file), relative);

  const alerts: z.output<A>[] = [];
  for (const [index, entry] of stated.alerts.entries()) {
    const alert = alertSchema.safeParse(entry);
    if (alert.success) alerts.push(alert.data);
    else {
      for (const { parts, message } of fieldProblems(alertSchema, alert.error)) {
        report(['alerts', index, ...parts], message);
      }
    }
  }

  const store = (
    parts: string[],
    text: string | undefined,
    override: string,
    schemes: readonly string[],
  ): Secret | null => {
    const fromEnvironment = env[override];
    const isOverridden = fromEnvironment !== undefined && fromEnvironment !== '';
    const chosen = isOverridden ? fromEnvironment : text;
    if (chosen === undefined) return null;
    const resolved = isOverridden ? { ok: true as const, value: chosen } : resolveEnv(chosen, env);
    if (!resolved.ok) report(parts, resolved.message);
    else if (!isStoreUrl(resolved.value, schemes)) {
      const where = isOverridden ? `the environment variable ${override}` : 'the value';
      report(parts, `${where} must be a URL that begins with ${schemes.map((s) => `${s}//`).join(' or ')}`);
    }
    return new Secret(resolved.ok ? resolved.value : '');
  };
  const database = {
    url: store(['database', 'url'], stated.database.url, 'DATABASE_URL', DATABASE_SCHEMES),
    directUrl: store(
      ['database', 'directUrl'],
      stated.database.directUrl,
      'DATABASE_DIRECT_URL',
      DATABASE_SCHEMES,
    ),
  };
  const redis = { url: store(['redis', 'url'], stated.redis.url, 'REDIS_URL', REDIS_SCHEMES) };

  const together = [...modeProblems(stated, now()), ...disagreements(stated)];
  for (const { parts, message } of together) report(parts, message);
  if (database.url === null && database.directUrl !== null) {
    report(['database', 'directUrl'], 'needs database.url (or DATABASE_URL) beside it');
  }
  if (database.url === null && redis.url !== null) {
    report(
      ['redis', 'url'],
      'needs database.url (or DATABASE_URL): Redis is only the queue, PostgreSQL holds the truth',
    );
  }
  const directory = at(stated.policies.directory);
  if (!(await isDirectory(directory)))
    report(['policies', 'directory'], 'is not a directory that can be read');

  const identities = await loadIdentities(at(stated.identities), env, problems);
  for (const message of oidcDisagreements(stated.oidc, identities ?? [])) report(['oidc'], message);
  if (problems.length > 0 || identities === null) throw new ConfigError(problems);
  return deepFreeze({
    file,
    mode: modeOf(stated),
    server: {
      host: stated.server.host,
      port: stated.server.port,
      publicUrl: stated.server.publicUrl ?? null,
    },
    issuer: stated.issuer,
    dataDir: at(stated.dataDir),
    database,
    redis,
    signingKey: at(stated.signingKey),
    ledger: { anchors: stated.ledger.anchors === undefined ? null : at(stated.ledger.anchors) },
    policies: { directory, default: stated.policies.default, byLabel: stated.policies.byLabel },
    models: { ...stated.models, roots: stated.models.roots.map(at) },
    evidence: stated.evidence === undefined ? null : evidenceAt(stated.evidence, at),
    outbound: stated.outbound,
    orchestrators: stated.orchestrators,
    isolation: stated.isolation,
    alerts,
    button: { host: stated.button.host ?? stated.server.host, port: stated.button.port },
    roles: stated.roles,
    evaluators: stated.evaluators,
    workers: stated.workers,
    limits: stated.limits,
    logLevel: stated.logLevel,
    identities,
    identitiesFile: at(stated.identities),
    oidc: stated.oidc,
  });
}

function evidenceAt(stated: EvidenceConfig, at: (relative: string) => string): EvidenceConfig {
  const { directory, sealing } = stated;
  const file = sealing?.privateKeyFile;
  return {
    ...stated,
    ...(directory === undefined ? {} : { directory: at(directory) }),
    ...(sealing === undefined
      ? {}
      : { sealing: { ...sealing, ...(file === undefined ? {} : { privateKeyFile: at(file) }) } }),
  };
}

/** What is right in itself and wrong together. */
function disagreements(stated: ConfigurationFile): FieldProblem[] {
  const problems: FieldProblem[] = [];
  const names = new Set<string>();
  for (const [index, { name }] of stated.alerts.entries()) {
    if (names.has(name))
      problems.push({ parts: ['alerts', index, 'name'], message: 'is used by another channel' });
    names.add(name);
  }
  if (new Set(stated.roles).size < stated.roles.length) {
    problems.push({ parts: ['roles'], message: 'states a role twice' });
  }
  if (stated.button.port !== 0 && stated.button.port === stated.server.port) {
    problems.push({
      parts: ['button', 'port'],
      message: "is the service's own port; the red button needs one that it shares with nobody",
    });
  }
  // It signals a pid that a caller names: only for callers on this machine.
  if (stated.orchestrators.process.enabled && !isLoopback(stated.server.host)) {
    problems.push({
      parts: ['orchestrators', 'process', 'enabled'],
      message:
        'signals local processes and is allowed only with server.host on loopback (127.0.0.1, ::1 or localhost)',
    });
  }
  return problems;
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}

function statedIdentities(value: unknown): string {
  return typeof value === 'object' &&
    value !== null &&
    'identities' in value &&
    typeof value.identities === 'string'
    ? value.identities
    : 'identities.yaml';
}

async function loadIdentities(
  file: string,
  env: Environment,
  problems: ConfigProblem[],
): Promise<readonly IdentityRecord[] | null> {
  const read = await readIdentities(file, env);
  if (read.ok) return read.identities;
  problems.push(...read.problems);
  return null;
}

/** The identities file alone, as at start: by whoever takes a changed one over. */
export async function readIdentities(
  file: string,
  env: Environment,
): Promise<
  | { ok: true; identities: readonly IdentityRecord[]; digest: string }
  | { ok: false; problems: ConfigProblem[] }
> {
  const problems: ConfigProblem[] = [];
  const source = await readYaml(file, problems);
  if (source === null) return { ok: false, problems };
  const result = parseIdentities({ value: source.yaml.value, isSharedFile: source.isShared, env });
  if (result.ok) return { ok: true, identities: deepFreeze(result.identities), digest: source.digest };
  for (const { parts, message } of result.problems) {
    problems.push({ file, line: source.yaml.lineOf(parts), path: fieldPath(parts), message });
  }
  return { ok: false, problems };
}

/** Where the configuration says the identities are and the service keeps its data; nothing else is looked at. */
export async function locateIdentities(path: string): Promise<{ identitiesFile: string; dataDir: string }> {
  const file = resolve(path);
  const problems: ConfigProblem[] = [];
  const source = await readYaml(file, problems);
  if (source === null) throw new ConfigError(problems);
  const { value } = source.yaml;
  const dataDir =
    typeof value === 'object' && value !== null && 'dataDir' in value && typeof value.dataDir === 'string'
      ? value.dataDir
      : 'data';
  return {
    identitiesFile: resolve(dirname(file), statedIdentities(value)),
    dataDir: resolve(dirname(file), dataDir),
  };
}

async function readYaml(
  file: string,
  problems: ConfigProblem[],
): Promise<{ yaml: StrictYaml; isShared: boolean; digest: string } | null> {
  let text: string;
  let isShared: boolean;
  try {
    const handle = await open(file, 'r');
    try {
      // Mode and content from one descriptor: nobody can swap the file in between.
      const { mode, size } = await handle.stat();
      isShared = (mode & 0o077) !== 0;
      text = size > YAML_BYTES_MAX ? ' '.repeat(YAML_BYTES_MAX + 1) : await handle.readFile('utf8');
    } finally {
      await handle.close();
    }
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
    problems.push({ file, line: null, path: '', message: UNREADABLE[code] ?? `cannot be read (${code})` });
    return null;
  }
  const result = readStrictYaml(text);
  if (result.ok) {
    const digest = createHash('sha256')
      .update(isShared ? 'shared ' : 'own ')
      .update(text)
      .digest('hex');
    return { yaml: result.yaml, isShared, digest };
  }
  for (const { line, parts, message } of result.problems) {
    problems.push({ file, line, path: fieldPath(parts), message });
  }
  return null;
}

const UNREADABLE: Readonly<Record<string, string>> = {
  ENOENT: 'does not exist; `interlock init --dir DIR` writes a whole configuration',
  EACCES: 'cannot be read by this user',
  EISDIR: 'is a directory',
};

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return false;
  }
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const member of Object.values(value)) deepFreeze(member);
  }
  return value;
}
