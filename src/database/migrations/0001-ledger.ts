/**
 * The first schema: the ledger, what is derived from it, and the few side tables that are not.
 *
 * Text keys collate "C": an index whose order depends on the C library silently breaks when the operating system
 * is upgraded, and a broken unique index on `(source, webhook_id)` would count a webhook twice.
 *
 * The triggers are a guard rail against mistakes, not against the owner of the database; tampering is found by
 * the hash chain. They fire for statements, so that an UPDATE which matches nothing is refused too, and ALWAYS,
 * so that `session_replication_role = replica` does not silence them.
 */
export const migration0001 = {
  id: '0001-ledger',
  sql: `
CREATE TABLE ledger_event (
  seq bigint PRIMARY KEY,
  stream text COLLATE "C" NOT NULL,
  version int NOT NULL,
  id text COLLATE "C" NOT NULL UNIQUE,
  kind text NOT NULL,
  actor text NOT NULL,
  recorded_at timestamptz NOT NULL,
  envelope text NOT NULL,
  prev_hash text NOT NULL,
  hash text NOT NULL,
  UNIQUE (stream, version)
);
COMMENT ON COLUMN ledger_event.envelope IS 'canonical JSON (RFC 8785): exactly the bytes that are hashed';

CREATE FUNCTION ledger_event_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'ledger_event is append-only: % is refused', TG_OP USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER ledger_event_append_only BEFORE UPDATE OR DELETE ON ledger_event
  FOR EACH STATEMENT EXECUTE FUNCTION ledger_event_refuse_change();
CREATE TRIGGER ledger_event_no_truncate BEFORE TRUNCATE ON ledger_event
  FOR EACH STATEMENT EXECUTE FUNCTION ledger_event_refuse_change();
ALTER TABLE ledger_event ENABLE ALWAYS TRIGGER ledger_event_append_only;
ALTER TABLE ledger_event ENABLE ALWAYS TRIGGER ledger_event_no_truncate;

CREATE TABLE ledger_head (
  id int PRIMARY KEY CHECK (id = 1),
  seq bigint NOT NULL,
  hash text NOT NULL,
  recorded_at timestamptz NOT NULL,
  frontier jsonb NOT NULL
);
INSERT INTO ledger_head (id, seq, hash, recorded_at, frontier)
  VALUES (1, 0, repeat('0', 64), 'epoch', '[]');

CREATE TABLE stream_head (
  stream text COLLATE "C" PRIMARY KEY,
  version int NOT NULL,
  state text NOT NULL,
  due_at timestamptz,
  last_append text NOT NULL
);
COMMENT ON COLUMN stream_head.state IS 'text, not jsonb: the state must round-trip exactly';
CREATE INDEX stream_head_due ON stream_head (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE view_row (
  kind text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  run_id text COLLATE "C" NOT NULL,
  ordinal bigint NOT NULL,
  doc text NOT NULL,
  PRIMARY KEY (kind, id)
);
CREATE INDEX view_row_by_kind ON view_row (kind, ordinal);
CREATE INDEX view_row_by_run ON view_row (kind, run_id, ordinal);

CREATE TABLE webhook_receipt (
  source text COLLATE "C" NOT NULL,
  webhook_id text COLLATE "C" NOT NULL,
  body_digest text NOT NULL,
  response text NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (source, webhook_id)
);

CREATE TABLE signed_head (
  size bigint PRIMARY KEY,
  root text NOT NULL,
  hash text NOT NULL,
  jws text NOT NULL,
  signed_at timestamptz NOT NULL
);

CREATE TABLE run_progress (
  run_id text COLLATE "C" PRIMARY KEY,
  compute_high text,
  compute_last text,
  step bigint,
  heartbeat_at timestamptz,
  progress_at timestamptz,
  permit_seq bigint NOT NULL DEFAULT 0
);
COMMENT ON COLUMN run_progress.compute_high IS 'decimal: effective compute goes up to 1e40';

CREATE TABLE instance (
  id text COLLATE "C" PRIMARY KEY,
  started_at timestamptz NOT NULL,
  seen_at timestamptz NOT NULL,
  detail text NOT NULL
);
`,
};
