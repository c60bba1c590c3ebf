/** People by OpenID Connect, against a real provider on this machine, through the guarded client. */
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SignJWT } from 'jose';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseIdentities } from '../../src/config/identities.ts';
import { OidcProvider, oidcDisagreements } from '../../src/config/oidc.ts';
import { type Authenticator, createAuthenticator } from '../../src/http/authentication.ts';
import { accountId, createPeopleVerifier } from '../../src/http/oidc/people.ts';
import { Refusal } from '../../src/http/refusal.ts';
import { createOutbound } from '../../src/outbound/outbound.ts';
import { startIssuer, type TestIssuer } from '../support/oidc-issuer.ts';
import { selfSigned } from '../support/self-signed.ts';

let nowMs = 0;
let issuer: TestIssuer;
let directory: string;
let reasons: string[];
let warnings: string[];

beforeEach(async () => {
  nowMs = Date.parse('2026-11-01T12:00:00Z');
  issuer = await startIssuer({ now: () => new Date(nowMs) });
  directory = await mkdtemp(join(tmpdir(), 'interlock-oidc-'));
  reasons = [];
  warnings = [];
});
afterEach(async () => {
  await issuer.stop().catch(() => undefined);
  await rm(directory, { recursive: true, force: true });
});

const provider = (more: Record<string, unknown> = {}): OidcProvider =>
  OidcProvider.parse({
    name: 'corp',
    issuer: issuer.url,
    audience: 'interlock',
    groupMap: { 'il-operators': { roles: ['operator'] }, 'il-board': { groups: ['board'] } },
    ...more,
  });

