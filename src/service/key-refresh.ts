/**
 * Sees that the keyring's file was changed (`interlock keys rotate`, `revoke`, a secret mounted anew) and takes it
 * over, without a restart. Which way it fails: a file that cannot be used is logged and changes nothing; the keys in
 * memory go on signing, for a halt must be signed.
 */
import type { Keyring } from '../signing/keyring.ts';
import { realTimers, type Timer, type Timers } from '../timers.ts';

const LOOK_EVERY_MS = 1_000;

export interface KeyRefresh {
  start(): void;
  stop(): Promise<void>;
}

export function createKeyRefresh(
  keyring: Keyring,
  logger: { info(fields: object, message: string): void; error(fields: object, message: string): void },
  timers: Timers = realTimers,
): KeyRefresh {
  let timer: Timer | null = null;
  let looking: Promise<void> = Promise.resolve();
  let stopped = false;
  let complained = false;

  async function look(): Promise<void> {
    try {
      const changed = await keyring.refresh();
      complained = false;
      if (changed) logger.info({ kid: keyring.active().kid }, 'the keyring changed and was taken over');
    } catch (error) {
      // Once, not every second.
      if (!complained) {
        logger.error(
          { err: error },
          'the keyring changed and cannot be used; signing goes on with the keys in memory',
        );
      }
      complained = true;
    }
  }

  function again(): void {
    if (stopped) return;
    timer = timers.set(
      () => {
        looking = look().then(again);
      },
      LOOK_EVERY_MS,
      { unref: true },
    );
  }

  return {
    start: again,
    async stop() {
      stopped = true;
      if (timer !== null) timers.clear(timer);
      await looking;
    },
  };
}
