/**
 * `npm run torture -- --minutes 5 [--seed S] [--grade G]`: faults against the real service, on every storage grade.
 *
 * The grades run side by side, so that five minutes are enough to visit every fault once on each. Ends with the
 * promises table; exit code 1 if a promise broke, 2 if `--require` was given and something needed is missing.
 */
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { installBuild } from '../support/campaign/installation.ts';
import { SEED_AND_GRADE, SeedAndGrade } from '../support/campaign/seed-and-grade.ts';
import { GRADES, type Grade, missing as missingFor } from '../support/campaign/stores.ts';
import { machine } from '../support/machine.ts';
import { whyNoDisk } from './disk.ts';
import { faultsOf, forgottenWithinMs, markdown, promisesOf, type TortureReport } from './table.ts';
import { type GradeReport, isBroken, pointsOf, torture } from './torture.ts';

const USAGE = `npm run torture -- [options]
  --minutes M       how long in all (default 5)
  --seed S          draws faults, moments and load (default: random, printed)
  --grade G         embedded, server or distributed (default: all, side by side)
  --markdown FILE   writes the tables
  --json FILE       writes everything
  --require         ends 2 when something needed is missing here`;

/** Of the time, for letting everything end and for the last judgement. */
const SETTLE_MS = 25_000;
const SETTLE_SHARE = 0.25;

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '5' },
    ...SEED_AND_GRADE,
    markdown: { type: 'string' },
    json: { type: 'string' },
    require: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
const say = (line: string) => process.stdout.write(`${line}\n`);
if (values.help) {
  say(USAGE);
  process.exit(0);
}
const options = SeedAndGrade.extend({ minutes: z.coerce.number().min(0.1).max(10_000) }).parse(values);

const startedAtMs = performance.now();
const { seed, minutes } = options;
const absent = new Set<string>();
const noDisk = whyNoDisk();
if (noDisk !== false) absent.add(noDisk);
const grades = (options.grade === undefined ? GRADES : [options.grade]).filter((grade) => {
  const reason = missingFor(grade);
  if (reason !== false) absent.add(`the ${grade} grade: ${reason}; apt-get install redis-server`);
  return reason === false;
});
say(`torture: seed ${seed}, ${minutes} minutes, ${grades.join(', ')}; ${machine()}`);
for (const what of absent) say(`not tried: ${what}`);

const { bin, remove } = await installBuild();
const untilMs = startedAtMs + minutes * 60_000 - Math.min(SETTLE_MS, minutes * 60_000 * SETTLE_SHARE);
const reports = await Promise.all(
  grades.map((grade, i) => torture({ bin, grade, seed: seed + i, untilMs, say })),
);
await remove();

const report: TortureReport = {
  seed,
  date: new Date().toISOString().slice(0, 10),
  node: process.version.slice(1),
  machine: machine(),
  promises: reports.flatMap(promisesOf),
  faults: reports.flatMap(faultsOf),
  points: reports.map((each) => ({ grade: each.grade, ...pointsOf(each) })),
  missing: [
    ...absent,
    ...reports.flatMap(({ grade, notVisited }) => notVisited.map((what) => `${grade}: ${what}`)),
  ],
  figures: Object.fromEntries(reports.map(({ grade, figures }) => [grade, figures])),
};
say(`\n${markdown(report)}`);
if (values.markdown !== undefined) await writeFile(values.markdown, markdown(report));
if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(report, null, 2)}\n`);

for (const each of reports) {
  for (const round of each.rounds.filter(broke(each))) {
    say(`BROKEN ${each.grade}, round ${round.number}: ${round.name}`);
    for (const text of [...round.found.kept, ...round.found.halts, ...round.found.other]) say(`  ${text}`);
    say(
      `  again: npm run torture -- --minutes ${minutes} --seed ${seed}${repeat(each.grade)}; kept in ${each.kept}`,
    );
    process.exitCode = 1;
  }
}
say(
  `torture: ${process.exitCode === 1 ? 'a promise broke' : 'every promise held'} in ${Math.round((performance.now() - startedAtMs) / 1_000)} s`,
);
if (values.require && report.missing.length > 0) process.exitCode ??= 2;

function broke(report: GradeReport): (round: GradeReport['rounds'][number]) => boolean {
  const allowedMs = forgottenWithinMs(report);
  return ({ found, extraDelayMs }) => isBroken(found) || (extraDelayMs ?? 0) > allowedMs;
}

/** A grade draws from the seed and its place among the grades that ran. */
function repeat(grade: Grade): string {
  return options.grade === undefined
    ? ` (with the same grades; ${grade} alone: --grade ${grade} --seed ${seed + grades.indexOf(grade)})`
    : ` --grade ${grade}`;
}
