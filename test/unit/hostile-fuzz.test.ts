/**
 * Every parser against anything at all (X30): valid inputs spoilt in a few places, and values and bytes out of nothing.
 *
 * Of each: nothing is thrown but what it says it throws; no case holds the event loop for a tenth of a second; what it
 * takes means the same when it is written and read again; and what it refuses it does not repeat.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { parseIdentities } from '../../src/config/identities.ts';
import { ConfigurationFile } from '../../src/config/schema.ts';
import { readStrictYaml } from '../../src/config/yaml-file.ts';
import { canonicalJson, type JsonObject } from '../../src/domain/canonical-json.ts';
import { ComputeSchema, compareCompute, timesCompute } from '../../src/domain/compute.ts';
import { DurationSchema, durationMs } from '../../src/domain/duration.ts';
import { fieldPath, fieldProblems } from '../../src/domain/field-errors.ts';
import { parseNativeResult } from '../../src/domain/native-result.ts';
import { checkPolicy } from '../../src/domain/policy/check.ts';
import { PolicySchema } from '../../src/domain/policy/schema.ts';
import { readResult } from '../../src/domain/read-result.ts';
import { parseRunEvent } from '../../src/domain/run/events.ts';
import { InterlockError } from '../../src/errors.ts';
import { lastJsonLine, parseResult } from '../../src/evaluators/result-text.ts';
import { readCheckpointEvent } from '../../src/http/cloud-events.ts';
import { exactMediaType } from '../../src/http/content-type.ts';
import { escapeHtml } from '../../src/http/html.ts';
import { Refusal } from '../../src/http/refusal.ts';
import { modelUriProblem } from '../../src/http/routes/checkpoints.ts';
import { PageQuery } from '../../src/http/routes/common.ts';
import { readLastEventId } from '../../src/http/sse.ts';
import { isHeldExactly, parseStrictJson } from '../../src/http/strict-json.ts';
import { parseEnvelope } from '../../src/ledger/envelope.ts';
import { verifyExport } from '../../src/ledger/verify-export.ts';
import { classify, covers, parseAddress, parseCidr } from '../../src/outbound/addresses.ts';
import { parseAllowList } from '../../src/outbound/allow-list.ts';
import { createOutbound } from '../../src/outbound/outbound.ts';
import { createKeyringFile, loadKeyring } from '../../src/signing/keyring.ts';
import { signWebhook, verifyWebhook, WebhookSecret } from '../../src/signing/standard-webhooks.ts';
import {
  createTokenSigner,
  createTokenVerifier,
  peekHaltOrder,
  type TokenVerifier,
} from '../../src/signing/tokens.ts';
import { briefly, cases, evil, garbled, spoilt, textOf } from '../support/fuzz.ts';
import { BASE_POLICY, registered } from './domain/run-life.ts';
import { buildLedger, bytesOf, createHeadKeys, headLine } from './ledger-fixture.ts';

const CANARY = 'CANARYoftext';
/** What `act` gives, or null where it throws what it may throw. Anything else that is thrown fails the case. */
function only<T>(act: () => T, ...allowed: (new (...args: never[]) => Error)[]): T | null {
  try {
    return briefly(act);
  } catch (error) {
    if (allowed.some((kind) => error instanceof kind)) return null;
    throw error;
  }
}
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value) ?? 'null');

