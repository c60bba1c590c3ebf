/** Printed codes: typed as people type, used once, whoever looks and whoever dies in between. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import {
  createCodes,
  generateCode,
  listCodes,
  normaliseCode,
  openBreakGlass,
  revokeCodes,
} from '../../src/button/break-glass.ts';
import { type ButtonFiles, buttonFiles } from '../../src/button/layout.ts';

let directory: string;
let files: ButtonFiles;
const NOW = new Date('2026-11-23T12:00:00.000Z');
const clock = () => NOW;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'interlock-codes-'));
  files = buttonFiles(directory);
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const makeCode = (identity = 'ann') => createCodes(files, identity, 1, NOW)[0] ?? { codeId: '', code: '' };

const breakGlass = JSON.stringify(fileURLToPath(new URL('../../src/button/break-glass.ts', import.meta.url)));
/** Uses every code as fast as it can from the moment it is told to; says which of them were its own. */
const RACER = `
  import { openBreakGlass } from ${breakGlass};
  process.once('message', ({ files, codes }) => {
    const glass = openBreakGlass(files, () => new Date());
    const won = codes.flatMap((code, at) => {
      const use = glass.claim(code, 'press_' + process.pid + '_' + at);
      if (use.outcome === 'valid') glass.spend(use.codeId);
      return use.outcome === 'valid' ? [at] : [];
    });
    process.send(won, () => process.disconnect());
  });
  process.send('ready');
`;
const Won = z.array(z.int());

function racers(count: number, codes: readonly string[]): Promise<number[]>[] {
  const started = Array.from({ length: count }, () =>
    spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', RACER], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    }),
  );
  const ready = Promise.all(started.map((child) => once(child, 'message')));
  return started.map(async (child) => {
    await ready;
    child.send({ files, codes });
    const [won] = await once(child, 'message');
    return Won.parse(won);
  });
}

describe('a printed code', () => {
  it('has 130 random bits in seven groups, and is never the same twice', () => {
    const codes = Array.from({ length: 500 }, generateCode);
    for (const code of codes) expect(code).toMatch(/^([0-9A-HJKMNP-TV-Z]{4}-){6}[0-9A-HJKMNP-TV-Z]{4}$/);
    expect(new Set(codes).size).toBe(500);
  });

  it('is understood however it is typed', () => {
    const code = generateCode();
    const plain = code.replaceAll('-', '');
    for (const typed of [code, code.toLowerCase(), plain, ` ${plain.match(/.{7}/g)?.join(' ')} `]) {
      expect(normaliseCode(typed), typed).toBe(plain);
    }
    expect(normaliseCode(plain.replaceAll('0', 'o').replaceAll('1', 'l'))).toBe(plain);
  });

  it('is no code with one character wrong, nearly always, nor with one missing', () => {
    let understood = 0;
    for (let i = 0; i < 500; i += 1) {
      const plain = generateCode().replaceAll('-', '');
      const wrong = `${plain.slice(0, 5)}${plain[5] === 'A' ? 'B' : 'A'}${plain.slice(6)}`;
      if (normaliseCode(wrong) !== null) understood += 1;
      expect(normaliseCode(plain.slice(1))).toBeNull();
    }
    expect(understood).toBeLessThan(10);
  });

  it('is kept as a hash, in a file that only its owner can read', () => {
    const { code } = makeCode();
    const text = readFileSync(files.codes, 'utf8');
    expect(text).not.toContain(code);
    expect(text).not.toContain(code.replaceAll('-', ''));
    expect(statSync(files.codes).mode & 0o777).toBe(0o600);
  });

  it('presses once for its identity', () => {
    const { code, codeId } = makeCode();
    const glass = openBreakGlass(files, clock);
    expect(glass.holder(code)).toBe('ann');
    expect(glass.claim(code, 'press_1')).toEqual({
      outcome: 'valid',
      codeId,
      identity: 'ann',
      pressId: 'press_1',
    });
    glass.spend(codeId);
    expect(glass.claim(code, 'press_2')).toMatchObject({ outcome: 'used', pressId: 'press_1' });
    // Another process, and one that starts later, know it too.
    expect(openBreakGlass(files, clock).claim(code, 'press_3')).toMatchObject({
      outcome: 'used',
      pressId: 'press_1',
    });
    expect(listCodes(files)).toEqual([
      { codeId, identity: 'ann', createdAt: NOW.toISOString(), usedAt: NOW.toISOString() },
    ]);
  });

  it('is claimed by one of two processes that show it at once', () => {
    const { code } = makeCode();
    const outcomes = [1, 2].map((n) => openBreakGlass(files, clock).claim(code, `press_${n}`).outcome);
    expect(outcomes).toEqual(['valid', 'used']);
  });

  it('is used where another process claims and spends it between the look and the claim', () => {
    const { code, codeId } = makeCode();
    const other = openBreakGlass(files, clock);
    // The clock is asked once, after the look.
    const late = openBreakGlass(files, () => {
      expect(other.claim(code, 'press_1').outcome).toBe('valid');
      other.spend(codeId);
      return NOW;
    });
    expect(late.claim(code, 'press_2')).toMatchObject({ outcome: 'used', pressId: 'press_1' });
    expect(readdirSync(files.usedCodes)).toEqual([`${codeId}.used`]);
  });

  it('presses once however two processes race for it', async () => {
    const codes = createCodes(files, 'ann', 150, NOW).map(({ code }) => code);
    const won = await Promise.all(racers(2, codes));
    expect(won.flat().sort((a, b) => a - b)).toEqual(codes.map((_, at) => at));
  });

  it('is not lost with a process that dies before its press is finished', async () => {
    const { code, codeId } = makeCode();
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
    const pid = child.pid ?? -1;
    openBreakGlass(files, clock).claim(code, 'press_1');
    const path = join(files.usedCodes, `${codeId}.claim`);
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), pid, startTime: null }));
    const later = openBreakGlass(files, clock);
    expect(later.claim(code, 'press_2').outcome).toBe('used');
    child.kill('SIGKILL');
    await once(child, 'exit');
    // The same press, so that what was written of it and what is written now are one.
    expect(later.claim(code, 'press_3')).toMatchObject({ outcome: 'valid', pressId: 'press_1' });
  });

  it('presses nothing once it is revoked', () => {
    const { code, codeId } = makeCode();
    const other = makeCode('bea');
    const glass = openBreakGlass(files, clock);
    expect(revokeCodes(files, ({ identity }) => identity === 'ann')).toEqual([codeId]);
    expect(glass.claim(code, 'press_1').outcome).toBe('unknown');
    expect(glass.claim(other.code, 'press_1').outcome).toBe('valid');
  });

  it.each([
    ['readable by others', () => chmodSync(files.codes, 0o644)],
    ['damaged', () => writeFileSync(files.codes, '{"format":')],
    ['gone', () => renameSync(files.codes, `${files.codes}.away`)],
  ])('presses nothing where the file of codes is %s', (_why, harm) => {
    const { code } = makeCode();
    harm();
    expect(openBreakGlass(files, clock).claim(code, 'press_1').outcome).toBe('unknown');
  });
});
