/**
 * Which process of a run holds its permit, and until when by the database's clock; and what each of its processes
 * stated last, so that two of them beating in turn are not taken for one that moves.
 */
export const migration0002 = {
  id: '0002-permit-holder',
  sql: `
ALTER TABLE run_progress
  ADD COLUMN permit_holder text,
  ADD COLUMN permit_until timestamptz,
  ADD COLUMN instances text;
COMMENT ON COLUMN run_progress.instances IS 'JSON: the newest few instances, each with the compute it stated last';
`,
};
