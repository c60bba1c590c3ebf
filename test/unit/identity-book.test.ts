import { mkdtemp, readFile, rename, rm, symlink, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { generateSharedSecret, generateToken, hashToken } from '../../src/config/credentials.ts';
import { type IdentityBook, openIdentityBook } from '../../src/config/identity-book.ts';
import { readIdentities } from '../../src/config/load.ts';
import { tokensToRenew } from '../../src/config/token-life.ts';
import { createAuthenticator } from '../../src/http/authentication.ts';

const tokens = { alice: generateToken(), bob: generateToken() };
const line = (id: 'alice' | 'bob', more = ''): string =>
  `  - { id: ${id}, name: ${id}, groups: [board], tokenHashes: ["${hashToken(tokens[id])}"]${more} }\n`;
const both = `identities:\n${line('alice')}${line('bob')}`;
const onlyBob = `identities:\n${line('bob')}`;

let directory: string;
let file: string;
let book: IdentityBook;
let errors: { problems?: string[] }[];
let authenticator: ReturnType<typeof createAuthenticator>;

const knows = (id: 'alice' | 'bob'): boolean => {
  try {
    return authenticator.bearer(tokens[id], ['bearer']).identity.id === id;
  } catch {
    return false;
  }
};

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'interlock-identities-'));
  file = join(directory, 'identities.yaml');
  await writeFile(file, both, { mode: 0o600 });
  errors = [];
  await open();
});

async function open(pollMs = 600_000): Promise<void> {
  const read = await readIdentities(file, {});
  if (!read.ok) throw new Error('refused');
  authenticator = createAuthenticator({ identities: read.identities });
  book = openIdentityBook({
    file,
    env: {},
    initial: read.identities,
    apply: (identities) => authenticator.replace(identities),
    logger: { info: () => undefined, error: (fields) => void errors.push(fields) },
    pollMs,
  });
}

afterEach(async () => {
  book.close();
  await rm(directory, { recursive: true, force: true });
});

describe('identities that change while the service runs', () => {
  it('lets a removed identity in no more within a second, and goes on knowing the others', async () => {
    expect([knows('alice'), knows('bob')]).toEqual([true, true]);
    book.close();
    await open(500);
    const at = performance.now();
    await writeFile(file, onlyBob);
    await vi.waitUntil(() => !knows('alice'), { timeout: 5_000, interval: 10 });
    // The promise is a second; the other half is for a machine that does much else.
    expect(performance.now() - at).toBeLessThan(1_500);
    expect(knows('bob')).toBe(true);
    expect(errors).toEqual([]);
  });

  it.each<[string, string, RegExp]>([
    ['text that is not YAML', 'identities: [', /not valid YAML|line/],
    [
      'a duplicate credential',
      `${both}  - { id: eve, name: E, tokenHashes: ["${hashToken(tokens.bob)}"] }\n`,
      /identities\[2\]\.tokenHashes\[0\] is also held by "bob"/,
    ],
    ['an unknown key', `${both}rolez: []\n`, /rolez/],
    ['no identity at all', 'identities: []\n', /identities/],
    ['half of a file', both.slice(0, both.length - 30), /line|not valid/],
    [
      'a secret that others can read',
      `${onlyBob}  - { id: s, name: S, webhookSecrets: ["SECRET"] }\n`,
      /webhookSecrets/,
    ],
  ])(
    'keeps the old ones in force over %s, and says once where it is wrong and never what',
    async (_, text, words) => {
      const secret = generateSharedSecret();
      await writeFile(file, text.replace('SECRET', secret.slice(0, 20)));
      expect(await book.reload()).toBe('refused');
      expect(await book.reload()).toBe('refused');
      expect([knows('alice'), knows('bob'), book.isStale()]).toEqual([true, true, true]);
      expect(errors).toHaveLength(1);
      const said = (errors[0]?.problems ?? []).join('\n');
      expect(said).toMatch(words);
      for (const hidden of [secret.slice(0, 20), hashToken(tokens.bob).slice(10)])
        expect(said).not.toContain(hidden);

      await writeFile(file, onlyBob);
      expect(await book.reload()).toBe('replaced');
      expect([knows('alice'), knows('bob'), book.isStale()]).toEqual([false, true, false]);
    },
  );

  it('keeps the old ones in force when the file is gone or not to be read', async () => {
    await unlink(file);
    expect(await book.reload()).toBe('refused');
    expect([knows('alice'), errors.length]).toEqual([true, 1]);
  });

  it('sees a file that is swapped through a symbolic link, as mounted configuration is', async () => {
    book.close();
    await open(20);
    const real = join(directory, 'v2.yaml');
    await writeFile(real, onlyBob, { mode: 0o600 });
    await symlink(real, join(directory, 'next'));
    await rename(join(directory, 'next'), file);
    await vi.waitUntil(() => !knows('alice'), { timeout: 5_000 });
    expect(await readFile(file, 'utf8')).toBe(onlyBob);
  });

  it('misses no change of the same length in the same instant', async () => {
    book.close();
    await open(20);
    for (const [text, isKnown] of [
      [both.replace('id: alice', 'id: alicf'), false],
      [both, true],
      [both.replace('id: alice', 'id: alicg'), false],
    ] as const) {
      await writeFile(file, text);
      await vi.waitUntil(() => knows('alice') === isKnown, { timeout: 5_000 });
    }
  });

  it('takes an old and a new token while one replaces the other, and then only the new', async () => {
    const next = generateToken();
    const entry = (id: string, token: string, expiresAt: string): string =>
      `      - { id: ${id}, hash: "${hashToken(token)}", createdAt: "2026-01-01T00:00:00Z", expiresAt: "${expiresAt}" }\n`;
    const alice = (...entries: string[]): string =>
      `identities:\n  - id: alice\n    name: A\n    tokens:\n${entries.join('')}`;
    const works = (token: string): boolean => {
      try {
        return authenticator.bearer(token, ['bearer']).identity.id === 'alice';
      } catch {
        return false;
      }
    };
    await writeFile(
      file,
      alice(
        entry('tk_old1', tokens.alice, '2199-01-01T00:00:00Z'),
        entry('tk_new1', next, '2199-01-01T00:00:00Z'),
      ),
    );
    expect(await book.reload()).toBe('replaced');
    expect([works(tokens.alice), works(next)]).toEqual([true, true]);
    expect([...authenticator.lastUsed().keys()]).toEqual(['tk_old1', 'tk_new1']);
    const held = authenticator.bearer(tokens.alice, ['bearer']);
    await writeFile(
      file,
      alice(
        entry('tk_old1', tokens.alice, '2026-01-02T00:00:00Z'),
        entry('tk_new1', next, '2199-01-01T00:00:00Z'),
      ),
    );
    await book.reload();
    expect([works(tokens.alice), works(next), held.isCurrent()]).toEqual([false, true, false]);
  });
});

