/**
 * A provider's public keys: asked for seldom, kept on disk, believed for a bounded time.
 *
 * Every request goes through the guarded client to the configured address, or to the one that the issuer's own
 * discovery document names; nothing in a token leads anywhere. Keys are asked for when they are old, and when a
 * token names one that is not known, at most every half minute. What was last heard is kept in a file (0600) with
 * its time, so that a provider's outage, also across a restart, locks nobody out until `goodForMs` has passed; after
 * that nobody comes in by this provider. A new set replaces the old one whole: a key that is gone is not believed.
 * Symmetric keys, keys for encryption and short RSA keys are left out.
 */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createLocalJWKSet, type JWTVerifyGetKey } from 'jose';
import { z } from 'zod';
import type { OidcProvider } from '../../config/oidc.ts';
import type { Outbound } from '../../outbound/outbound.ts';

export interface ProviderKeys {
  /** null: there are none that may still be believed. */
  current(): Promise<JWTVerifyGetKey | null>;
  has(kid: string): boolean;
  /** Asks again because a token named an unknown key; answers whether there is anything new. */
  renew(): Promise<boolean>;
}

export interface ProviderKeysOptions {
  readonly provider: OidcProvider;
  readonly outbound: Pick<Outbound, 'request'>;
  readonly directory: string;
  readonly now: () => number;
  readonly logger: { warn(fields: object, message: string): void };
}

const ASK_AGAIN_AFTER_MS = 10 * 60_000;
const ASK_AT_MOST_EACH_MS = 30_000;
const TIMEOUT_MS = 5_000;
const BYTES_MAX = 256 * 1024;
const KEYS_MAX = 100;

const PublicKey = z.object({
  kty: z.enum(['RSA', 'EC', 'OKP']),
  kid: z.string().min(1).max(256),
  use: z.string().optional(),
  alg: z.string().max(32).optional(),
  n: z.string().max(4096).optional(),
  e: z.string().max(64).optional(),
  crv: z.string().max(32).optional(),
  x: z.string().max(256).optional(),
  y: z.string().max(256).optional(),
});
const KeySet = z.object({ keys: z.array(z.unknown()).max(KEYS_MAX) });
const Discovery = z.object({ issuer: z.string(), jwks_uri: z.string().max(2048) });
const Kept = z.strictObject({
  issuer: z.string(),
  heardAt: z.iso.datetime(),
  keys: z.array(PublicKey).max(KEYS_MAX),
});

type Key = z.output<typeof PublicKey>;
interface Heard {
  keys: readonly Key[];
  heardAtMs: number;
  find: JWTVerifyGetKey;
}

export function createProviderKeys(options: ProviderKeysOptions): ProviderKeys {
  const { provider, outbound, now, logger } = options;
  const file = join(options.directory, `${provider.name}.json`);
  let heard: Heard | null = null;
  let isRead = false;
  let askedAtMs = Number.NEGATIVE_INFINITY;
  let asking: Promise<void> | null = null;

  const found = (keys: readonly Key[], heardAtMs: number): Heard => ({
    keys,
    heardAtMs,
    find: createLocalJWKSet({ keys: keys.map((key) => JSON.parse(JSON.stringify(key))) }),
  });

  async function readKept(): Promise<void> {
    isRead = true;
    try {
      const kept = Kept.parse(JSON.parse(await readFile(file, 'utf8')));
      // A time ahead of ours would be believed for longer than is allowed.
      const heardAtMs = Math.min(Date.parse(kept.heardAt), now());
      if (kept.issuer === provider.issuer && heard === null) heard = found(kept.keys, heardAtMs);
    } catch {
      // Not there, or not ours: then they have to be asked for.
    }
  }

  async function get(url: string): Promise<unknown> {
    const { status, body } = await outbound.request(
      {
        url,
        method: 'GET',
        headers: { accept: 'application/json' },
        timeoutMs: TIMEOUT_MS,
        maxResponseBytes: BYTES_MAX,
      },
      new AbortController().signal,
    );
    if (status !== 200) throw new TypeError('not 200');
    return JSON.parse(body.toString('utf8'));
  }

  async function keysUrl(): Promise<string> {
    if (provider.jwksUrl !== undefined) return provider.jwksUrl;
    const said = Discovery.parse(
      await get(`${provider.issuer.replace(/\/$/, '')}/.well-known/openid-configuration`),
    );
    if (said.issuer !== provider.issuer) throw new TypeError('another issuer');
    return said.jwks_uri;
  }

  async function ask(): Promise<void> {
    askedAtMs = now();
    try {
      const keys = usable(KeySet.parse(await get(await keysUrl())).keys);
      // An empty set is an outage that looks like an answer: the last one is still the better.
      if (keys.length === 0) throw new TypeError('no usable key');
      heard = found(keys, now());
      await keep(keys);
    } catch (error) {
      const code =
        error instanceof Error && 'code' in error && typeof error.code === 'string'
          ? error.code
          : 'unreadable';
      logger.warn(
        { provider: provider.name, code, hasKeys: heard !== null },
        'the keys of an identity provider could not be had; those that were heard last stay for a while',
      );
    }
  }

  async function keep(keys: readonly Key[]): Promise<void> {
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    const content = { issuer: provider.issuer, heardAt: new Date(now()).toISOString(), keys };
    await writeFile(`${file}.next`, JSON.stringify(content), { mode: 0o600 });
    await rename(`${file}.next`, file);
  }

  function askOnce(): Promise<void> {
    asking ??= ask().finally(() => {
      asking = null;
    });
    return asking;
  }

  const mayAsk = (): boolean => now() - askedAtMs >= ASK_AT_MOST_EACH_MS;
  const believed = (): Heard | null =>
    heard !== null && now() - heard.heardAtMs <= provider.keysGoodForHours * 3_600_000 ? heard : null;

  return {
    async current() {
      if (!isRead) await readKept();
      const isOld = heard === null || now() - heard.heardAtMs > ASK_AGAIN_AFTER_MS;
      if (isOld && mayAsk()) {
        const asked = askOnce();
        // Only who has nothing to go on waits for the provider.
        if (believed() === null) await asked;
      } else if (believed() === null && asking !== null) await asking;
      return believed()?.find ?? null;
    },
    has: (kid) => heard?.keys.some((key) => key.kid === kid) ?? false,
    async renew() {
      const before = heard;
      if (asking !== null) await asking;
      else if (mayAsk()) await askOnce();
      return heard !== before;
    },
  };
}

const RSA_BITS_MIN = 2048;

function usable(keys: readonly unknown[]): Key[] {
  return keys.flatMap((stated) => {
    const parsed = PublicKey.safeParse(stated);
    if (!parsed.success || (parsed.data.use !== undefined && parsed.data.use !== 'sig')) return [];
    const { kty, n = '' } = parsed.data;
    const isShort = kty === 'RSA' && Buffer.from(n, 'base64url').length * 8 < RSA_BITS_MIN;
    return isShort ? [] : [parsed.data];
  });
}
