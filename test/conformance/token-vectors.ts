/** Permits, halt orders and key statements: what a trainer must believe and what not, each with the reason. */
import {
  base64url,
  type ForgeKey,
  halt,
  issuer,
  nowS,
  permit,
  runId,
  statement,
  workPermit,
} from './forge.ts';

interface TokenCase {
  name: string;
  token: string;
  /** A reason, or null for one that counts. */
  refused: string | null;
  /** Of a halt order: signed by a key that was revoked since. */
  suspect?: boolean;
}

export interface Keys {
  readonly active: ForgeKey;
  readonly retired: ForgeKey;
  readonly revoked: ForgeKey;
  readonly stranger: ForgeKey;
}

export const keySetOf = ({ active, retired, revoked }: Keys) => ({
  keys: [
    active.jwk({ nbf: nowS - 1000 }),
    retired.jwk({ nbf: nowS - 9000, exp: nowS - 1000 }),
    revoked.jwk({ nbf: nowS - 9000, exp: nowS - 500, revoked: { revoked_at: nowS - 500, reason: 'stolen' } }),
  ],
});

const header = (key: ForgeKey, more: object = {}) => ({
  alg: 'EdDSA',
  typ: 'permit+jwt',
  kid: key.kid,
  ...more,
});
const claims = (more: object = {}) => ({
  iss: issuer,
  aud: 'interlock/permit',
  sub: runId,
  iat: nowS,
  exp: nowS + 60,
  epoch: 1,
  seq: 1,
  ceiling: '1000',
  nonce: 'nonce-1',
  clearedHalts: [],
  ...more,
});
const without = (name: string): object =>
  Object.fromEntries(Object.entries(claims()).filter(([key]) => key !== name));