function identities(entries: unknown[] = []) {
  const parsed = parseIdentities({
    value: { identities: [{ id: 'machine', name: 'M' }, ...entries] },
    isSharedFile: false,
    env: {},
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  return parsed.identities;
}

function start(o: { providers?: OidcProvider[]; entries?: unknown[]; tlsCa?: string[] } = {}): Authenticator {
  return createAuthenticator({
    identities: identities(o.entries),
    now: () => new Date(nowMs),
    onFailure: (_, reason) => reasons.push(reason),
    people: createPeopleVerifier({
      providers: o.providers ?? [provider()],
      outbound: createOutbound({ allow: ['loopback'], ...(o.tlsCa && { tlsCa: o.tlsCa }) }),
      directory,
      now: () => new Date(nowMs),
      logger: { warn: (fields) => void warnings.push(JSON.stringify(fields)) },
    }),
  });
}

const operators = { groups: ['il-operators', 'everyone'] };
const who = async (auth: Authenticator, token: string) => (await auth.person(token, ['bearer'])).identity;
async function refused(auth: Authenticator, token: string): Promise<string> {
  reasons.length = 0;
  const outcome = await auth.person(token, ['bearer']).catch((error: unknown) => error);
  expect(outcome).toBeInstanceOf(Refusal);
  return `${outcome instanceof Refusal ? outcome.status : ''} ${reasons.join()}`;
}

describe('a person', () => {
  it('comes in by mapped groups as one identity that stays the same', async () => {
    const auth = start();
    const identity = await who(auth, await issuer.token({ ...operators, name: 'Ann', email: 'a@x' }));
    expect(identity).toEqual({
      id: 'corp.p1',
      name: 'Ann',
      groups: [],
      roles: ['operator'],
      evaluations: null,
      via: 'oidc',
    });
    expect(
      await who(auth, await issuer.token({ groups: ['il-board', 'il-operators'], email: 'new@x' })),
    ).toMatchObject({
      id: 'corp.p1',
      groups: ['board'],
      roles: ['operator', 'governance'],
    });
    const strange = 'auth0|5f 7/../x';
    expect((await who(auth, await issuer.token({ ...operators, sub: strange }))).id).toBe(
      accountId('corp', strange),
    );
    expect(accountId('corp', strange)).toMatch(/^corp-[0-9a-f]{40}$/);
  });

  it('is the identity that names the account, with what stands there and not what the token says', async () => {
    const entries = [
      { id: 'chair', name: 'Chair', groups: ['board'], oidc: { issuer: issuer.url, subject: 'p1' } },
    ];
    const auth = start({ entries });
    const held = await auth.person(await issuer.token(operators), ['bearer']);
    expect(held.identity).toMatchObject({ id: 'chair', groups: ['board'], roles: ['governance'] });
    expect(held.isCurrent()).toBe(true);
    auth.replace(identities());
    expect(held.isCurrent()).toBe(false);
  });

  it('does not pass for an identity of the file by the name of its account', async () => {
    const auth = start({ entries: [{ id: 'corp.p1', name: 'Somebody else', groups: ['board'] }] });
    expect(await refused(auth, await issuer.token(operators))).toBe('401 oidc-not-mapped');
  });

  it('is nobody any more when the token ends', async () => {
    const auth = start();
    const held = await auth.person(await issuer.token(operators), ['bearer']);
    nowMs += 599_000;
    expect(held.isCurrent()).toBe(true);
    nowMs += 2_000;
    expect(held.isCurrent()).toBe(false);
  });
});

describe('what is refused', () => {
  const s = (offsetS = 0): number => Math.floor(nowMs / 1000) + offsetS;
  it.each<[string, () => Promise<string>, string]>([
    ['another audience', () => issuer.token({ ...operators, aud: 'elsewhere' }), 'not-verified'],
    ['another issuer', () => issuer.token({ ...operators, iss: 'https://evil.example' }), 'issuer'],
    ['the issuer with a slash', () => issuer.token({ ...operators, iss: `${issuer.url}/` }), 'issuer'],
    ['an expired one', () => issuer.token({ ...operators, exp: s(-6) }), 'not-verified'],
    ['one from the future', () => issuer.token({ ...operators, iat: s(60) }), 'not-verified'],
    ['one not yet good', () => issuer.token({ ...operators, nbf: s(60) }), 'not-verified'],
    ['one without exp', () => issuer.token({ ...operators, exp: undefined }), 'not-verified'],
    ['one without iat', () => issuer.token({ ...operators, iat: undefined }), 'not-verified'],
    ['one without sub', () => issuer.token({ ...operators, sub: undefined }), 'not-verified'],
    ['exp as text', () => issuer.token({ ...operators, exp: '2999' }), 'not-verified'],
    ['exp at the end of time', () => issuer.token({ ...operators, exp: 1e18 }), 'lives-too-long'],
    ['one that is too old', () => issuer.token({ ...operators, iat: s(-7_200), exp: s(60) }), 'not-verified'],
    ['no mapped group', () => issuer.token({ groups: ['everyone'] }), 'not-mapped'],
    ['no groups', () => issuer.token(), 'not-mapped'],
    ['groups as a string (G12)', () => issuer.token({ groups: 'il-operators' }), 'groups'],
    ['nested groups (G12)', () => issuer.token({ groups: [['il-operators']] }), 'groups'],
    ['groups as an object (G12)', () => issuer.token({ groups: { 'il-operators': true } }), 'groups'],
    [
      'a group named like an object member',
      () => issuer.token({ groups: ['__proto__', 'constructor'] }),
      'not-mapped',
    ],
    ['a subject of 300 characters', () => issuer.token({ ...operators, sub: 'x'.repeat(300) }), 'claims'],
    ['another typ', () => issuer.token(operators, { typ: 'permit+jwt' }), 'typ'],
    ['a key of its own (jwk)', () => issuer.token(operators, { jwk: issuer.publicKey() }), 'header'],
    ['a place for keys (jku)', () => issuer.token(operators, { jku: 'http://127.0.0.1:1/' }), 'header'],
    [
      'a place for certificates (x5u)',
      () => issuer.token(operators, { x5u: 'http://127.0.0.1:1/' }),
      'header',
    ],
    ['an unknown key', () => issuer.token(operators, { kid: 'key-9' }), 'unknown-key'],
    ['the id of a shared key', () => issuer.token(operators, { kid: 'shared' }), 'unknown-key'],
    ['a kid with a path', () => issuer.token(operators, { kid: '../../etc/passwd' }), 'kid'],
    ['a kid with SQL', () => issuer.token(operators, { kid: "x' OR 1=1" }), 'kid'],
    ['no kid', () => issuer.token(operators, { kid: undefined }), 'kid'],
    ['claims that are a list', () => issuer.raw(Buffer.from('[]')), 'issuer'],
    ['claims that are not JSON', () => issuer.raw(Buffer.from('{"iss"')), 'issuer'],
    [
      'alg none',
      async () => `${part({ alg: 'none', kid: 'key-1' })}.${part({ iss: issuer.url })}.`,
      'algorithm',
    ],
    [
      'HS256 with the public key as the secret',
      async () =>
        new SignJWT({ iss: issuer.url, aud: 'interlock', sub: 'p1', iat: s(), exp: s(60), ...operators })
          .setProtectedHeader({ alg: 'HS256', kid: 'key-1' })
          .sign(Buffer.from(JSON.stringify(issuer.publicKey()))),
      'algorithm',
    ],
    [
      'a changed claim',
      async () => {
        const [head, , tail] = (await issuer.token(operators)).split('.');
        return `${head}.${part({ iss: issuer.url, aud: 'interlock', sub: 'p2', iat: s(), exp: s(60), ...operators })}.${tail}`;
      },
      'not-verified',
    ],
    [
      'a token of 100 kB',
      async () => `${(await issuer.token(operators)).slice(0, -1)}${'A'.repeat(100_000)}`,
      'too-long',
    ],
  ])('%s', async (_, make, reason) => {
    const auth = start();
    expect(await who(auth, await issuer.token(operators))).toMatchObject({ id: 'corp.p1' });
    const asked = issuer.asked();
    expect(await refused(auth, await make())).toBe(`401 oidc-${reason}`);
    // Nothing in a token makes anything be fetched; an unknown key at most the configured address.
    expect(issuer.asked()).toBe(asked);
  });

  it('ten thousand groups (G12), too long to be read', async () => {
    const groups = Array.from({ length: 10_000 }, (_, i) => `g${i}`);
    expect(await refused(start(), await issuer.token({ groups }))).toBe('401 oidc-too-long');
    const many = Array.from({ length: 201 }, (_, i) => `g${i}`);
    expect(await refused(start(), await issuer.token({ groups: many }))).toBe('401 oidc-groups');
  });

  it('says nothing of the token in what is logged', async () => {
    issuer.answer = 'garbage';
    const token = await issuer.token(operators);
    await refused(start(), token);
    expect(warnings.join()).not.toContain(token.slice(0, 40));
    expect(warnings).toHaveLength(1);
  });

  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
});

describe("the provider's keys", () => {
  it('change without a restart, and are asked for at most each half minute', async () => {
    const auth = start();
    await who(auth, await issuer.token(operators));
    await issuer.rotate();
    const next = await issuer.token(operators);
    expect(await refused(auth, next)).toBe('401 oidc-unknown-key');
    nowMs += 31_000;
    expect(await who(auth, next)).toMatchObject({ id: 'corp.p1' });
    const asked = issuer.asked();
    for (let i = 0; i < 50; i += 1)
      await refused(auth, await issuer.token(operators, { kid: `made-up-${i}` }));
    expect(issuer.asked()).toBe(asked);
    nowMs += 31_000;
    await Promise.all(
      Array.from({ length: 50 }, async (_, i) =>
        refused(auth, await issuer.token(operators, { kid: `more-${i}` })),
      ),
    );
    expect(issuer.asked()).toBe(asked + 1);
  });

  it('that are gone are not believed, once the new set was heard', async () => {
    const auth = start();
    const old = await issuer.token({ ...operators, jti: 'unseen' });
    await who(auth, await issuer.token(operators));
    await issuer.rotate();
    nowMs += 31_000;
    await who(auth, await issuer.token(operators));
    expect(await refused(auth, old)).toBe('401 oidc-unknown-key');
  });

  it.each(['down', 'garbage', 'empty', 'stopped'] as const)(
    'are kept through an outage (%s) and a restart in it, and no longer than configured',
    async (how) => {
      await who(start(), await issuer.token(operators));
      const [name = ''] = await readdir(directory);
      expect(name).toBe('corp.json');
      expect((await stat(join(directory, name))).mode & 0o777).toBe(0o600);
      if (how === 'stopped') await issuer.stop();
      else issuer.answer = how;
      nowMs += 3_600_000;
      const restarted = start();
      expect(await who(restarted, await issuer.token(operators))).toMatchObject({ id: 'corp.p1' });
      nowMs += 72 * 3_600_000;
      expect(await refused(restarted, await issuer.token(operators))).toBe('503 oidc-unavailable');
      if (how === 'stopped') await issuer.start();
      else issuer.answer = 'up';
      nowMs += 31_000;
      expect(await who(restarted, await issuer.token(operators))).toMatchObject({ id: 'corp.p1' });
    },
  );

  it('are never had from a provider that was away from the beginning: 503, and the next try works', async () => {
    issuer.answer = 'down';
    const auth = start();
    expect(await refused(auth, await issuer.token(operators))).toBe('503 oidc-unavailable');
    issuer.answer = 'up';
    nowMs += 31_000;
    expect(await who(auth, await issuer.token(operators))).toMatchObject({ id: 'corp.p1' });
  });

  it('are not taken from a document of another issuer, nor from a file of another', async () => {
    issuer.answer = 'other-issuer';
    expect(await refused(start(), await issuer.token(operators))).toBe('503 oidc-unavailable');
    issuer.answer = 'up';
    nowMs += 31_000;
    await who(start(), await issuer.token(operators));
    const file = join(directory, 'corp.json');
    const kept = JSON.parse(await readFile(file, 'utf8'));
    await writeFile(file, JSON.stringify({ ...kept, issuer: 'https://elsewhere.example' }));
    issuer.answer = 'down';
    expect(await refused(start(), await issuer.token(operators))).toBe('503 oidc-unavailable');
  });

  it('come over TLS that is verified', async () => {
    const pem = selfSigned({ notAfter: new Date(Date.now() + 3_600_000) });
    const secure = await startIssuer({ tls: { key: pem.key, cert: pem.cert }, now: () => new Date(nowMs) });
    const providers = [OidcProvider.parse({ ...provider(), issuer: secure.url })];
    const token = await secure.token(operators);
    expect(await refused(start({ providers }), token)).toBe('503 oidc-unavailable');
    expect(await who(start({ providers, tlsCa: [pem.cert] }), token)).toMatchObject({ id: 'corp.p1' });
    await secure.stop();
  });
});

describe('one person counts once', () => {
  const board = { id: 'chair', name: 'C', groups: ['board'] };
  const one = () => provider();
  const two = () => provider({ name: 'other', issuer: 'https://idp.example' });
  it.each<[string, () => OidcProvider[], unknown[], RegExp | null]>([
    [
      'an identity with a group that says nothing of an account',
      () => [one()],
      [board],
      /could sign again through corp/,
    ],
    ['one that says it has none', () => [one()], [{ ...board, oidc: 'none' }], null],
    [
      'one that names its account',
      () => [one()],
      [{ ...board, oidc: { issuer: 'ISSUER', subject: 'x' } }],
      null,
    ],
    [
      'a map into roles only',
      () => [provider({ groupMap: { ops: { roles: ['operator'] } } })],
      [board],
      null,
    ],
    [
      'two providers that map into groups',
      () => [one(), two()],
      [{ ...board, oidc: 'none' }],
      /both map into governance/,
    ],
    [
      'an account at a provider that is not listed',
      () => [one()],
      [{ ...board, oidc: { issuer: 'https://x.example', subject: 'x' } }],
      /does not list/,
    ],
    [
      'an identity that is called like an account',
      () => [one()],
      [{ ...board, id: 'corp.chair', oidc: 'none' }],
      /begins like/,
    ],
  ])('%s', (_, providers, entries, words) => {
    const stated: unknown[] = JSON.parse(JSON.stringify(entries).replaceAll('ISSUER', issuer.url));
    const problems = oidcDisagreements(providers(), identities(stated)).join();
    if (words === null) expect(problems).toBe('');
    else expect(problems).toMatch(words);
  });

  it('an account that two identities name is refused', () => {
    const oidc = { issuer: 'https://idp.example', subject: 'x' };
    const parsed = parseIdentities({
      value: {
        identities: [
          { ...board, oidc },
          { id: 'b', name: 'B', oidc: [oidc] },
        ],
      },
      isSharedFile: false,
      env: {},
    });
    expect(parsed.ok ? '' : parsed.problems.map(({ message }) => message).join()).toMatch(
      /also held by "chair"/,
    );
  });

  it('a provider without TLS is refused, but for loopback', () => {
    expect(OidcProvider.safeParse({ ...provider(), issuer: 'http://idp.example' }).success).toBe(false);
    expect(OidcProvider.safeParse({ ...provider(), algorithms: ['HS256'] }).success).toBe(false);
  });
});
