/** A directory to serve from: made by `interlock init`, then given the campaign's policy, evaluators and channel. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { interlock } from './service-process.ts';

const EVALUATOR = fileURLToPath(new URL('evaluator.mjs', import.meta.url));
const InitSchema = z.object({
  configFile: z.string(),
  tokens: z.record(z.string(), z.string()),
  webhookSecrets: z.object({ trainer: z.string() }),
});

export interface Workplace {
  readonly bin: string;
  readonly directory: string;
  readonly dataDir: string;
  readonly configFile: string;
  readonly logFile: string;
  readonly trainerSecret: string;
  readonly outsideSecret: string;
  /** What the service needs in its environment beside its stores. */
  readonly env: Readonly<Record<string, string>>;
  token(identity: string): string;
  remove(): Promise<void>;
}

export interface WorkplaceOptions {
  /** Elsewhere than in the directory: on a disk that is to fail. */
  readonly dataDir?: string;
  readonly evaluatorsAtOnce?: number;
  /** More of interlock.yaml. */
  readonly config?: Readonly<Record<string, unknown>>;
}

/** `outsideUrl`: where the callback evaluator and the alert receiver listen. */
export async function makeWorkplace(
  outsideUrl: string,
  bin: string,
  { dataDir, evaluatorsAtOnce = 3, config: more = {} }: WorkplaceOptions = {},
): Promise<Workplace> {
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'interlock-campaign-')));
  const made = await interlock(bin, ['init', '--dir', directory, '--json']);
  if (made.code !== 0) throw new Error(`init ended with ${made.code}: ${made.stderr}`);
  const { configFile, tokens, webhookSecrets } = InitSchema.parse(JSON.parse(made.stdout));
  const config = z.record(z.string(), z.unknown()).parse(parse(await readFile(configFile, 'utf8')));
  await writeFile(join(directory, 'policies', 'campaign.yaml'), stringify(policy(outsideUrl)));
  await writeFile(
    configFile,
    stringify({
      ...config,
      policies: { directory: 'policies', default: 'campaign' },
      alerts: [
        { name: 'oncall', kind: 'webhook', url: `${outsideUrl}/alert`, secret: 'env:CAMPAIGN_SECRET' },
      ],
      evaluators: { concurrency: evaluatorsAtOnce },
      // No process that outlives a kill: what is counted here is what one service leaves behind.
      roles: ['api', 'worker', 'scheduler'],
      button: { port: 0 },
      ...(dataDir === undefined ? {} : { dataDir }),
      ...more,
    }),
  );
  const outsideSecret = `whsec_${randomBytes(32).toString('base64')}`;
  return {
    bin,
    directory,
    dataDir: dataDir ?? join(directory, 'data'),
    configFile,
    logFile: join(directory, 'service.log'),
    trainerSecret: webhookSecrets.trainer,
    outsideSecret,
    env: { CAMPAIGN_SECRET: outsideSecret },
    token(identity) {
      const found = tokens[identity];
      if (found === undefined) throw new RangeError(`init made no identity ${identity}`);
      return found;
    },
    remove: () => rm(directory, { recursive: true, force: true, maxRetries: 5 }),
  };
}

/** Deadlines of evidence are long: what concludes here concludes because somebody did the work. */
function policy(outsideUrl: string): object {
  const evaluation = (id: string, category: string, executor: object) => ({
    id,
    category,
    stage: 'pre-mitigation',
    required: true,
    executor: { ...executor, timeout: '60s', attempts: 3, backoff: '1s' },
    score: { metric: 'accuracy', kind: 'proportion', chance: 0, best: 1, minSamples: 100 },
    levels: { medium: 0.2, high: 0.5, critical: 0.9 },
  });
  return {
    policy: 'campaign',
    title: 'Smoke campaign',
    cadence: {
      ratio: 2,
      grace: 0.1,
      firstCheckpointBy: '1e20',
      maxInterval: '90d',
      scorecardDeadline: '30m',
      holdDeadline: '30m',
    },
    permit: { ttl: '10m', heartbeatInterval: '2s' },
    halt: { confirmWithin: '10s' },
    categories: [
      { id: 'cybersecurity', title: 'Cybersecurity' },
      { id: 'persuasion', title: 'Persuasion' },
    ],
    evaluations: [
      evaluation('ctf', 'cybersecurity', {
        kind: 'command',
        command: ['node', EVALUATOR, '{modelUri}', '{resultFile}'],
      }),
      evaluation('win-rate', 'persuasion', {
        kind: 'http',
        mode: 'callback',
        url: `${outsideUrl}/evaluate`,
        secret: 'env:CAMPAIGN_SECRET',
      }),
    ],
    rules: [
      { id: 'high', kind: 'level', stage: 'pre-mitigation', atLeast: 'high', then: ['halt'] },
      {
        id: 'forecast-critical',
        kind: 'forecast',
        stage: 'pre-mitigation',
        atLeast: 'critical',
        probability: 0.9,
        checkpoints: 1,
        whenMostlyPrior: 'ignore',
        then: ['alert'],
      },
    ],
    governance: {
      groups: ['preparedness', 'safety-advisory', 'leadership', 'board'],
      resume: { approvals: ['leadership'], vetoes: ['board'] },
    },
    alerts: ['oncall'],
  };
}