export async function permitVectors(keys: Keys) {
  const { active, retired, revoked, stranger } = keys;
  const good = await permit(active);
  const [head = '', body = '', signature = ''] = good.split('.');
  const bytes = Buffer.from(signature, 'base64url');
  const groupOrder = Buffer.from('edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010', 'hex');
  const says = (name: string, more: object, refused: string | null): TokenCase => ({
    name,
    token: active.write(header(active), claims(more)),
    refused,
  });
  const text = JSON.stringify(claims());
  const raw = (name: string, content: string | Buffer, refused: string | null): TokenCase => ({
    name,
    token: active.writeRaw(JSON.stringify(header(active)), content),
    refused,
  });
  const headed = (name: string, more: object): TokenCase => ({
    name,
    token: active.write(header(active, more), claims()),
    refused: 'header',
  });
  const cases: TokenCase[] = [
    { name: 'one as the service signs it', token: good, refused: null },
    { name: 'of the longest life', token: await permit(active, { exp: nowS + 3600 }), refused: null },
    {
      name: 'of a run in shadow',
      token: await permit(active, { shadowUntil: nowS + 86_400 }),
      refused: null,
    },
    says('of a run in shadow until nobody knows when', { shadowUntil: 'ever' }, 'claims'),
    { name: 'with no nonce', token: await permit(active, { nonce: null }), refused: null },
    {
      name: 'a minute ahead',
      token: await permit(active, { iat: nowS + 60, exp: nowS + 90 }),
      refused: null,
    },
    raw('whole numbers written with a fraction', text.replace('"seq":1', '"seq":1.0'), null),
    raw('whole numbers written with an exponent', text.replace('"epoch":1', '"epoch":1e0'), null),
    says('a claim that a later version added', { risk: 'low' }, null),
    says('a second longer than an hour', { exp: nowS + 3601 }, 'lifetime'),
    says('of no life', { exp: nowS }, 'lifetime'),
    says('expired', { iat: nowS - 60, exp: nowS }, 'expired'),
    says('issued more than a minute ahead', { iat: nowS + 61, exp: nowS + 90 }, 'issued-ahead'),
    says('before its key signed', { iat: nowS - 1061, exp: nowS + 60 }, 'key-window'),
    says('for another run', { sub: 'run-2' }, 'wrong-run'),
    says('for another audience', { aud: 'interlock/halt' }, 'claims'),
    says('for several audiences', { aud: ['interlock/permit'] }, 'claims'),
    says('by another issuer', { iss: 'http://other.test' }, 'issuer'),
    says('by an issuer without a name', { iss: '' }, 'claims'),
    says('with an expiry beyond all time', { exp: 1e18 }, 'claims'),
    says('with an expiry in text', { exp: String(nowS + 60) }, 'claims'),
    says('with a broken instant', { iat: nowS + 0.5 }, 'claims'),
    says('with a negative sequence', { seq: -1 }, 'claims'),
    says('with a sequence that is true', { seq: true }, 'claims'),
    says('with a sequence too great to count', { seq: 2 ** 53 }, 'claims'),
    says('with an epoch in text', { epoch: '1' }, 'claims'),
    says('with a ceiling as a number', { ceiling: 1000 }, 'claims'),
    says('with a negative ceiling', { ceiling: '-1' }, 'claims'),
    says('with an infinite ceiling', { ceiling: 'Infinity' }, 'claims'),
    says('with a ceiling and a line break', { ceiling: '1000\n' }, 'claims'),
    says('with a ceiling in other digits', { ceiling: '\u0661\u0660\u0660' }, 'claims'),
    says('with cleared halts that are no list', { clearedHalts: 'halt_a' }, 'claims'),
    says('with cleared halts that are no text', { clearedHalts: [1] }, 'claims'),
    says('with too many cleared halts', { clearedHalts: Array.from({ length: 257 }, () => 'a') }, 'claims'),
    ...['iss', 'aud', 'iat', 'exp', 'epoch', 'seq', 'ceiling', 'nonce', 'clearedHalts'].map((name) => ({
      name: `without ${name}`,
      token: active.write(header(active), without(name)),
      refused: 'claims',
    })),
    { name: 'without sub', token: active.write(header(active), without('sub')), refused: 'wrong-run' },
    headed('with a critical extension', { crit: ['b64'], b64: false }),
    headed('with a key of its own', { jwk: { kty: 'OKP', crv: 'Ed25519', x: stranger.x } }),
    headed('with a key to fetch', { jku: 'http://127.0.0.1/keys' }),
    headed('by another algorithm', { alg: 'HS256' }),
    headed('unsigned, as it says', { alg: 'none' }),
    headed('of another kind', { typ: 'halt+jwt' }),
    headed('of a kind in capitals', { typ: 'PERMIT+JWT' }),
    { name: 'a halt order', token: await halt(active), refused: 'header' },
    { name: 'a work permit', token: await workPermit(active), refused: 'header' },
    raw('with a number that is none', text.replace('"seq":1', '"seq":NaN'), 'claims'),
    raw('with a mark before its claims', `\u{feff}${text}`, 'claims'),
    raw('with bytes that are no text', Buffer.concat([Buffer.from(text), Buffer.from([0xff])]), 'claims'),
    raw('with claims cut short', text.slice(0, -1), 'claims'),
    raw('with claims of great depth', '['.repeat(5_000), 'claims'),
    { name: 'a header that is no object', token: active.write([], claims()), refused: 'header' },
    { name: 'claims that are no object', token: active.write(header(active), 'permit'), refused: 'claims' },
    { name: 'by a key that nobody knows', token: await permit(stranger), refused: 'unknown-key' },
    {
      name: "by a stranger, under a believed key's name",
      token: stranger.write(header(active), claims()),
      refused: 'signature',
    },
    { name: 'by a retired key, now', token: await permit(retired), refused: 'key-window' },
    {
      name: 'by a retired key, within the minute left to clocks',
      token: retired.write(header(retired), claims({ iat: nowS - 940, exp: nowS + 60 })),
      refused: null,
    },
    { name: 'by a revoked key', token: await permit(revoked), refused: 'revoked-key' },
    {
      name: 'with other claims than were signed',
      token: `${head}.${base64url('{}')}.${signature}`,
      refused: 'signature',
    },
    {
      name: 'with a signature of zeros',
      token: `${head}.${body}.${base64url(Buffer.alloc(64))}`,
      refused: 'signature',
    },
    {
      name: 'with its signature in a second form (S plus the order of the group)',
      token: `${head}.${body}.${base64url(Buffer.concat([bytes.subarray(0, 32), sum(bytes.subarray(32), groupOrder)]))}`,
      refused: 'signature',
    },
    { name: 'with nothing signed', token: `${head}.${body}.`, refused: 'malformed' },
    { name: 'with padding', token: `${good}==`, refused: 'malformed' },
    { name: 'with a line break', token: `${good}\n`, refused: 'malformed' },
    { name: 'with a part too many', token: `${good}.${body}`, refused: 'malformed' },
    { name: 'empty', token: '', refused: 'malformed' },
    { name: 'too long', token: `${head}.${'A'.repeat(16_384)}.${signature}`, refused: 'malformed' },
  ];
  return { runId, issuer, nowS, jwks: keySetOf(keys), cases };
}

