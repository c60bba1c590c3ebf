/**
 * Nothing is compared with a secret by an operator that stops at the first difference: what reads credentials may
 * compare them only through timingSafeEqual, a verification of the crypto library, or a look-up by a keyed hash.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const FILES = [
  'http/authentication.ts',
  'http/sessions.ts',
  'http/oidc/people.ts',
  'http/oidc/keys.ts',
  'signing/standard-webhooks.ts',
  'signing/tokens.ts',
  'button/break-glass.ts',
  'button/credentials.ts',
  'config/credentials.ts',
];

/** A comparison, or a search by value, with something called like a secret on either side. */
const SECRETS = /(token|secret|hash|digest|signature|mac|code|cookie|session|password|offered|presented)s?$/i;
/** What is compared and is no secret. */
const HARMLESS = new Set(['error.code', 'verdict.reason', 'code', 'known.code', 'reason']);

function comparisons(text: string): string[] {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/\/\/.*$/gm, '');
  return [...code.matchAll(/([\w.?[\]()]+)\s*(===|!==|==|!=)\s*([\w.?[\]()'"]+)/g)].flatMap(
    ([all, left = '', , right = '']) => {
      const isAbout = [left, right].some(
        (side) => SECRETS.test(side.replace(/[()\]?]+$/, '')) && !HARMLESS.has(side),
      );
      const isTrivial = [left, right].some(
        (side) => /^(undefined|null|'.*'|".*"|\d+|true|false)\)*$/.test(side) || /length$/.test(side),
      );
      return isAbout && !isTrivial ? [all] : [];
    },
  );
}

describe('comparing secrets', () => {
  it.each(FILES)('%s compares none by an operator', (file) => {
    const text = readFileSync(fileURLToPath(new URL(`../../src/${file}`, import.meta.url)), 'utf8');
    expect(comparisons(text)).toEqual([]);
    expect(
      /\.(includes|indexOf|startsWith|localeCompare)\((token|secret|offered|hash)\b/.exec(text)?.[0],
    ).toBeUndefined();
  });

  it('would be seen', () => {
    expect(comparisons('if (record.tokenHash === offered) return true;')).toHaveLength(1);
    expect(comparisons('return signature != expectedSignature')).toHaveLength(1);
    expect(comparisons("if (token === undefined || code === 'x') return;")).toEqual([]);
  });
});