describe('a token with an end', () => {
  it('is refused from the instant it expires, with a reason of its own in the counters only', async () => {
    let now = Date.parse('2026-06-01T00:00:00Z');
    const reasons: string[] = [];
    const text = `identities:\n  - id: a\n    name: A\n    tokens: [{ id: tk_abcd, hash: "${hashToken(tokens.bob)}", createdAt: "2026-01-01T00:00:00Z", expiresAt: "2026-06-01T00:00:01Z" }]\n`;
    await writeFile(file, text);
    const read = await readIdentities(file, {});
    if (!read.ok) throw new Error('refused');
    const auth = createAuthenticator({
      identities: read.identities,
      now: () => new Date(now),
      onFailure: (_, reason) => reasons.push(reason),
    });
    const held = auth.bearer(tokens.bob, ['bearer']);
    expect(held.isCurrent()).toBe(true);
    now += 1_000;
    expect(held.isCurrent()).toBe(false);
    expect(() => auth.bearer(tokens.bob, ['bearer'])).toThrow(
      expect.objectContaining({ status: 401, detail: undefined }),
    );
    expect(reasons).toEqual(['expired-token']);
  });
});

describe('tokens to renew', () => {
  const at = (days: number): string => new Date(Date.UTC(2026, 0, 1) + days * 86_400_000).toISOString();
  const identity = (id: string, ...ends: (string | null)[]) => ({
    id,
    name: id,
    groups: [],
    roles: [],
    tokens: ends.map((expiresAt, i) => ({ id: `tk_${id}${i}`, hash: '', createdAt: null, expiresAt })),
    webhookSecrets: [],
    publicKeys: [],
    evaluations: null,
    accounts: null,
  });

  it('are those that end within 14 days and have no successor, and those without an end', () => {
    const identities = [
      identity('far', at(15)),
      identity('soon', at(13)),
      identity('past', at(-1)),
      identity('rotating', at(3), at(90)),
      identity('endless', null),
    ];
    expect(tokensToRenew(identities, new Date(at(0)))).toEqual([
      expect.stringMatching(/^token tk_soon0 of soon ends at/),
      expect.stringMatching(/^token tk_past0 of past ends at/),
      expect.stringMatching(/^tokens without an end: endless;/),
    ]);
  });
});
