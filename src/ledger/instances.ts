/**
 * Who is alive: one row per running Interlock, kept fresh by the database's own clock.
 *
 * An attempt belongs to the instance that started it. An instance not seen for `lostAfterMs` is gone as far
 * as its work goes: what it ran is handed back. It may be only slow; then its late word still counts, as that
 * of an earlier attempt. `detail` says where it runs, so that whoever runs beside it can know sooner
 * (service/instance-home.ts).
 */
import type { Pool } from 'pg';
import { z } from 'zod';
import { query } from './connection.ts';
import { text } from './rows.ts';

export interface KnownInstance {
  readonly id: string;
  readonly detail: string;
  /** Not seen for `lostAfterMs`, by the database's clock. */
  readonly silent: boolean;
  /** Of labelled work that it takes. */
  readonly labels: readonly string[];
}

export interface Instances {
  beat(instance: string, detail: string, labels?: readonly string[]): Promise<void>;
  known(lostAfterMs: number): Promise<KnownInstance[]>;
  /** Streams whose state names the instance. A scan, made only when one is lost. */
  streamsNaming(instance: string): Promise<string[]>;
  forget(instance: string): Promise<void>;
}

const TIMEOUT_MS = 5_000;

const LabelsSchema = z.array(z.string());

export function createInstances(pool: Pool): Instances {
  return {
    async beat(instance, detail, labels = []) {
      await query(
        pool,
        TIMEOUT_MS,
        `INSERT INTO instance (id, started_at, seen_at, detail, labels)
         VALUES ($1, clock_timestamp(), clock_timestamp(), $2, $3)
         ON CONFLICT (id) DO UPDATE SET seen_at = clock_timestamp(), labels = EXCLUDED.labels`,
        [instance, detail, [...labels]],
      );
    },
    async known(lostAfterMs) {
      const rows = await query(
        pool,
        TIMEOUT_MS,
        `SELECT id, detail, labels, seen_at < clock_timestamp() - $1 * interval '1 millisecond' AS silent
         FROM instance ORDER BY id`,
        [lostAfterMs],
      );
      return rows.map((row) => ({
        id: text(row, 'id'),
        detail: text(row, 'detail'),
        silent: row['silent'] === true,
        labels: LabelsSchema.parse(row['labels']),
      }));
    },
    async streamsNaming(instance) {
      const rows = await query(
        pool,
        TIMEOUT_MS,
        'SELECT stream FROM stream_head WHERE position($1 in state) > 0 ORDER BY stream',
        [instance],
      );
      return rows.map((row) => text(row, 'stream'));
    },
    async forget(instance) {
      await query(pool, TIMEOUT_MS, 'DELETE FROM instance WHERE id = $1', [instance]);
    },
  };
}
