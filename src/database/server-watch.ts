/**
 * Tells when a database server is away and when it is back. It asks on a schedule and at once when a connection
 * breaks, so a server that vanishes in the middle of the night is not first noticed by the checkpoint of the morning.
 */
import { EventEmitter } from 'node:events';
import type pg from 'pg';
import type { DatabaseLogger } from './logger.ts';

export interface ServerWatch {
  onDown(listener: () => void): () => void;
  onUp(listener: () => void): () => void;
  check(): void;
  close(): void;
}

const upIntervalMs = 5_000;
const downIntervalMs = 1_000;

export function watchServer(pool: pg.Pool, logger: DatabaseLogger): ServerWatch {
  const events = new EventEmitter<{ down: []; up: [] }>();
  let state: 'up' | 'down' = 'up';
  let timer: NodeJS.Timeout | undefined;
  let asking = false;
  let closed = false;

  const become = (next: 'up' | 'down') => {
    if (state === next) return;
    state = next;
    if (next === 'down') logger.error({}, 'the database server does not answer');
    else logger.info({}, 'the database server answers again');
    events.emit(next);
  };
  const schedule = () => {
    clearTimeout(timer);
    if (closed) return;
    timer = setTimeout(check, state === 'up' ? upIntervalMs : downIntervalMs);
    timer.unref();
  };
  const ask = async () => {
    // A pool with every client in use also fails here; to a caller who waits for a client that is the same.
    const answered = await pool.query('SELECT 1').then(
      () => true,
      () => false,
    );
    if (!closed) become(answered ? 'up' : 'down');
  };
  function check(): void {
    if (asking || closed) return;
    asking = true;
    void ask().finally(() => {
      asking = false;
      schedule();
    });
  }
  const subscribe = (name: 'down' | 'up') => (listener: () => void) => {
    events.on(name, listener);
    return () => {
      events.off(name, listener);
    };
  };

  schedule();
  return {
    onDown: subscribe('down'),
    onUp: subscribe('up'),
    check,
    close: () => {
      closed = true;
      clearTimeout(timer);
    },
  };
}