/** Little-endian, 32 bytes. */
function sum(a: Buffer, b: Buffer): Buffer {
  const value = (bytes: Buffer): bigint => BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`);
  return Buffer.from((value(a) + value(b)).toString(16).padStart(64, '0'), 'hex').reverse();
}

export async function haltVectors(keys: Keys) {
  const { active, retired, revoked, stranger } = keys;
  const order = (more: object = {}) => ({
    iss: issuer,
    aud: 'interlock/halt',
    sub: runId,
    iat: nowS,
    haltId: 'halt_a',
    action: 'halt',
    epoch: 2,
    ...more,
  });
  const says = (name: string, more: object, refused: string | null): TokenCase => ({
    name,
    token: active.write({ alg: 'EdDSA', typ: 'halt+jwt', kid: active.kid }, order(more)),
    refused,
  });
  const cases: TokenCase[] = [
    { name: 'one as the service signs it', token: await halt(active), refused: null },
    { name: 'a quarantine', token: await halt(active, { action: 'quarantine' }), refused: null },
    { name: 'by a retired key', token: await halt(retired), refused: null },
    { name: 'by a revoked key', token: await halt(revoked), refused: null, suspect: true },
    says('of long ago', { iat: 1 }, null),
    says('of tomorrow', { iat: nowS + 86_400 }, null),
    says('with an expiry that is over', { exp: nowS - 1 }, null),
    says('of epoch zero', { epoch: 0 }, null),
    says('with a claim that a later version added', { cause: 'rule' }, null),
    says('for another run', { sub: 'run-2' }, 'wrong-run'),
    says('by another issuer', { iss: 'http://other.test' }, 'issuer'),
    says('for another audience', { aud: 'interlock/permit' }, 'claims'),
    says('with an action that is none', { action: 'resume' }, 'claims'),
    says('with an id that is none', { haltId: 'halt a' }, 'claims'),
    says('with an id and a line break', { haltId: 'halt_a\n' }, 'claims'),
    says('with an empty id', { haltId: '' }, 'claims'),
    says('with a negative epoch', { epoch: -1 }, 'claims'),
    says('without an instant', { iat: null }, 'claims'),
    { name: 'a permit', token: await permit(active), refused: 'header' },
    { name: 'by a key that nobody knows', token: await halt(stranger), refused: 'unknown-key' },
    { name: 'no token at all', token: 'halt', refused: 'malformed' },
  ];
  return { runId, issuer, jwks: keySetOf(keys), cases };
}

/** Key sets fetched later: what is pinned first, what comes, and who is believed after it. */
export function keyVectors({ active, retired, revoked, stranger }: Keys) {
  const named = (key: ForgeKey, more: object = {}) => ({ kid: key.kid, x: key.x, nbf: nowS, ...more });
  const byActive = statement(active, [named(retired)]);
  const typed = (typ: string, aud: string) =>
    active.write({ alg: 'EdDSA', typ, kid: active.kid }, { aud, iat: nowS, keys: [named(stranger)] });
  const pinned = { keys: [active.jwk()] };
  return {
    cases: [
      {
        name: 'a key that merely stands in the set is not believed',
        pinned,
        documents: [{ keys: [active.jwk(), stranger.jwk()] }],
        believed: [active.kid],
        revoked: [],
      },
      {
        name: 'a key that a believed key names is believed',
        pinned,
        documents: [{ keys: [], statements: [byActive] }],
        believed: [active.kid, retired.kid],
        revoked: [],
      },
      {
        name: 'a chain of statements is followed, in any order',
        pinned,
        documents: [{ statements: [statement(retired, [named(revoked)], nowS + 1), byActive] }],
        believed: [active.kid, retired.kid, revoked.kid],
        revoked: [],
      },
      {
        name: "a stranger's statement adds nobody",
        pinned,
        documents: [{ statements: [statement(stranger, [named(stranger)])] }],
        believed: [active.kid],
        revoked: [],
      },
      {
        name: 'a key revoked by statement stays so, whatever is said later',
        pinned,
        documents: [
          { statements: [statement(active, [named(retired, { revokedAt: nowS })], nowS)] },
          { statements: [statement(active, [named(retired)], nowS + 9)] },
        ],
        believed: [active.kid, retired.kid],
        revoked: [retired.kid],
      },
      {
        name: 'what a revoked key says counts for nothing',
        pinned,
        documents: [
          { statements: [statement(active, [named(retired, { revokedAt: nowS })])] },
          { statements: [statement(retired, [named(stranger)], nowS + 9)] },
        ],
        believed: [active.kid, retired.kid],
        revoked: [retired.kid],
      },
      {
        name: 'statements of another kind or audience, and what is none, are passed over',
        pinned,
        documents: [
          {
            statements: [
              typed('permit+jwt', 'interlock/keys'),
              typed('keys+jwt', 'interlock/permit'),
              7,
              'x',
            ],
          },
          'no document',
          { statements: { 0: byActive } },
        ],
        believed: [active.kid],
        revoked: [],
      },
      {
        name: 'a name that is taken is not given to another key',
        pinned,
        documents: [{ statements: [statement(active, [{ ...named(stranger), kid: active.kid }])] }],
        believed: [active.kid],
        revoked: [],
      },
    ],
  };
}
