/** `mode` of interlock.yaml: a shadow needs an end, and one that is near. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { ConfigError, loadConfiguration } from '../../src/config/load.ts';
import { type Mode, shadowUntil } from '../../src/config/mode.ts';
import { announceMode, modeCheck } from '../../src/service/mode.ts';

const NOW = new Date('2026-11-01T00:00:00.000Z');
let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'interlock-mode-'));
  await mkdir(join(dir, 'policies'));
  const identities = `identities:\n  - { id: op, name: Op, roles: [operator], tokenHashes: ["sha256:${'0'.repeat(64)}"] }\n`;
  await writeFile(join(dir, 'identities.yaml'), identities, { mode: 0o600 });
});
afterEach(() => rm(dir, { recursive: true, force: true }));

async function load(text: string): Promise<Mode | (string | number | null)[][]> {
  const file = join(dir, 'interlock.yaml');
  await writeFile(file, `policies: { default: p }\n${text}`, { mode: 0o600 });
  const alertSchema = z.strictObject({ name: z.string() });
  try {
    return (await loadConfiguration(file, { env: {}, alertSchema, now: () => NOW })).mode;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map(({ line, path, message }) => [line, path, message]);
  }
}

describe('mode', () => {
  it.each<[string, string, Mode]>([
    ['is armed where nothing is said', '', { kind: 'armed' }],
    ['is armed in either form', 'mode: { kind: armed }', { kind: 'armed' }],
    [
      'is shadow with its time, in UTC from here on',
      'mode: { kind: shadow, until: "2026-12-01T01:00:00+01:00" }',
      { kind: 'shadow', until: '2026-12-01T00:00:00.000Z' },
    ],
    [
      'is shadow with the time beside it',
      'mode: shadow\nshadow: { until: 2027-01-30T00:00:00Z }',
      { kind: 'shadow', until: '2027-01-30T00:00:00.000Z' },
    ],
    [
      'may name a time that has passed: the file need not be edited that night',
      'mode: { kind: shadow, until: 2026-10-01T00:00:00Z }',
      { kind: 'shadow', until: '2026-10-01T00:00:00.000Z' },
    ],
  ])('%s', async (_, text, mode) => {
    expect(await load(text)).toEqual(mode);
  });

  it.each<[string, string, number | null, string, RegExp]>([
    [
      'a shadow without an end',
      'mode: shadow',
      null,
      'shadow.until',
      /needs a time at which it ends, at most 90 days/,
    ],
    ['one of that form without an end', 'mode: { kind: shadow }', 2, 'mode.until', /RFC 3339/],
    [
      'an end that is too far',
      'mode: { kind: shadow, until: 2027-01-30T00:00:01Z }',
      2,
      'mode.until',
      /at most 90 days ahead, now 2027-01-30T00:00:00.000Z/,
    ],
    [
      'an end beside it that is too far',
      'mode: shadow\nshadow: { until: 2030-01-01T00:00:00Z }',
      3,
      'shadow.until',
      /at most 90 days ahead/,
    ],
    ['a day instead of a time', 'mode: { kind: shadow, until: 2026-12-01 }', 2, 'mode.until', /RFC 3339/],
    [
      'a time without the mode',
      'shadow: { until: 2026-12-01T00:00:00Z }',
      2,
      'shadow',
      /with "mode: shadow" alone/,
    ],
    [
      'two times',
      'mode: { kind: shadow, until: 2026-12-01T00:00:00Z }\nshadow: { until: 2026-12-02T00:00:00Z }',
      3,
      'shadow',
      /with "mode: shadow" alone/,
    ],
    ['another word', 'mode: shadowy', 2, 'mode', /"shadow"/],
  ])('refuses %s, with its path', async (_, text, line, path, message) => {
    const found = await load(text);
    expect(found).toEqual([[line ?? expect.anything(), path, expect.stringMatching(message)]]);
  });

  it('is over at its time, whatever the file says', () => {
    const mode: Mode = { kind: 'shadow', until: '2026-12-01T00:00:00.000Z' };
    expect(shadowUntil(mode, NOW)).toBe(mode.until);
    expect(shadowUntil(mode, new Date(mode.until))).toBeNull();
    expect(shadowUntil({ kind: 'armed' }, NOW)).toBeNull();
  });

  it('is said loudly at start, and by readiness', () => {
    const lines: string[] = [];
    const logger = { warn: (_: object, message: string) => void lines.push(message) };
    const mode: Mode = { kind: 'shadow', until: '2026-12-01T00:00:00.000Z' };
    announceMode(logger, { kind: 'armed' }, null);
    announceMode(logger, mode, mode.until);
    announceMode(logger, mode, null);
    expect(lines).toEqual([
      expect.stringMatching(/^SHADOW MODE until 2026-12-01T00:00:00.000Z: .* nothing is stopped/),
      expect.stringContaining('is over'),
    ]);
    expect(modeCheck(mode.until).detail).toContain('SHADOW MODE until 2026-12-01T00:00:00.000Z');
    expect(modeCheck(null)).toEqual({ name: 'mode', ok: true, detail: 'armed' });
  });
});
