/** The site's own programs that isolate a quarantined run, as interlock.yaml names them for policies to use. */
import { z } from 'zod';
import { SiteArgv, siteProgram } from './orchestrators-command.ts';
import { SystemName } from './system-names.ts';

const command = z.strictObject({
  isolate: SiteArgv,
  /** Says whether it is done. */
  status: SiteArgv,
  ...siteProgram,
});
export type IsolationCommand = z.output<typeof command>;

export const IsolationConfigSchema = z
  .strictObject({ commands: z.record(SystemName, command).default({}) })
  .prefault({});
export type IsolationConfig = z.output<typeof IsolationConfigSchema>;
