/**
 * Rotation of the signing key, killed at its own fault points: on a keyring of its own, in processes of their own.
 * Whatever the moment, the keyring that is left must load, and what the old key signed must still verify.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { FaultPoint } from '../../src/fault-points.ts';
import { createKeyringFile, loadKeyring } from '../../src/signing/keyring.ts';
import { type Fault, over } from './fault.ts';

export const KEY_POINTS = ['keys.written', 'keys.replaced'] as const satisfies readonly FaultPoint[];

const KEYRING = pathToFileURL(fileURLToPath(new URL('../../src/signing/keyring.ts', import.meta.url))).href;
const ROTATE = `const { loadKeyring } = await import(process.env.KEYRING_MODULE);
const keyring = await loadKeyring(process.env.KEYRING_FILE);
await keyring.rotate();`;
const DIED_WITHIN_MS = 30_000;

export const KEY_ROTATION: Fault = {
  name: 'rotation of the signing key killed half-way',
  of: 'other',
  grades: ['embedded', 'server', 'distributed'],
  async strike(stage) {
    const { violations } = stage.scene.journal;
    const directory = await mkdtemp(join(stage.spare, 'keys-'));
    const file = join(directory, 'key.json');
    await createKeyringFile(file);
    for (const point of KEY_POINTS) {
      const before = (await loadKeyring(file)).jwks().keys.map(({ kid }) => kid);
      const child = spawn(
        process.execPath,
        ['--import', import.meta.resolve('tsx'), '--input-type=module', '-e', ROTATE],
        {
          env: {
            ...process.env,
            INTERLOCK_FAULT: `${point}:kill`,
            KEYRING_MODULE: KEYRING,
            KEYRING_FILE: file,
          },
          stdio: 'ignore',
        },
      );
      const limit = new AbortController();
      await Promise.race([
        once(child, 'exit'),
        delay(DIED_WITHIN_MS, undefined, { signal: limit.signal }).catch(() => undefined),
      ]);
      limit.abort();
      if (child.signalCode !== 'SIGKILL') violations.push(`the rotation did not die at ${point}`);
      child.kill('SIGKILL');
      const after = await loadKeyring(file).catch(() => null);
      const kids = after?.jwks().keys.map(({ kid }) => kid) ?? [];
      if (!before.every((kid) => kids.includes(kid))) violations.push(`a key was lost at ${point}`);
      // What a rotation that died leaves behind is removed by hand, as its message says.
      await rm(`${file}.rotating`, { force: true });
    }
    await rm(directory, { recursive: true, force: true });
    return over();
  },
};
