import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { FAULT_POINTS, type FaultPoint } from '../../src/fault-points.ts';

const SOURCE = fileURLToPath(new URL('../../src/', import.meta.url));
const isName = (name: string): name is FaultPoint => Object.hasOwn(FAULT_POINTS, name);
const names = Object.keys(FAULT_POINTS).filter(isName);

/** The module as a process would load it that was started with this environment. */
async function loadedWith(value: string | undefined): Promise<typeof import('../../src/fault-points.ts')> {
  vi.stubEnv('INTERLOCK_FAULT', value);
  vi.resetModules();
  return import('../../src/fault-points.ts');
}

afterEach(() => vi.unstubAllEnvs());

describe('fault points', () => {
  it('are each called in the sources, and no other name is', async () => {
    const called: string[] = [];
    for (const file of await readdir(SOURCE, { recursive: true })) {
      if (!file.endsWith('.ts') || file === 'fault-points.ts') continue;
      const text = await readFile(join(SOURCE, file), 'utf8');
      called.push(...[...text.matchAll(/\bfaultPoint\('([^']+)'\)/g)].map(([, name]) => name ?? ''));
      // A name that is not written where it is passed could not be found by this test, nor by a reader.
      expect(text.match(/\bfaultPoint\((?!')/g), file).toBeNull();
    }
    expect([...new Set(called)].sort()).toEqual([...names].sort());
  });

  it('each say what has happened and what has not', () => {
    for (const between of Object.values(FAULT_POINTS)) expect(between.split(' | ')).toHaveLength(2);
  });

  it('do nothing where nothing is armed', async () => {
    const { faultPoint } = await loadedWith(undefined);
    for (const name of names) expect(() => faultPoint(name)).not.toThrow();
  });

  it('fail at the n-th passing of the armed one, once, and nowhere else', async () => {
    const { faultPoint } = await loadedWith('halt.sent:throw:2');
    faultPoint('halt.sending');
    faultPoint('halt.sent');
    expect(() => faultPoint('halt.sent')).toThrow(
      expect.objectContaining({ code: 'fault.injected', retryable: true }),
    );
    faultPoint('halt.sent');
  });

  it('stand still for as long as they are told', async () => {
    const { faultPoint } = await loadedWith('halt.sent:delay:1:60');
    const from = performance.now();
    faultPoint('halt.sent');
    expect(performance.now() - from).toBeGreaterThan(50);
  });

  it.each(['halt.sent', 'nowhere:kill:1', 'halt.sent:explode:1', 'halt.sent:kill:0', 'toString:kill:1'])(
    'end a start that was asked for %s',
    async (value) => {
      await expect(loadedWith(value)).rejects.toMatchObject({ code: 'fault.unknown' });
    },
  );

  it('are read from the environment of the process alone', async () => {
    const readers: string[] = [];
    for (const file of await readdir(SOURCE, { recursive: true })) {
      if (!file.endsWith('.ts')) continue;
      if ((await readFile(join(SOURCE, file), 'utf8')).includes('INTERLOCK_FAULT')) readers.push(file);
    }
    expect(readers).toEqual(['fault-points.ts']);
  });
});
