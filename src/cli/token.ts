/**
 * `interlock token create|list|revoke`: bearer tokens in identities.yaml. A running service takes them over within a
 * second. A token is printed once, by `create`; the file keeps its hash. None of these needs the service, the
 * database or the environment of the service.
 */
import { generateToken, generateTokenId, hashToken } from '../config/credentials.ts';
import { locateIdentities } from '../config/load.ts';
import { addToken, type ListedToken, listTokens, removeTokens } from '../config/token-file.ts';
import { readTokenUse } from '../config/token-use.ts';
import { DurationSchema, durationMs } from '../domain/duration.ts';
import { configPath } from './config-path.ts';
import { EXIT, type ExitCode, UsageError } from './exit.ts';
import { json, printable, table } from './output.ts';
import type { Terminal } from './terminal.ts';

/** Whoever has not rotated for a year has forgotten where the token is. */
const LIFE_MAX_MS = 366 * 86_400_000;

export interface TokenOptions {
  readonly identity?: string;
  readonly config?: string;
  readonly json?: true;
}

export async function tokenCreate(
  {
    identity,
    expires,
    note,
    config,
    ...options
  }: TokenOptions & { identity: string; expires: string; note?: string },
  terminal: Terminal,
): Promise<ExitCode> {
  const life = DurationSchema.safeParse(expires);
  if (!life.success || durationMs(life.data) > LIFE_MAX_MS) {
    throw new UsageError('--expires must be a duration such as 12h or 90d, at most 366d');
  }
  const { identitiesFile } = await locateIdentities(configPath(config, terminal.env));
  const token = generateToken();
  const now = Date.now();
  const made = {
    id: generateTokenId(),
    createdAt: instant(now),
    expiresAt: instant(now + Math.max(1_000, durationMs(life.data))),
  };
  await addToken(identitiesFile, identity, {
    ...made,
    hash: hashToken(token),
    ...(note === undefined ? {} : { note }),
  });
  terminal.print(
    options.json
      ? json({ identity, ...made, token })
      : [
          token,
          '',
          `Shown once: ${made.id} of ${identity}, until ${made.expiresAt}. ${identitiesFile} keeps its hash.`,
        ].join('\n'),
  );
  return EXIT.ok;
}

export async function tokenList(
  { identity, config, json: asJson }: TokenOptions,
  terminal: Terminal,
): Promise<ExitCode> {
  const { identitiesFile, dataDir } = await locateIdentities(configPath(config, terminal.env));
  const used = await readTokenUse(dataDir);
  const now = Date.now();
  const tokens = (await listTokens(identitiesFile))
    .filter((token) => identity === undefined || token.identity === identity)
    .map((token) => ({ ...token, lastUsedAt: used[token.id] ?? null, state: stateOf(token, now) }));
  if (asJson) terminal.print(json({ tokens }));
  else {
    const columns = ['identity', 'token', 'state', 'created', 'expires', 'last used', 'note'];
    const rows = tokens.map((token) => [
      token.identity,
      token.id,
      token.state,
      token.createdAt ?? 'not known',
      token.expiresAt ?? 'never',
      token.lastUsedAt ?? 'not seen',
      printable(token.note ?? ''),
    ]);
    terminal.print(
      table(
        columns.map((title) => ({ title })),
        rows,
        terminal.style,
      ),
    );
  }
  return EXIT.ok;
}

export async function tokenRevoke(
  {
    identity,
    id: wanted,
    all,
    config,
    json: asJson,
  }: TokenOptions & { identity: string; id?: string; all?: true },
  terminal: Terminal,
): Promise<ExitCode> {
  if ((wanted === undefined) === (all === undefined)) throw new UsageError('name one by --id, or --all');
  const { identitiesFile } = await locateIdentities(configPath(config, terminal.env));
  const revoked = await removeTokens(identitiesFile, identity, ({ id }) => all === true || id === wanted);
  if (asJson) terminal.print(json({ identity, revoked }));
  else {
    terminal.print(
      revoked === 0
        ? `${identity} has no such token; nothing was changed.`
        : `${revoked === 1 ? 'One token' : `${revoked} tokens`} of ${identity} revoked; a running service refuses ${revoked === 1 ? 'it' : 'them'} within a second.`,
    );
  }
  return revoked === 0 ? EXIT.negative : EXIT.ok;
}

const SOON_MS = 14 * 86_400_000;

function stateOf({ expiresAt }: ListedToken, nowMs: number): 'good' | 'expires soon' | 'expired' {
  if (expiresAt === null) return 'good';
  const leftMs = Date.parse(expiresAt) - nowMs;
  return leftMs <= 0 ? 'expired' : leftMs < SOON_MS ? 'expires soon' : 'good';
}

const instant = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}Z`;
