/**
 * `npm run button:trials -- --presses 300 [--json]`: halts leave within a second, whatever is down.
 *
 * Prints a row per condition. Ends with 1 if a press failed or a p99 is above P99_MAX_MS, with 2 where it cannot be
 * tried on this machine.
 */
import { parseArgs } from 'node:util';
import { openButtonScene } from './button-scene.ts';
import { type Row, runTrials } from './button-trials.ts';
import { takenOn } from './machine.ts';
import { redisAvailable } from './redis.ts';

const P99_MAX_MS = 1_000;

const { values } = parseArgs({
  options: { presses: { type: 'string', default: '300' }, json: { type: 'boolean', default: false } },
});
const presses = Number(values.presses);
if (!Number.isSafeInteger(presses) || presses < 1) {
  console.error('--presses takes a whole number from 1');
  process.exit(2);
}
const ms = (value: number): string => (Number.isNaN(value) ? '-' : `${value.toFixed(0)} ms`);
const line = ({ condition, presses: made, failed, p50Ms, p99Ms, maxMs }: Row): string =>
  `| ${condition} | ${made} | ${failed} | ${ms(p50Ms)} | ${ms(p99Ms)} | ${ms(maxMs)} |`;

if (!redisAvailable()) console.error('no redis-server on this machine: the queue stays in PostgreSQL');
const scene = await openButtonScene({ redis: true });
try {
  await scene.start();
  if (!values.json) {
    console.log('| condition | presses | failed | p50 | p99 | max |');
    console.log('| --- | ---: | ---: | ---: | ---: | ---: |');
  }
  const { rows } = await runTrials(scene, {
    presses,
    onFailed: ({ runId, status, tookMs }) =>
      console.error(
        `${runId}: answered ${status}, received ${tookMs === null ? 'never' : `after ${tookMs.toFixed(0)} ms`}`,
      ),
    onRow: (row) => (values.json ? undefined : console.log(line(row))),
  });
  console.log(values.json ? JSON.stringify({ presses, rows }) : `\n${takenOn()}`);
  const ok = rows.every(({ failed, p99Ms }) => failed === 0 && p99Ms <= P99_MAX_MS);
  process.exitCode = ok ? 0 : 1;
} finally {
  await scene.close();
}
