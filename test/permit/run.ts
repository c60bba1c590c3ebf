/**
 * `npm run permit:trials -- [--trials 50] [--wave 10] [--replicas 2] [--ttl-ms 4000] [--check-ms 100] [--grace-ms 2000]
 * [--client typescript|python|both] [--json]`: real Interlocks, real trainers; a table against the bound. Exit 1 when one is late or one paused.
 */
import { parseArgs } from 'node:util';
import { takenOn } from '../support/machine.ts';
import { runTrials, type TrialResults } from './trials.ts';

const { values } = parseArgs({
  options: {
    trials: { type: 'string', default: '50' },
    wave: { type: 'string', default: '10' },
    replicas: { type: 'string', default: '2' },
    'ttl-ms': { type: 'string', default: '4000' },
    'blip-ttl-ms': { type: 'string', default: '24000' },
    'heartbeat-ms': { type: 'string', default: '1000' },
    'check-ms': { type: 'string', default: '100' },
    'grace-ms': { type: 'string', default: '2000' },
    client: { type: 'string', default: 'typescript' },
    json: { type: 'boolean', default: false },
  },
});

const whole = (name: string, text: string): number => {
  const value = /^[1-9]\d{0,6}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isNaN(value)) {
    process.stderr.write(`--${name} must be a whole number from 1\n`);
    process.exit(2);
  }
  return value;
};

const { client } = values;
if (client !== 'typescript' && client !== 'python' && client !== 'both') {
  process.stderr.write('--client must be typescript, python or both\n');
  process.exit(2);
}

// So that what was started ends with us (an exit hook does it), however we are ended.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));
const startedAtMs = performance.now();
const results = await runTrials({
  trials: whole('trials', values.trials),
  wave: whole('wave', values.wave),
  replicas: whole('replicas', values.replicas),
  deadTtlMs: whole('ttl-ms', values['ttl-ms']),
  blipTtlMs: whole('blip-ttl-ms', values['blip-ttl-ms']),
  heartbeatMs: whole('heartbeat-ms', values['heartbeat-ms']),
  checkPeriodMs: whole('check-ms', values['check-ms']),
  graceMs: whole('grace-ms', values['grace-ms']),
  client,
  say: (line) => process.stderr.write(`${line}\n`),
});
const summary = summarise(results);
if (values.json) process.stdout.write(`${JSON.stringify({ ...summary, ...results })}\n`);
else process.stdout.write(`${table(summary, results)}\n\n${takenOn()}\n`);
process.stderr.write(`took ${Math.round((performance.now() - startedAtMs) / 1000)} s\n`);
process.exitCode = summary.ok ? 0 : 1;

function summarise({ dead, blips }: TrialResults) {
  const late = dead.filter((trial) => trial.late).length;
  const paused = blips.filter(({ pauses, judged }) => judged && pauses > 0).length;
  const unjudged = blips.filter(({ judged }) => !judged).length;
  return {
    ok: late === 0 && paused === 0 && unjudged === 0,
    late,
    paused,
    unjudged,
    lastStep: spread(dead.map(({ lastStepMs }) => lastStepMs)),
    ended: spread(dead.map(({ endedMs }) => endedMs)),
    gap: spread(blips.map(({ gapMs }) => gapMs)),
  };
}

function spread(values: readonly number[]) {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number): number =>
    Math.round(sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN);
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}

function table(
  { late, paused, unjudged, lastStep, ended, gap }: ReturnType<typeof summarise>,
  { boundMs, graceMs, dead, blips }: TrialResults,
): string {
  const row = (cells: readonly (string | number)[]): string => `| ${cells.join(' | ')} |`;
  const figures = ({ p50, p99, max }: ReturnType<typeof spread>): string[] => [
    `${p50} ms`,
    `${p99} ms`,
    `${max} ms`,
  ];
  return [
    row(['trial', 'n', 'failed', 'p50', 'p99', 'max', 'bound']),
    row(['---', '--:', '--:', '--:', '--:', '--:', '--:']),
    row([
      'every Interlock killed: last step of training',
      dead.length,
      late,
      ...figures(lastStep),
      `${boundMs} ms`,
    ]),
    row(['... its process ended', dead.length, late, ...figures(ended), `${boundMs + graceMs} ms`]),
    row([
      `killed and started again within the permit: paused${unjudged === 0 ? '' : ` (${unjudged} not judged: away too long)`}`,
      blips.length,
      paused,
      ...figures(gap),
      'no pause',
    ]),
  ].join('\n');
}
