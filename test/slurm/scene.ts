/** Jobs on a real cluster, and the adapter as the service opens it. */
import { expect, vi } from 'vitest';
import { OrchestratorsConfigSchema } from '../../src/config/orchestrators.ts';
import type { Observation, Orchestrator } from '../../src/orchestrators/orchestrator.ts';
import { type Orchestrators, openOrchestrators } from '../../src/orchestrators/registry.ts';
import { createOutbound } from '../../src/outbound/outbound.ts';
import { live } from '../contract/describe-orchestrator.ts';
import type { Account, SlurmCluster } from '../support/slurm/cluster.ts';

/** Says `ready`, saves on SIGTERM, and ends. */
export const SAVES = 'trap "echo saved; exit 3" TERM; echo ready; while :; do sleep 0.1; done';
/** Reports each SIGTERM and goes on. */
export const DEAF = 'trap "echo TERM" TERM; echo ready; while :; do sleep 0.1; done';

export type Way = 'REST' | 'commands';

export interface OpenOptions {
  readonly account?: Account;
  readonly privileged?: boolean;
  readonly srun?: boolean;
  readonly ways?: readonly Way[];
  readonly token?: string;
  /** Ahead of the clock by so much, so that no job looks as if it had only just started. */
  readonly aheadMs?: number;
}

export function open(cluster: SlurmCluster, options: OpenOptions = {}): Orchestrators {
  const {
    account = cluster.owner,
    privileged = false,
    srun = false,
    ways = ['REST'],
    aheadMs = 60_000,
  } = options;
  const rest = {
    url: cluster.url,
    user: account.user,
    token: options.token ?? account.tokenFile,
    privileged,
    srun,
  };
  const commands = { directory: cluster.commands, conf: cluster.conf };
  const train = {
    ...(ways.includes('REST') ? { rest } : {}),
    ...(ways.includes('commands') ? { commands } : {}),
  };
  return openOrchestrators({
    config: OrchestratorsConfigSchema.parse({ slurm: { enabled: true, clusters: { train } } }),
    outbound: createOutbound({ allow: ['loopback'] }),
    now: () => new Date(Date.now() + aheadMs),
    variable: () => undefined,
    webhookSecrets: () => [],
  });
}

export interface Registered {
  readonly orchestrator: Orchestrator;
  /** The same run, reached otherwise. */
  by(orchestrators: Orchestrators): Orchestrator;
  readonly recorded: Readonly<Record<string, unknown>>;
}

/** What registration does with a target, and what is made of its record afterwards. */
export async function register(
  orchestrators: Orchestrators,
  jobId: number,
  jobName?: string,
): Promise<Registered> {
  const named = jobName === undefined ? {} : { jobName };
  const admitted = await orchestrators.admit({ kind: 'slurm', cluster: 'train', jobId, ...named });
  if (!admitted.ok) throw new Error(`${admitted.field}: ${admitted.reason}`);
  const { kind, ...recorded } = admitted.target;
  const by = (opened: Orchestrators): Orchestrator => {
    const orchestrator = opened.of({ kind, config: recorded }, 'trainer');
    if (orchestrator === null) throw new Error('the target has no orchestrator');
    return orchestrator;
  };
  return { orchestrator: by(orchestrators), by, recorded };
}

export const ready = (cluster: SlurmCluster, jobId: number): Promise<void> =>
  wrote(cluster, jobId, /^ready$/m);

export async function wrote(cluster: SlurmCluster, jobId: number, text: RegExp): Promise<void> {
  await vi.waitFor(async () => expect(await cluster.output(jobId)).toMatch(text), {
    timeout: 20_000,
    interval: 20,
  });
}

export async function seen(
  orchestrator: Orchestrator,
  expected: Partial<Record<keyof Observation, unknown>>,
): Promise<void> {
  await vi.waitFor(async () => expect(await orchestrator.observe(live())).toMatchObject(expected), {
    timeout: 20_000,
    interval: 20,
  });
}
