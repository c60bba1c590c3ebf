/**
 * `npm run bench`: the figures of the service, each beside a baseline measured in the same run.
 *
 *   npm run bench -- [--only NAME]... [--quick] [--json FILE] [--markdown FILE] [--profile DIR]
 *
 * Ends 0 when everything could be measured, whether or not every target was met (the table says); 2 on a wrong
 * option. Installs nothing: PostgreSQL is the embedded one, and without a redis-server the queue is measured on
 * PostgreSQL and the table says so. Only ratios travel: the machine and its neighbours change both sides.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { cpus, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import type { Figure, Section } from './figure.ts';
import { markdownTable, terminalTable } from './report.ts';
import { checkpoints } from './sections/checkpoints.ts';
import { growth } from './sections/growth.ts';
import { halts } from './sections/halts.ts';
import { heartbeats } from './sections/heartbeats.ts';
import { recovery } from './sections/recovery.ts';
import { redButton } from './sections/red-button.ts';
import { verification } from './sections/verification.ts';
import { openStand } from './stand.ts';

const SECTIONS: readonly Section[] = [
  checkpoints,
  halts,
  redButton,
  heartbeats,
  growth,
  verification,
  recovery,
];

function options() {
  try {
    const { values } = parseArgs({
      options: {
        only: { type: 'string', multiple: true, default: [] },
        quick: { type: 'boolean', default: false },
        json: { type: 'string' },
        markdown: { type: 'string' },
        profile: { type: 'string' },
      },
    });
    const unknown = values.only.filter((name) => !SECTIONS.some((section) => section.name === name));
    if (unknown.length > 0) throw new Error(`there is no section ${unknown.join(', ')}`);
    return values;
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    console.error(`sections: ${SECTIONS.map(({ name }) => name).join(' ')}`);
    process.exit(2);
  }
}

const { only, quick, json, markdown, profile } = options();
if (profile !== undefined) await mkdir(profile, { recursive: true });
const wanted = SECTIONS.filter(({ name }) => only.length === 0 || only.includes(name));
const stand = openStand();
const machine = {
  at: new Date().toISOString(),
  cpu: `${cpus().length} x ${cpus()[0]?.model ?? 'unknown'}`,
  memoryGiB: Math.round(totalmem() / 2 ** 30),
  node: process.version,
  storage: stand.facts.grade,
  quick,
};
if (stand.facts.missing !== null) console.log(`missing: ${stand.facts.missing}`);
const results: { section: string; title: string; figures: Figure[] }[] = [];
const failed: string[] = [];
try {
  for (const section of wanted) {
    const startedMs = performance.now();
    const note = (text: string): void => console.error(`${section.name}: ${text}`);
    note('started');
    try {
      const figures = await section.run({ stand, quick, profileTo: profile, note });
      results.push({ section: section.name, title: section.title, figures });
      for (const line of terminalTable(section.title, figures)) console.log(line);
    } catch (error) {
      failed.push(section.name);
      console.error(`${section.name} could not be measured:`, error);
    }
    note(`${((performance.now() - startedMs) / 1000).toFixed(0)} s`);
  }
} finally {
  await stand.close();
}
if (json !== undefined) await writeFile(json, `${JSON.stringify({ machine, results, failed }, null, 2)}\n`);
if (markdown !== undefined) await writeFile(markdown, markdownTable(machine, results));
if (failed.length > 0) console.error(`not measured: ${failed.join(', ')}`);
process.exit(failed.length > 0 ? 1 : 0);
