import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { HOSTILE_ROWS, NOT_TESTED, TESTED_ELSEWHERE } from '../support/hostile-rows.ts';

const TESTS = fileURLToPath(new URL('..', import.meta.url));
const ID = /\b[A-HX]\d\d\b/g;
/** Ids at the head of a literal: the name of a test, or of a row of its table. */
const NAME = /['"`]((?:[A-HX]\d\d )+)/g;

const files = readdirSync(TESTS, { recursive: true, encoding: 'utf8' }).filter((file) =>
  /(?:^|\/)hostile-[a-z-]+\.test\.ts$/.test(file),
);
const named = (file: string): string[] =>
  [...readFileSync(`${TESTS}/${file}`, 'utf8').matchAll(NAME)].flatMap(([, ids = '']) => ids.match(ID) ?? []);

it('every hostile input of the list has a test that names it, and every test that names one is on the list', () => {
  const covered = new Set(files.flatMap(named));
  expect([...covered].filter((id) => !Object.hasOwn(HOSTILE_ROWS, id)).sort()).toEqual([]);
  const elsewhere = { ...TESTED_ELSEWHERE, ...NOT_TESTED };
  const missing = Object.keys(HOSTILE_ROWS).filter((id) => !covered.has(id));
  expect(missing.filter((id) => !Object.hasOwn(elsewhere, id))).toEqual([]);
});

it('a row that is tested elsewhere is tested there', () => {
  for (const [id, [file, name]] of Object.entries(TESTED_ELSEWHERE)) {
    expect(
      readFileSync(`${TESTS}/${file}`, 'utf8').includes(name),
      `${id}: ${file} has a test named ${name}`,
    ).toBe(true);
  }
});
