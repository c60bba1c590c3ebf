/**
 * How far attempts that run now have come, in figures: a side table, because it decides nothing and is out of date at once.
 * Unlogged: what a crash of the database loses is said again within seconds.
 */
export const migration0004 = {
  id: '0004-evaluation-progress',
  sql: `
CREATE UNLOGGED TABLE evaluation_progress (
  evaluation_id text PRIMARY KEY,
  run_id text NOT NULL,
  attempt integer NOT NULL,
  done bigint NOT NULL,
  total bigint,
  unit text NOT NULL,
  errored bigint,
  at timestamptz NOT NULL
);
CREATE INDEX evaluation_progress_by_run ON evaluation_progress (run_id);
`,
};
