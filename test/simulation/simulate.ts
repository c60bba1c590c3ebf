/**
 * npm run simulate -- --seeds N [--seed S] [--workers K]     N seeds from S on, regressions first
 * npm run simulate -- --seed S                               that seed alone, with its story
 * npm run simulate -- --mutants [--seeds N] [--only ID,ID]   every mutation of mutants.ts, caught within N seeds
 *
 * `--markdown FILE` writes the table of a run of seeds, or of mutations, as docs/guarantees.md shows it.
 * Ends 1 when an invariant broke, a kind of event or fault was never reached, or a mutation survived.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { takenOn } from '../support/machine.ts';
import { ENOUGH, unreached } from './coverage.ts';
import { MUTANTS, type Mutant, staleMutants } from './mutants.ts';
import { REGRESSIONS } from './regressions.ts';
import type { SeedResult, Story } from './run-seed.ts';
import { SeedProcess } from './seed-process.ts';

const CHUNK = 10;
const PROGRESS_MS = 5_000;
const FAILURES_TOLD = 3;
const MUTANT_SEEDS = 400;

const { values } = parseArgs({
  options: {
    seeds: { type: 'string' },
    seed: { type: 'string' },
    workers: { type: 'string', default: '2' },
    mutants: { type: 'boolean', default: false },
    only: { type: 'string' },
    markdown: { type: 'string' },
  },
});

const count = (text: string | undefined, otherwise: number): number => {
  const number = Number(text ?? otherwise);
  if (!Number.isInteger(number) || number < 0) {
    console.error(`not a number: ${text}`);
    process.exit(2);
  }
  return number;
};

const workers = Math.max(1, count(values.workers, 2));

if (values.mutants) process.exitCode = await mutants(count(values.seeds, MUTANT_SEEDS));
else if (values.seeds === undefined && values.seed !== undefined) {
  process.exitCode = await replay(count(values.seed, 1));
} else process.exitCode = await seeds(count(values.seeds, 200), count(values.seed, 1));

async function seeds(howMany: number, from: number): Promise<number> {
  const todo = [
    ...REGRESSIONS.map(({ seed }) => seed),
    ...Array.from({ length: howMany }, (_, i) => from + i),
  ];
  const total = todo.length;
  const range = `seeds ${from} to ${from + howMany - 1}, after ${REGRESSIONS.length} regressions`;
  console.log(`simulation: ${range}\n${takenOn()}`);
  const reached = new Map<string, number>();
  const failures: SeedResult[] = [];
  const startedMs = performance.now();
  let done = 0;
  let cpuMs = 0;
  const seconds = (): number => (performance.now() - startedMs) / 1000;
  const line = (): void => {
    const rate = done / seconds();
    console.log(
      `${done} of ${total} seeds, ${failures.length} failed, ${rate.toFixed(1)} seeds/s, ${Math.round(seconds())} s`,
    );
  };
  const progress = setInterval(line, PROGRESS_MS);
  const running = Array.from({ length: Math.min(workers, total) }, () => new SeedProcess());
  await Promise.all(
    running.map(async (worker) => {
      for (let chunk = todo.splice(0, CHUNK); chunk.length > 0; chunk = todo.splice(0, CHUNK)) {
        await worker.run(chunk, (result) => {
          done += 1;
          cpuMs += result.cpuMs;
          if (result.failure !== null) {
            failures.push(result);
            console.log(`seed ${result.seed} failed: ${result.failure.message}`);
          }
          for (const [name, n] of Object.entries(result.reached))
            reached.set(name, (reached.get(name) ?? 0) + n);
          return true;
        });
      }
    }),
  );
  clearInterval(progress);
  line();
  const [teller] = running;
  for (const { seed } of failures.slice(0, FAILURES_TOLD)) {
    if (teller !== undefined) tell(seed, await teller.story(seed));
  }
  for (const worker of running) worker.end();
  console.log(coverageTable(reached));
  const missing = unreached(reached, total);
  if (missing.length > 0) console.log(`never reached: ${missing.join(', ')}`);
  const perSecond = (total / seconds()).toFixed(1);
  const cpuEach = (cpuMs / total).toFixed(0);
  console.log(
    `simulation: ${range}: ${failures.length} failed, ${perSecond} seeds/s with ${workers} workers, ${cpuEach} ms of CPU each`,
  );
  publish([
    `| seeds | failed | seeds/s (${workers} workers) | CPU per seed | wall time | never reached |`,
    '| --- | --- | --- | --- | --- | --- |',
    `| ${total} (${range}) | ${failures.length} | ${perSecond} | ${cpuEach} ms | ${Math.round(seconds())} s | ${neverReached(missing, total)} |`,
    '',
    ...compact(reached),
  ]);
  return failures.length > 0 || missing.length > 0 ? 1 : 0;
}

async function replay(seed: number): Promise<number> {
  const worker = new SeedProcess();
  const story = await worker.story(seed);
  worker.end();
  tell(seed, story);
  return story.failure === null ? 0 : 1;
}

function tell(seed: number, { failure, lines, without }: Story): void {
  console.log(`\nseed ${seed}${without.length === 0 ? '' : `, without ${without.join(', ')}`}`);
  for (const told of lines) console.log(told);
  console.log(failure === null ? 'no invariant broke' : failure.message);
  console.log(`again: npm run simulate -- --seed ${seed}\n`);
}

function publish(lines: readonly string[]): void {
  if (values.markdown === undefined) return;
  writeFileSync(values.markdown, `${[...lines, '', takenOn()].join('\n')}\n`);
}

/** How often each kind of event, fault and outcome was reached, three to a row. */
function compact(reached: ReadonlyMap<string, number>): string[] {
  const cells = [...reached]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, n]) => `${escaped(name)} | ${n}`);
  const rows = Array.from({ length: Math.ceil(cells.length / 3) }, (_, i) => {
    const row = [0, 1, 2].map((column) => cells[3 * i + column] ?? ' | ');
    return `| ${row.join(' | ')} |`;
  });
  return [
    '| reached | times | reached | times | reached | times |',
    '| --- | --: | --- | --: | --- | --: |',
    ...rows,
  ];
}

