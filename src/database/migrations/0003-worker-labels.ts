/** Which labelled work a running Interlock takes, so that work which nobody takes can be told from work that waits its turn. */
export const migration0003 = {
  id: '0003-worker-labels',
  sql: `
ALTER TABLE instance ADD COLUMN labels text[] NOT NULL DEFAULT '{}';
`,
};