describe('X30 JSON', () => {
  const CHECKPOINT = {
    runId: 'r',
    checkpointId: 'c',
    effectiveCompute: 1e22,
    modelUri: 's3://b',
    metadata: { a: [1, { b: null }] },
  };

  it('X30 strict JSON gives what JSON.parse gives, or refuses', () => {
    const text = fc.oneof(
      { weight: 5, arbitrary: garbled(JSON.stringify(CHECKPOINT)) },
      { weight: 3, arbitrary: spoilt(CHECKPOINT).map((value) => JSON.stringify(value)) },
      { weight: 2, arbitrary: fc.json() },
      { weight: 1, arbitrary: fc.string({ unit: 'binary' }) },
    );
    fc.assert(
      fc.property(text, (given) => {
        const raw = Buffer.from(given);
        const value = only(() => parseStrictJson(raw), Refusal);
        if (value !== null) expect(value).toEqual(JSON.parse(raw.toString()));
      }),
      cases(0.12),
    );
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        (bytes) => void only(() => parseStrictJson(bytes), Refusal),
      ),
      cases(0.02),
    );
  });

  it('X30 strict JSON of any size', () => {
    const big: [string, string][] = [
      ['arrays', `{"a":${'['.repeat(32_000)}${']'.repeat(32_000)}}`],
      ['arrays that do not end', `{"a":${'['.repeat(65_000)}`],
      ['objects', '{"a":'.repeat(13_000)],
      ['keys', `{${Array.from({ length: 60_000 }, (_, i) => `"k${i}":0`).join(',')}}`],
      ['one digit', `{"a":${'9'.repeat(1_000_000)}}`],
      ['one zero', `{"a":1${'0'.repeat(1_000_000)}1}`],
      ['a fraction', `{"a":0.${'0'.repeat(1_000_000)}1}`],
      ['an exponent', `{"a":1e${'9'.repeat(1_000_000)}}`],
      ['escapes', `{"a":"${'\\u0061'.repeat(160_000)}"}`],
      ['backslashes', `{"a":"${'\\\\'.repeat(500_000)}"}`],
      ['blanks', `{"a":${' '.repeat(1_000_000)}1}`],
      ['quotes', '"'.repeat(1_000_000)],
      ['one key', `{"${'k'.repeat(1_000_000)}":1,"${'k'.repeat(1_000_000)}":1}`],
    ];
    for (const [what, text] of big) {
      const raw = Buffer.from(text);
      expect(() => only(() => parseStrictJson(raw), Refusal), what).not.toThrow();
    }
    expect(isHeldExactly('9'.repeat(1_000_000))).toBe(false);
  });

  it('X30 canonical JSON means the same, and is the same whatever the order of keys', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const read = plain(value);
        const text = only(() => canonicalJson(JSON.parse(JSON.stringify(value))), RangeError);
        if (text === null) return;
        expect(JSON.parse(text)).toEqual(read);
        expect(canonicalJson(JSON.parse(text))).toBe(text);
        const turned: unknown = JSON.parse(text, (_key, each) =>
          typeof each === 'object' && each !== null && !Array.isArray(each)
            ? Object.fromEntries(Object.entries(each).reverse())
            : each,
        );
        expect(canonicalJson(JSON.parse(JSON.stringify(turned)))).toBe(text);
      }),
      cases(0.05),
    );
  });
});