function neverReached(missing: readonly string[], total: number): string {
  if (total < ENOUGH) return `not judged under ${ENOUGH} seeds`;
  return missing.length === 0 ? 'nothing' : missing.join(', ');
}

function escaped(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ');
}

function coverageTable(reached: ReadonlyMap<string, number>): string {
  const rows = [...reached].sort(([a], [b]) => (a < b ? -1 : 1));
  return rows.map(([name, n]) => `${String(n).padStart(9)}  ${name}`).join('\n');
}

// --- mutants -------------------------------------------------------------------------------------------

interface Caught {
  readonly mutant: Mutant;
  /** null: it survived. */
  readonly after: number | null;
  readonly by: string;
}

async function mutants(budget: number): Promise<number> {
  const stale = await staleMutants();
  if (stale.length > 0) {
    console.log(`the passage to change is not there exactly once: ${stale.join(', ')}`);
    return 1;
  }
  const only = values.only?.split(',');
  const chosen = MUTANTS.filter(({ id }) => only === undefined || only.includes(id));
  const todo = [...chosen];
  const rows: Caught[] = [];
  const startedMs = performance.now();
  await Promise.all(
    Array.from({ length: workers }, async () => {
      for (let mutant = todo.shift(); mutant !== undefined; mutant = todo.shift()) {
        const caught = await hunt(mutant, budget);
        rows.push(caught);
        const after = caught.after === null ? 'SURVIVED' : `caught after ${caught.after} seeds`;
        console.log(`${rows.length} of ${chosen.length}  ${mutant.id}: ${after}`);
      }
    }),
  );
  rows.sort((a, b) => MUTANTS.indexOf(a.mutant) - MUTANTS.indexOf(b.mutant));
  console.log('\ninvariant | mutation | caught by checker | after N seeds');
  for (const { mutant, by, after } of rows) {
    console.log(`${mutant.invariant} | ${mutant.breaks} (${mutant.id}) | ${by} | ${after ?? 'SURVIVED'}`);
  }
  const survived = rows.filter(({ after }) => after === null).length;
  const uncovered = Array.from({ length: 10 }, (_, i) => i + 1).filter(
    (invariant) =>
      only === undefined &&
      !rows.some(({ mutant, after }) => mutant.invariant === invariant && after !== null),
  );
  if (uncovered.length > 0) console.log(`no mutation was caught for invariant ${uncovered.join(', ')}`);
  const tookS = Math.round((performance.now() - startedMs) / 1000);
  console.log(`mutants: ${rows.length - survived} of ${rows.length} caught in ${tookS} s\n${takenOn()}`);
  publish([
    `${rows.length - survived} of ${rows.length} mutations caught, each within ${budget} seeds, in ${tookS} s.`,
    '',
    '| invariant | mutation | caught by checker | after seeds |',
    '| --- | --- | --- | --: |',
    ...rows.map(
      ({ mutant: { id, invariant, breaks }, by, after }) =>
        `| ${invariant} | ${escaped(breaks)} (\`${id}\`) | ${escaped(by)} | ${after ?? 'SURVIVED'} |`,
    ),
  ]);
  return survived > 0 || uncovered.length > 0 ? 1 : 0;
}

/** Seeds until a checker of the mutation's own invariant finds it. */
async function hunt(mutant: Mutant, budget: number): Promise<Caught> {
  const worker = new SeedProcess(mutant);
  const todo = Array.from({ length: budget }, (_, i) => i + 1);
  let seen = 0;
  let by = '';
  try {
    for (let chunk = todo.splice(0, CHUNK); chunk.length > 0 && by === ''; chunk = todo.splice(0, CHUNK)) {
      await worker.run(chunk, ({ failure }) => {
        seen += 1;
        if (failure?.invariant !== mutant.invariant) return true;
        by = failure.message.slice(0, 100);
        return false;
      });
    }
  } finally {
    worker.end();
  }
  return { mutant, after: by === '' ? null : seen, by };
}
