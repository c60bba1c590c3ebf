/** `keys party` and `evidence keygen`: the private half goes to one file, readable by its maker alone, and over nothing. */
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { say } from './cli-terminal.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'interlock-key-pair-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

describe.each([
  ['keys party', ['keys', 'party']],
  ['evidence keygen', ['evidence', 'keygen']],
])('%s', (name, command) => {
  test('prints the public half and keeps the private one from others', async () => {
    const file = join(directory, `${name}.key`);
    const { code, out } = await say([...command, '--out', file]);
    expect(code).toBe(0);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(out).not.toContain((await readFile(file, 'utf8')).trim());
  });

  test('as JSON names the file, and holds no private half', async () => {
    const file = join(directory, `${name}-json.key`);
    const { out } = await say([...command, '--out', file, '--json']);
    expect(JSON.parse(out)).toEqual({ publicKey: expect.any(String), privateKeyFile: file });
    expect(out).not.toContain((await readFile(file, 'utf8')).trim());
  });

  test('leaves a file that is there as it is', async () => {
    const file = join(directory, `${name}-there.key`);
    await writeFile(file, 'somebody needs this');
    const { code, err } = await say([...command, '--out', file]);
    expect(code).toBe(2);
    expect(err).toContain('nothing was made');
    expect(await readFile(file, 'utf8')).toBe('somebody needs this');
  });
});