describe('X30 small words', () => {
  it('X30 compute, durations, media types, cursors, event ids', () => {
    const word = fc.oneof(
      evil,
      fc.stringMatching(/^[0-9.eE+-]{0,30}$/),
      garbled('1.2345e25'),
      garbled('48h'),
      garbled('application/json; charset=utf-8'),
      garbled('123456'),
    );
    fc.assert(
      fc.property(word, (value) => {
        const computed = only(() => ComputeSchema.safeParse(value));
        if (computed?.success === true) {
          const { data } = computed;
          expect(ComputeSchema.parse(data)).toBe(data);
          expect(compareCompute(data, data)).toBe(0);
          expect(compareCompute(timesCompute(data, 2), data)).toBeGreaterThanOrEqual(0);
          if (typeof value === 'number') expect(Number(data)).toBe(value);
        }
        const duration = only(() => DurationSchema.safeParse(value));
        if (duration?.success === true) expect(durationMs(duration.data)).toBeGreaterThan(0);
        const text = textOf(value);
        const media = only(() => exactMediaType(text, ['application/json']));
        if (media !== null)
          expect(text.toLowerCase()).toMatch(/^application\/json( ?; ?charset="?utf-8"?)?$/);
        const id = only(() => readLastEventId(text), Refusal);
        if (id !== null) expect(id).toMatch(/^[\x21-\x7e]{1,128}$/);
        only(() => readLastEventId([text, text]), Refusal);
        const page = only(() => PageQuery.safeParse({ cursor: value, limit: value }));
        if (page?.success === true) expect(Number.isSafeInteger(page.data.limit)).toBe(true);
      }),
      cases(0.1),
    );
  });

  it('X30 addresses: every spelling that a URL takes means one address, and is judged as that', () => {
    const octet = fc.nat({ max: 255 });
    const four = fc.tuple(octet, octet, octet, octet);
    const spelling = fc.constantFrom(
      'decimal',
      'hex',
      'octal',
      'mixed',
      'short',
      'mapped',
      'mapped-hex',
      'dotted-end',
    );
    fc.assert(
      fc.property(four, spelling, ([a, b, c, d], how) => {
        const whole = ((a * 256 + b) * 256 + c) * 256 + d;
        const canonical = `${a}.${b}.${c}.${d}`;
        const hex = (n: number): string => n.toString(16).padStart(2, '0');
        const hosts: Record<typeof how, string> = {
          decimal: String(whole),
          hex: `0x${whole.toString(16)}`,
          octal: [a, b, c, d].map((each) => `0${each.toString(8)}`).join('.'),
          mixed: `0x${a.toString(16)}.${b}.0${c.toString(8)}.${d}`,
          short: `${a}.${b}.${c * 256 + d}`,
          mapped: `[::ffff:${canonical}]`,
          'mapped-hex': `[::ffff:${hex(a)}${hex(b)}:${hex(c)}${hex(d)}]`,
          'dotted-end': `${canonical}.`,
        };
        const { hostname } = new URL(`http://${hosts[how]}/`);
        const address = parseAddress(hostname.replace(/^\[|\]$/g, ''));
        const plainAddress = parseAddress(canonical);
        if (address === null || plainAddress === null) throw new Error(`${hostname} is not read`);
        expect(address).toEqual(plainAddress);
        expect(classify(address)).toBe(classify(plainAddress));
        // Wherever it is carried along inside IPv6, it is never easier to reach.
        for (const carrier of [
          `64:ff9b::${canonical}`,
          `2002:${hex(a)}${hex(b)}:${hex(c)}${hex(d)}::1`,
          `::ffff:0:${canonical}`,
        ]) {
          const carried = parseAddress(carrier);
          if (carried === null) throw new Error(carrier);
          expect(classify(carried)).toBe(classify(plainAddress) === 'public' ? 'public' : 'forbidden');
        }
      }),
      cases(0.05),
    );
  });

  it('X30 hosts, networks and URLs: nothing is thrown, nothing forbidden is let in', () => {
    const everything = createOutbound({ allow: ['0.0.0.0/0', '::/0', '10.0.0.0/8', 'loopback'] });
    const url = fc.oneof(
      fc.webUrl(),
      garbled('http://169.254.169.254:80/latest'),
      garbled('https://user:pass@[fe80::1%25eth0]:443/x?y#z'),
      fc.ipV6().map((ip) => `http://[${ip}]/`),
      fc.string({ unit: 'binary', maxLength: 40 }),
      evil.map(textOf),
    );
    fc.assert(
      fc.property(url, (text) => {
        const refusal = briefly(() => everything.refusal(text));
        const parsed = URL.canParse(text) ? new URL(text) : null;
        const address = parsed === null ? null : parseAddress(parsed.hostname.replace(/^\[|\]$/g, ''));
        if (address !== null && classify(address) === 'forbidden') expect(refusal).not.toBeNull();
        if (parsed === null) expect(refusal).not.toBeNull();
        briefly(() => parseAddress(text));
        const cidr = briefly(() => parseCidr(text));
        if (cidr !== null) expect(covers(cidr, cidr)).toBe(true);
        only(() => parseAllowList([text]), InterlockError);
        briefly(() => modelUriProblem(text, ['/models']));
      }),
      cases(0.06),
    );
  });

  it('X30 a page shows anything as text', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), evil.map(textOf)), (text) => {
        const shown = briefly(() => escapeHtml(text));
        expect(shown).not.toMatch(/[<>"']/);
        expect(shown.replace(/&(amp|lt|gt|quot|#39);/g, '')).not.toContain('&');
      }),
      cases(0.02),
    );
  });
});

