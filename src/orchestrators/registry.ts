/**
 * Target kind to orchestrator: the one place that knows them all. A new kind is a schema in targets.ts, a
 * file beside this one, a ladder, what interlock.yaml says of it (config.ts), and a case below; the compiler names
 * whatever is missing.
 *
 * A trainer names a system by the name that interlock.yaml gives it, never by address or credential: those are the
 * operator's.
 */

import type { OrchestratorsConfig } from '../config/orchestrators.ts';
import { assertNever } from '../domain/assert-never.ts';
import type { Outbound } from '../outbound/outbound.ts';
import type { WebhookSecret } from '../signing/standard-webhooks.ts';
import { createCommandOrchestrator, describeCommandRun } from './command.ts';
import { admitKubernetesRun } from './kubernetes/admission.ts';
import { loadClient } from './kubernetes/client.ts';
import { createKubernetesOrchestrator } from './kubernetes/kubernetes.ts';
import type { Orchestrator } from './orchestrator.ts';
import { createProcessOrchestrator, describeProcess } from './process.ts';
import { createRayOrchestrator, describeRayRun } from './ray.ts';
import type { SlurmAccess } from './slurm/access.ts';
import { openSlurmCommands } from './slurm/commands.ts';
import { openSlurmRest } from './slurm/rest.ts';
import { createSlurmOrchestrator, describeSlurmJob } from './slurm.ts';
import type { SlurmTarget, Target, WebhookTarget } from './targets.ts';
import { targetSchema } from './targets.ts';
import { createWebhookOrchestrator } from './webhook.ts';

export interface OrchestratorSetting {
  readonly config: OrchestratorsConfig;
  readonly outbound: Pick<Outbound, 'request' | 'refusal'>;
  readonly now: () => Date;
  /** The value of a variable that interlock.yaml names (`env:NAME`). */
  readonly variable: (reference: string) => string | undefined;
  /** What signs the halts to a webhook target: its own secrets, or those of whoever registered the run. */
  readonly webhookSecrets: (target: WebhookTarget, registeredBy: string) => readonly WebhookSecret[];
}

export type Admitted =
  | {
      readonly ok: true;
      readonly target: Target;
      /** Of a webhook: its listener is the operator's own, as interlock.yaml says. */
      readonly receiver?: 'operator';
    }
  /** `field` of the target as it was stated. */
  | { readonly ok: false; readonly reason: string; readonly field: string };

export interface Orchestrators {
  /** Of a target on record; null where its kind is not enabled any more, or what is recorded says nothing to us. */
  of(recorded: RecordedTarget, registeredBy: string): Orchestrator | null;
  /** What to record of a target that somebody states, or why it cannot be halted from here. */
  admit(target: Target): Promise<Admitted>;
}

export interface RecordedTarget {
  readonly kind: string;
  readonly config: Readonly<Record<string, unknown>>;
}

/** Over all that is asked about a target while its registration waits. */
const ADMISSION_TIMEOUT_MS = 10_000;

export function openOrchestrators(setting: OrchestratorSetting): Orchestrators {
  const { config, outbound, now, variable, webhookSecrets } = setting;
  const ray = { clusters: config.ray.clusters, outbound, variable };
  const command = { commands: config.command.commands, variable };
  const kubernetes = { clusters: config.kubernetes.clusters, outbound, now, variable };
  // Loading it takes a good part of a second, which no halt should wait for; where it fails, the halt says so.
  if (config.kubernetes.enabled) loadClient().catch(() => undefined);

  const slurmAccesses = new Map<string, readonly SlurmAccess[]>();

  /** One per cluster, since it remembers the version of its API; null where interlock.yaml names no such cluster. */
  function slurmCluster({ cluster }: SlurmTarget) {
    const stated = Object.hasOwn(config.slurm.clusters, cluster) ? config.slurm.clusters[cluster] : undefined;
    if (stated === undefined) return null;
    const { rest, commands, signal: signalName } = stated;
    const accesses = slurmAccesses.get(cluster) ?? [
      ...(rest === undefined ? [] : [openSlurmRest(rest, { outbound, variable, now })]),
      ...(commands === undefined ? [] : [openSlurmCommands(commands)]),
    ];
    slurmAccesses.set(cluster, accesses);
    return { accesses, signalName, now };
  }

  function create(target: Target, registeredBy: string): Orchestrator | null {
    switch (target.kind) {
      case 'webhook':
        return createWebhookOrchestrator(target, {
          outbound,
          now,
          secretsFor: (one) => webhookSecrets(one, registeredBy),
        });
      case 'process':
        return createProcessOrchestrator(target);
      case 'ray':
        return createRayOrchestrator(target, ray);
      case 'command':
        return createCommandOrchestrator(target, command);
      case 'kubernetes':
        return createKubernetesOrchestrator(target, kubernetes);
      case 'slurm': {
        const cluster = slurmCluster(target);
        return cluster === null ? null : createSlurmOrchestrator(target, cluster);
      }
      default:
        return assertNever(target);
    }
  }

  async function admitEnabled(target: Target): Promise<Admitted> {
    switch (target.kind) {
      case 'webhook': {
        const reason = outbound.refusal(target.url);
        if (reason !== null) return { ok: false, reason, field: 'url' };
        const isOperators = config.webhook.independentReceivers.includes(new URL(target.url).origin);
        return { ok: true, target, ...(isOperators ? { receiver: 'operator' } : {}) };
      }
      case 'process': {
        const described = await describeProcess(target.pid);
        if (!described.ok) return { ...described, field: 'pid' };
        // What a caller states of a start time is not believed: a false one would count as stopped.
        return described;
      }
      case 'ray':
        return describeRayRun(target, ray);
      case 'command':
        return describeCommandRun(target, command);
      case 'kubernetes':
        return admitKubernetesRun(target, kubernetes, AbortSignal.timeout(ADMISSION_TIMEOUT_MS));
      case 'slurm': {
        const cluster = slurmCluster(target);
        if (cluster !== null) {
          return await describeSlurmJob(target, cluster.accesses, AbortSignal.timeout(ADMISSION_TIMEOUT_MS));
        }
        const names = Object.keys(config.slurm.clusters).join(', ');
        const reason = `interlock.yaml names no Slurm cluster ${target.cluster}; there are ${names || 'none'}`;
        return { ok: false, reason, field: 'cluster' };
      }
      default:
        return assertNever(target);
    }
  }

  return {
    of({ kind, config: stated }, registeredBy) {
      const parsed = targetSchema.safeParse({ kind, ...stated });
      if (!parsed.success || !config[parsed.data.kind].enabled) return null;
      return create(parsed.data, registeredBy);
    },
    async admit(target) {
      if (!config[target.kind].enabled) {
        const reason = `targets of kind ${target.kind} are not enabled in interlock.yaml`;
        return { ok: false, reason, field: 'kind' };
      }
      return admitEnabled(target);
    },
  };
}
