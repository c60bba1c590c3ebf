/**
 * The `kubernetes` orchestrator: a workload in a cluster that interlock.yaml names.
 *
 * Nothing is kept between calls: access is read and the cluster dialled at each, so that a rotated credential counts, an
 * idle adapter holds no socket, and the red button's process can make one when it needs it.
 * Not here: which calls a step makes (halting.ts), and what counts as stopped (observing.ts).
 */
import type { KubernetesCluster } from '../../config/orchestrators-kubernetes.ts';
import type { Outbound } from '../../outbound/outbound.ts';
import type { Observation, Orchestrator, StepOutcome } from '../orchestrator.ts';
import { unknownStep } from '../orchestrator.ts';
import type { KubernetesTarget } from '../targets.ts';
import { type AccessDeps, readAccess } from './access.ts';
import type { Session } from './api.ts';
import { isStep, STEPS, type Step, takeStep } from './halting.ts';
import { observeRun, usageOf } from './observing.ts';
import { rehearseStep } from './rehearsal.ts';

export interface KubernetesDeps extends AccessDeps {
  readonly clusters: Readonly<Record<string, KubernetesCluster>>;
  readonly outbound: Pick<Outbound, 'request' | 'refusal'>;
  readonly now: () => Date;
  readonly requestTimeoutMs?: number;
}

export function createKubernetesOrchestrator(target: KubernetesTarget, deps: KubernetesDeps): Orchestrator {
  async function stepWith(
    step: string,
    signal: AbortSignal,
    work: (step: Step, session: Session, target: KubernetesTarget) => Promise<StepOutcome>,
  ): Promise<StepOutcome> {
    if (!isStep(step)) return unknownStep('kubernetes', STEPS);
    if (signal.aborted) return { kind: 'retry', detail: 'given up before it was sent' };
    const opened = await openSession(target.cluster, signal, deps);
    if (!opened.ok) return { kind: opened.isFinal ? 'rejected' : 'retry', detail: opened.reason };
    const { kind, detail } = await work(step, opened.session, target);
    return { kind, detail: short(detail) };
  }

  return {
    kind: 'kubernetes',
    steps: STEPS,
    take: (step, _message, signal) => stepWith(step, signal, takeStep),
    rehearse: (step, _message, signal) => stepWith(step, signal, rehearseStep),
    async observe(signal): Promise<Observation> {
      const opened = await openSession(target.cluster, signal, deps);
      if (!opened.ok) return { state: 'unknown', detail: opened.reason };
      const { state, detail } = await observeRun(opened.session, target);
      return { state, detail: short(detail) };
    },
    async usage(signal) {
      const opened = await openSession(target.cluster, signal, deps);
      return opened.ok ? usageOf(opened.session, target, deps.now()) : null;
    },
  };
}

export type Opened =
  | { readonly ok: true; readonly session: Session }
  | { readonly ok: false; readonly reason: string; readonly isFinal: boolean };

export async function openSession(name: string, signal: AbortSignal, deps: KubernetesDeps): Promise<Opened> {
  const { clusters, outbound, requestTimeoutMs } = deps;
  const cluster = Object.hasOwn(clusters, name) ? clusters[name] : undefined;
  if (cluster === undefined) {
    return { ok: false, reason: `there is no cluster ${name} in interlock.yaml`, isFinal: true };
  }
  const read = await readAccess(cluster, deps);
  if (!read.ok) return { ok: false, reason: `cluster ${name}: ${read.reason}`, isFinal: false };
  const client = { outbound, ...(requestTimeoutMs === undefined ? {} : { requestTimeoutMs }) };
  return { ok: true, session: { access: read.access, signal, client } };
}

const DETAIL_MAX = 290;

/** Names are the longest part of a detail, and the ledger keeps it. */
function short(detail: string): string {
  return detail.length <= DETAIL_MAX ? detail : `${detail.slice(0, DETAIL_MAX - 3)}...`;
}