describe('X30 messages', () => {
  it('X30 CloudEvents', () => {
    const event = {
      specversion: '1.0',
      type: 'training.checkpoint',
      id: 'e',
      source: '/t',
      time: '2026-01-01T00:00:00Z',
      data: { runId: 'r' },
    };
    const headers = fc.oneof(
      fc.constant({ 'content-type': 'application/cloudevents+json' }),
      fc.dictionary(
        fc.constantFrom(
          'content-type',
          'ce-id',
          'ce-type',
          'ce-specversion',
          'ce-source',
          'ce-x',
          'ce-__proto__',
        ),
        fc.oneof(fc.constantFrom('1.0', 'training.checkpoint', 'application/cloudevents+json'), fc.string()),
      ),
    );
    fc.assert(
      fc.property(headers, spoilt(event), (given, body) => {
        if (typeof body !== 'object' || body === null || Array.isArray(body)) return;
        const parsed: JsonObject = JSON.parse(JSON.stringify(body));
        const outcome = briefly(() => readCheckpointEvent(given, parsed));
        if (outcome instanceof Refusal) expect(outcome.status).toBe(400);
      }),
      cases(0.04),
    );
  });

  it('X30 webhook signatures: only the headers that were signed, over the bytes that were signed', () => {
    const secret = WebhookSecret.parse(`whsec_${Buffer.alloc(32, 3).toString('base64')}`);
    const now = new Date(1_800_000_000_000);
    const body = Buffer.from('{"a":1}');
    const good = Object.entries(signWebhook({ id: 'msg_1', timestamp: now, body, secrets: [secret] }));
    const flat = good.flat();
    fc.assert(
      fc.property(
        fc.nat({ max: 2 }),
        fc.oneof(...good.map(([, value]) => garbled(value)), evil.map(textOf)),
        fc.boolean(),
        (which, value, repeat) => {
          const rawHeaders = good.flatMap(([name, own], i) => (i === which ? [name, value] : [name, own]));
          if (repeat) rawHeaders.push(...flat.slice(0, 2));
          const verdict = briefly(() => verifyWebhook({ rawHeaders, body, secrets: [secret], now }));
          const signatures = (which === 2 ? value : (good[2]?.[1] ?? '')).split(' ');
          const intact =
            !repeat && (which === 2 ? signatures.includes(good[2]?.[1] ?? '') : value === good[which]?.[1]);
          if (verdict.ok) expect(intact).toBe(true);
        },
      ),
      cases(0.05),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        const { ok } = verifyWebhook({ rawHeaders: flat, body: Buffer.from(bytes), secrets: [secret], now });
        expect(ok).toBe(Buffer.from(bytes).equals(body));
      }),
      cases(0.01),
    );
  });

  describe('X30 tokens', () => {
    let verifier: TokenVerifier;
    const tokens: string[] = [];
    beforeAll(async () => {
      const directory = await mkdtemp(join(tmpdir(), 'interlock-fuzz-'));
      const file = join(directory, 'keys.json');
      await createKeyringFile(file);
      const keyring = await loadKeyring(file);
      await rm(directory, { recursive: true });
      const signer = createTokenSigner({ keyring, issuer: 'i' });
      verifier = createTokenVerifier({ jwks: () => keyring.jwks(), issuer: 'i' });
      const iat = Math.floor(Date.now() / 1000);
      tokens.push(
        await signer.signPermit({
          sub: 'r',
          iat,
          exp: iat + 600,
          epoch: 1,
          seq: 1,
          ceiling: '1e22',
          nonce: 'n',
          clearedHalts: ['halt_a'],
        }),
        await signer.signHaltOrder({ sub: 'r', iat, haltId: 'halt_a', action: 'halt', epoch: 1 }),
        await signer.signHead({ iat, size: 1, root: '0'.repeat(64), hash: '0'.repeat(64) }),
      );
    });

    it('X30 permits, halt orders and heads: only the very bytes, only as what they are', async () => {
      const [permit = '', order = '', head = ''] = tokens;
      const kinds = [
        { own: permit, verify: (token: string) => verifier.verifyPermit(token) },
        { own: order, verify: (token: string) => verifier.verifyHaltOrder(token) },
        { own: head, verify: (token: string) => verifier.verifyHead(token) },
      ];
      const segment = fc.oneof(
        fc.jsonValue().map((value) => Buffer.from(JSON.stringify(value) ?? '').toString('base64url')),
        fc.base64String(),
      );
      const token = fc.oneof(
        ...tokens.map((each) => garbled(each)),
        fc.constantFrom(...tokens, 'x'.repeat(1_000_000), '.'.repeat(10_000), `${permit}.${permit}`),
        fc.tuple(segment, segment, segment).map((parts) => parts.join('.')),
        evil.map(textOf),
      );
      await fc.assert(
        fc.asyncProperty(token, fc.constantFrom(...kinds), async (text, { own, verify }) => {
          const from = process.cpuUsage();
          const verdict = await verify(text);
          if (verdict.ok) expect(text).toBe(own);
          else expect(text).not.toBe(own);
          briefly(() => peekHaltOrder(text));
          expect(process.cpuUsage(from).user / 1000).toBeLessThan(500);
        }),
        cases(0.06),
      );
    });
  });
});

