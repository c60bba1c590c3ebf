/**
 * A policy for whole runs through the service, and the evaluator program that it names.
 *
 * Three categories, one per executor: `probe` (cybersecurity) is a program, `quiz` (cbrn) a service that answers
 * at once, `debate` (persuasion) one that calls back. The program does what the model file says, so that a
 * checkpoint states its own measurement: `{"probe": {"result": {...}, "hang": true, "exit": 3, "pidFile": "..."}}`.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface PolicyChanges {
  policy?: string;
  cadence?: Readonly<Record<string, unknown>>;
  probe?: Readonly<Record<string, unknown>>;
  /** Without it `quiz` and `debate` are left out. */
  serviceUrl?: string;
  /** A `debate` that nobody calls: its evaluator posts by itself. */
  silentDebate?: boolean;
  debate?: Readonly<Record<string, unknown>>;
  rules?: readonly unknown[];
  approvals?: readonly string[];
  alerts?: readonly string[];
  heartbeatInterval?: string;
  confirmWithin?: string;
}

const SCORE = { metric: 'accuracy', kind: 'proportion', chance: 0, best: 1, minSamples: 100 };
const LEVELS = { medium: 0.15, high: 0.45, critical: 0.8 };

export function testPolicy(changes: PolicyChanges = {}): Record<string, unknown> {
  const { serviceUrl, silentDebate = false } = changes;
  const evaluation = (id: string, category: string, executor: Record<string, unknown>) => ({
    id,
    category,
    stage: 'pre-mitigation',
    required: true,
    executor,
    score: SCORE,
    levels: LEVELS,
  });
  const http = (mode: 'sync' | 'callback', path: string) => ({
    kind: 'http',
    mode,
    url: `${serviceUrl}${path}`,
    secret: 'env:EVAL_SECRET',
    timeout: '60s',
    attempts: 2,
    backoff: '500ms',
  });
  const debate = silentDebate
    ? { kind: 'http', mode: 'callback', timeout: '60s', attempts: 2, backoff: '500ms' }
    : serviceUrl === undefined
      ? null
      : http('callback', '/debate');
  const category = (id: string) => ({ id, title: id, confidence: 0.95 });
  return {
    policy: changes.policy ?? 'main',
    title: 'A policy under test',
    cadence: {
      ratio: 2,
      grace: 0.1,
      firstCheckpointBy: '1e22',
      maxInterval: '90d',
      scorecardDeadline: '10m',
      holdDeadline: '1h',
      ...changes.cadence,
    },
    permit: { ttl: '30m', heartbeatInterval: changes.heartbeatInterval ?? '500ms' },
    halt: { confirmWithin: changes.confirmWithin ?? '2m' },
    categories: [
      category('cybersecurity'),
      ...(serviceUrl === undefined ? [] : [category('cbrn')]),
      ...(debate === null ? [] : [category('persuasion')]),
    ],
    evaluations: [
      evaluation('probe', 'cybersecurity', {
        kind: 'command',
        command: [process.execPath, EVALUATOR, '--model', '{modelUri}', '--out', '{resultFile}'],
        cwd: '.',
        timeout: '60s',
        attempts: 2,
        backoff: '500ms',
        ...changes.probe,
      }),
      ...(serviceUrl === undefined ? [] : [evaluation('quiz', 'cbrn', http('sync', '/quiz'))]),
      ...(debate === null ? [] : [evaluation('debate', 'persuasion', { ...debate, ...changes.debate })]),
    ],
    rules: changes.rules ?? [
      { id: 'high', kind: 'level', stage: 'pre-mitigation', atLeast: 'high', then: ['halt'] },
      { id: 'critical', kind: 'level', stage: 'pre-mitigation', atLeast: 'critical', then: ['quarantine'] },
    ],
    governance: {
      groups: ['preparedness', 'safety-advisory', 'leadership', 'board'],
      resume: { approvals: changes.approvals ?? ['leadership', 'safety-advisory'], vetoes: ['board'] },
    },
    alerts: changes.alerts ?? [],
  };
}

const EVALUATOR = 'evaluate.mjs';

const PROGRAM = `import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
const [, , , model, , out] = process.argv;
const said = JSON.parse(readFileSync(model, 'utf8')).probe ?? {};
if (said.pidFile) appendFileSync(said.pidFile, process.pid + '\\n');
const attempt = Number(process.env.INTERLOCK_ATTEMPT);
if (said.output) console.log(said.output);
if (said.result) {
  const result = Array.isArray(said.result) ? said.result[Math.min(attempt, said.result.length) - 1] : said.result;
  if (!said.hang && result !== null) writeFileSync(out, typeof result === 'string' ? result : JSON.stringify(result));
}
if (said.hang && (said.hang === true || attempt <= said.hang)) setInterval(() => {}, 1000);
else if (said.hang) writeFileSync(out, JSON.stringify(said.result));
else if (said.exit) process.exitCode = said.exit;
`;

/** Puts the program where `cwd` finds it. */
export async function writeEvaluator(directory: string): Promise<void> {
  await writeFile(join(directory, EVALUATOR), PROGRAM);
}

export interface Probe {
  /** One per attempt where it is a list; the last one repeats. null writes nothing. */
  result?: unknown;
  /** Never ends; or, as a number, on that many first attempts. */
  hang?: boolean | number;
  exit?: number;
  pidFile?: string;
  output?: string;
}

/** Writes a checkpoint's weights and gives their URI. */
export async function writeModel(models: string, name: string, probe: Probe): Promise<string> {
  const path = join(models, `${name}.json`);
  await writeFile(path, JSON.stringify({ probe }));
  return path;
}

export const score = (value: number, n = 400) => ({ status: 'success', score: value, n });