describe('X30 files', () => {
  const policies = fileURLToPath(new URL('../../config/policies', import.meta.url));
  const texts = readdirSync(policies).map((name) => readFileSync(join(policies, name), 'utf8'));

  it('X30 YAML: read as what it says, or refused; never more than a mebibyte of it', () => {
    const text = fc.oneof(
      ...texts.map((each) => garbled(each.slice(0, 1_500))),
      fc.string({ unit: 'binary' }),
      evil.map(textOf),
    );
    fc.assert(
      fc.property(text, (given) => {
        const read = only(() => readStrictYaml(given));
        if (read?.ok === false) {
          expect(read.problems.length).toBeGreaterThan(0);
          for (const problem of read.problems) expect(problem.message).toMatch(/^[\x20-\x7e]*$/);
        }
      }),
      cases(0.05),
    );
  });

  it('X30 policies: refused with a place, or the same again after parsing', () => {
    const whole = texts.map((text) => {
      const read = readStrictYaml(text);
      if (!read.ok) throw new Error('a shipped policy');
      return read.yaml.value;
    });
    const policy = fc.oneof(...whole.map((each) => spoilt(each)), spoilt(BASE_POLICY), evil);
    fc.assert(
      fc.property(policy, (given) => {
        const check = only(() => checkPolicy(given));
        if (check === null) return;
        if (check.ok) {
          const again = PolicySchema.parse(plain(check.policy));
          expect(canonicalJson(JSON.parse(JSON.stringify(again)))).toBe(
            canonicalJson(JSON.parse(JSON.stringify(check.policy))),
          );
        } else expect(check.problems.length).toBeGreaterThan(0);
      }),
      cases(0.05),
    );
  });

  it('X30 interlock.yaml and identities: problems name places and never values', () => {
    const file = {
      policies: { default: 'p' },
      server: { host: '127.0.0.1', port: 80 },
      outbound: { allow: ['a'] },
      alerts: [{ name: 'a', kind: 'webhook' }],
      roles: ['api'],
    };
    const identities = {
      identities: [
        {
          id: 'a',
          name: 'A',
          groups: ['board'],
          roles: ['trainer'],
          webhookSecrets: [`whsec_${'A'.repeat(43)}=`],
        },
      ],
    };
    const withCanary = (value: unknown): fc.Arbitrary<unknown> =>
      fc.oneof(
        spoilt(value),
        spoilt(JSON.parse(JSON.stringify(value).replace(/"(a|A|board|api|p)"/g, `"${CANARY} $1"`))),
      );
    fc.assert(
      fc.property(withCanary(file), withCanary(identities), (configuration, people) => {
        const parsed = briefly(() => ConfigurationFile.safeParse(configuration));
        if (!parsed.success) {
          const problems = briefly(() => fieldProblems(ConfigurationFile, parsed.error));
          expect(problems.length).toBeGreaterThan(0);
          for (const { message, parts } of problems) {
            expect(message).not.toContain(CANARY);
            expect(fieldPath(parts)).toMatch(/^[\x20-\x7e…]*$/);
          }
        }
        const known = briefly(() => parseIdentities({ value: people, isSharedFile: true, env: {} }));
        if (!known.ok) for (const { message } of known.problems) expect(message).not.toMatch(/whsec_A/);
      }),
      cases(0.05),
    );
  });

  it('X30 results: inconclusive, refused or read, and no word of a model is left in either', () => {
    const result = {
      status: 'success',
      score: 0.5,
      stderr: 0.1,
      n: 100,
      metrics: { accuracy: { value: 0.5, stderr: 0.1 } },
      model: `${CANARY} m`,
      error: `${CANARY} e`,
      startedAt: '2026-01-01T00:00:00Z',
      completedAt: '2026-01-01T00:00:01Z',
      transcriptUri: `s3://t/1?${CANARY}`,
    };
    const definition = { metric: 'accuracy', kind: 'proportion', range: [0, 1], minSamples: 10 } as const;
    fc.assert(
      fc.property(fc.oneof(spoilt(result), evil), (given) => {
        const parsed = briefly(() => parseNativeResult(given));
        expect(JSON.stringify(parsed)).not.toContain(CANARY);
        const found = parsed.ok ? parsed.result : parsed.salvage;
        if (found === null) return;
        expect(parseNativeResult(found)).toEqual({ ok: true, result: found });
        const reading = briefly(() => readResult(found, definition));
        if (reading.conclusive) expect(reading.score >= 0 && reading.score <= 1).toBe(true);
        if (!parsed.ok) expect(reading.conclusive).toBe(false);
        expect(() => canonicalJson(JSON.parse(JSON.stringify(reading)))).not.toThrow();
      }),
      cases(0.1),
    );
  });

  it('X30 the output of a program: its last object, or nothing', () => {
    const lines = garbled('starting\n{"status":"success","score":0.1}\n{"score":0.2}\nbye\n');
    fc.assert(
      fc.property(
        fc.oneof(
          lines.map((text) => Buffer.from(text)),
          fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
        ),
        (bytes) => {
          const last = briefly(() => lastJsonLine(bytes));
          briefly(() => parseResult(bytes));
          if (last.kind === 'found') expect(bytes.toString()).toContain('{');
        },
      ),
      cases(0.04),
    );
    for (const byte of ['{', '\n', ' ', '"', '\r', '{\n', ' {', '[']) {
      const output = Buffer.from(byte.repeat(10_000_000 / byte.length));
      expect(() => briefly(() => lastJsonLine(output)), JSON.stringify(byte)).not.toThrow();
    }
  });

  it('X30 an export: whatever is done to its bytes is found, and nothing is thrown', async () => {
    const keys = await createHeadKeys();
    const ledger = buildLedger(Array.from({ length: 4 }, (_, i) => ({ stream: `run-${i % 2}` })));
    const head = headLine(await keys.sign(ledger.claims[4] ?? { size: 4, root: '', hash: '' }));
    const file = `${[...ledger.lines, head].join('\n')}\n`;
    const evilLine = fc.oneof(
      spoilt(JSON.parse(ledger.lines[0] ?? '{}')).map((value) => JSON.stringify(value) ?? ''),
      fc.json(),
      evil.map((value) => JSON.stringify({ signedHead: value }) ?? ''),
    );
    const text = fc.oneof(
      garbled(file),
      evilLine.map((line) => `${line}\n${file}`),
      evilLine.map((line) => `${file}${line}\n`),
    );
    await fc.assert(
      fc.asyncProperty(text, async (given) => {
        const found = await verifyExport(bytesOf(Buffer.from(given), 100), {
          verifyHeadJws: keys.verifyHeadJws,
        });
        expect(found.ok).toBe(given === file);
        expect(found.problems.length).toBe(Math.min(found.problemsTotal, 100));
      }),
      cases(0.06),
    );
    fc.assert(
      fc.property(fc.oneof(garbled(ledger.lines[0] ?? ''), evilLine), (line) => {
        const parsed = briefly(() => parseEnvelope(line));
        if (parsed.ok) expect(canonicalJson(JSON.parse(line))).toBe(line);
      }),
      cases(0.03),
    );
  });

  it('X30 events read back from a ledger: known in every member, or refused', () => {
    const life = registered();
    life.pass('c1', '1e22', 0.1);
    life.report('c2', '2e22');
    life.result('c2/ctf', 0.7);
    const event = fc
      .constantFrom(...life.events)
      .chain(({ kind, data }) =>
        fc.tuple(
          fc.oneof(fc.constant<string>(kind), fc.constantFrom('constructor', '__proto__', 'X')),
          spoilt(JSON.parse(JSON.stringify(data))),
        ),
      );
    fc.assert(
      fc.property(event, ([kind, data]) => {
        if (typeof data !== 'object' || data === null || Array.isArray(data)) return;
        const content: JsonObject = JSON.parse(JSON.stringify(data));
        const parsed = only(() => parseRunEvent(kind, content), z.ZodError, RangeError);
        if (parsed !== null) expect(parsed.kind).toBe(kind);
      }),
      cases(0.05),
    );
  });
});

describe('X28 regular expressions', () => {
  const src = fileURLToPath(new URL('../../src', import.meta.url));
  /** Literals as this code writes them: behind an operator, a bracket, a comma or a colon. */
  const LITERAL =
    /(?:[=(,:!&|?[{;]|=>|return)\s*\/((?![*/])(?:[^/\\\n[]|\\.|\[(?:[^\]\\\n]|\\.)*\])+)\/([dgimsuy]*)(?=[\s.,;)\]}])/g;
  const patterns = new Map<string, RegExp>();
  for (const file of readdirSync(src, { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.ts')) continue;
    for (const [, body = '', flags = ''] of readFileSync(join(src, file), 'utf8').matchAll(LITERAL)) {
      patterns.set(`${file} /${body}/${flags}`, new RegExp(body, flags.replace(/[gy]/g, '')));
    }
  }
  const LENGTH = 20_000;
  const PUMPS = [...'a0 -._/:=,+%"\\{[(<\n\tZé', '1e', ' a', 'a.', '..', '::', '\\u', 'ab'];
  /** Quadratic, and given little: a compute of 64 characters, a printed number, the operator's own URL, a line of /proc. */
  const BOUNDED =
    /^(cli\/output\.ts|cli\/service-client\.ts|domain\/compute\.ts|evaluators\/limits\.ts|http\/routes\/status-page\.ts) /;

  it('X28 every pattern in the code is linear in what it is given', () => {
    expect(patterns.size).toBeGreaterThan(60);
    const slow: string[] = [];
    for (const [name, pattern] of patterns) {
      if (BOUNDED.test(name)) continue;
      // What is not in a class, or has a property, is generated by trial and error, without end; the pumps have to do.
      const isGenerated = !pattern.unicode && !/\[\^|\\[pPDSWbB]|\(\?[=!<]/.test(pattern.source);
      const matching = isGenerated
        ? fc.sample(fc.stringMatching(new RegExp(pattern.source)), { numRuns: 2, seed: 1 })
        : [];
      const attacks = PUMPS.map((pump) => pump.repeat(LENGTH / pump.length));
      for (const text of matching) {
        for (const at of new Set([0, Math.floor(text.length / 2)])) {
          const pump = text.slice(at, at + 2) || 'a';
          attacks.push(text.slice(0, at) + pump.repeat(LENGTH / pump.length) + text.slice(at));
        }
      }
      try {
        for (const attack of attacks) briefly(() => pattern.test(`${attack}\u0000`));
      } catch (error) {
        slow.push(`${name}: ${String(error)}`);
      }
    }
    expect(slow).toEqual([]);
  });
});
