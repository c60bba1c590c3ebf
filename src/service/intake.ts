/**
 * What machines send: registrations, checkpoints, results. Translates them into commands and answers.
 *
 * Digests of what was sent decide what a repetition is: the same again changes nothing and is answered the
 * same; the same id with other content is a conflict. Nothing here judges a run.
 */

import { z } from 'zod';
import type { Identity } from '../config/identities.ts';
import type { Json } from '../domain/canonical-json.ts';
import type { Compute } from '../domain/compute.ts';
import { ladderProblems } from '../domain/policy/ladder.ts';
import type { Policy } from '../domain/policy/schema.ts';
import { evaluationName } from '../domain/run/checkpoint-views.ts';
import type { StatedStage } from '../domain/run/events.ts';
import type { RunTarget } from '../domain/run/halt-documents.ts';
import type { RunState } from '../domain/run/state.ts';
import { checkpointKey } from '../domain/run/view.ts';
import { WEIGHTS_CHANGED } from '../domain/run/weights.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { confirmationOf, ladderOf } from '../orchestrators/ladders.ts';
import type { Orchestrators } from '../orchestrators/registry.ts';
import type { Target } from '../orchestrators/targets.ts';
import { currentCorrelation } from '../telemetry/correlation.ts';
import { checkpointStory } from '../telemetry/story.ts';
import { withSpan } from '../telemetry/tracing.ts';
import { digestOf } from './digest.ts';
import { shadowProblem } from './drill-targets.ts';
import type { ResolveParents } from './parentage.ts';
import type { PinnedPolicy, PolicyBook } from './policies.ts';
import { type PostedLog, readPosted } from './posted-logs.ts';
import { recordResult } from './results.ts';
import type { Executed, Receipt, RunService } from './run-service.ts';
import { checkpointThread } from './stories.ts';
import type { WeightsGuard } from './weights-guard.ts';
import { resultDigest } from './work.ts';

export interface Registration {
  readonly runId: string;
  readonly title: string | null;
  readonly policy: string | null;
  readonly initialCompute: Compute | null;
  readonly parents: readonly string[];
  readonly sources: readonly string[] | null;
  readonly targets: readonly Target[];
  readonly labels: Readonly<Record<string, string>>;
  /** As `declined` of a checkpoint: there only where they were said. */
  readonly vouchedParentage?: string;
  readonly accelerator?: string;
  readonly drill?: true;
}

export interface CheckpointReport {
  readonly runId: string;
  readonly checkpointId: string;
  readonly effectiveCompute: Compute;
  readonly step: number | null;
  readonly modelUri: string;
  readonly endpoint: string | null;
  readonly metadata: Json;
  readonly evaluate: boolean;
  readonly tripwiresOnly?: true | undefined;
  readonly trainingStage?: StatedStage | undefined;
  /** There only where it was said: the digest of what was sent must not change for those who left it out. */
  readonly declined?: true;
  readonly weightsDigest?: string;
  readonly parents?: readonly string[];
  readonly efficiencyMultiplier?: number;
}

export interface CheckpointAnswer {
  readonly runId: string;
  readonly checkpointId: string;
  readonly disposition: 'evaluate' | 'recorded';
  readonly evaluations: { evaluationId: string; name: string }[];
  readonly statusUrl: string;
  /** Until when the weights have to be kept, whatever comes; heartbeats extend it. Null: they need not be. */
  readonly retainUntil: string | null;
}

export type Refused = {
  readonly outcome: 'rejected';
  readonly rejection: {
    readonly code: 'conflict' | 'forbidden' | 'invalid' | 'not-found' | 'stale';
    readonly message: string;
    readonly path?: string;
  };
};

export interface IntakeDeps {
  readonly runs: RunService;
  readonly ledger: Ledger;
  readonly policies: PolicyBook;
  readonly defaultPolicy: string;
  readonly policyByLabel: Readonly<Record<string, string>>;
  readonly admitTarget: Orchestrators['admit'];
  readonly knownAlerts: ReadonlySet<string>;
  /** Until when the deployment is in shadow; null once it is armed. */
  readonly shadowUntil?: () => string | null;
  readonly resolveParents: ResolveParents;
  /** Latches a run that was just registered by halts that reach it already: before it asks for its first permit. */
  readonly latchLineage?: (state: RunState) => Promise<void>;
  readonly statusUrl: (runId: string, checkpointId: string) => string;
  /** Looks at the weights before a result of them counts; left out: nobody does. */
  readonly weights?: Pick<WeightsGuard, 'look'>;
}

export interface Intake {
  register(registration: Registration, identity: Identity, receipt?: Receipt): Promise<Executed | Refused>;
  reportCheckpoint(report: CheckpointReport, identity: Identity, receipt?: Receipt): Promise<Executed>;
  /** What the sender of a checkpoint is told, from what is recorded: the same every time. */
  checkpointAnswer(runId: string, checkpointId: string, executed?: Executed): Promise<CheckpointAnswer>;
  retry(evaluationId: string, identity: Identity, receipt?: Receipt): Promise<Executed | Refused>;
  recordResult(
    evaluationId: string,
    attempt: number,
    result: unknown,
    identity: Identity,
    receipt?: Receipt,
  ): Promise<Executed | Refused>;
  /** As `recordResult`, of the log that a harness wrote. One that cannot be read is refused, and nothing is recorded. */
  recordLog(
    evaluationId: string,
    attempt: number,
    log: PostedLog,
    identity: Identity,
    receipt?: Receipt,
  ): Promise<Executed | Refused>;
}

const EvaluationDoc = z.object({
  runId: z.string(),
  checkpointId: z.string(),
  evaluation: z.string(),
  variant: z.string(),
});

type KnownEvaluation = z.infer<typeof EvaluationDoc>;

const KnownCheckpointDoc = z.object({ contentDigest: z.string() });

const CheckpointDoc = z.object({
  disposition: z.enum(['evaluate', 'recorded']),
  evaluations: z.array(z.object({ evaluationId: z.string(), name: z.string() })),
  deadlineAt: z.string().nullable(),
});

const refused = (code: Refused['rejection']['code'], message: string, path?: string): Refused => ({
  outcome: 'rejected',
  rejection: path === undefined ? { code, message } : { code, message, path },
});

/** An evaluator that configuration binds to some evaluations speaks for no other. */
function foreignEvaluation(
  { evaluation }: { evaluation: string },
  { id, evaluations }: Identity,
): Refused | null {
  if (evaluations === null || evaluations.includes(evaluation)) return null;
  return refused('forbidden', `${id} does not speak for the evaluation ${evaluation}`);
}

/** To be found from a log line, and the other way round. */
function correlation(): { 'interlock.correlation.id'?: string } {
  const id = currentCorrelation();
  return id === undefined ? {} : { 'interlock.correlation.id': id };
}

export function createIntake(deps: IntakeDeps): Intake {
  const { runs, ledger, policies } = deps;

  function choosePolicy({ policy, labels }: Registration, identity: Identity): PinnedPolicy | Refused {
    if (policy !== null && !identity.roles.includes('operator')) {
      return refused(
        'forbidden',
        'only an operator chooses the policy; it is assigned by label or default',
        'policy',
      );
    }
    const byLabel = Object.entries(labels)
      .map(([key, value]) => deps.policyByLabel[`${key}=${value}`])
      .find((name) => name !== undefined);
    const name = policy ?? byLabel ?? deps.defaultPolicy;
    const pinned = policies.byName(name);
    if (pinned === null) {
      return refused(
        'invalid',
        `there is no policy ${name}; there are ${policies.names.join(', ')}`,
        'policy',
      );
    }
    const missing = pinned.policy.alerts.find((channel) => !deps.knownAlerts.has(channel));
    if (missing !== undefined) {
      return refused(
        'invalid',
        `policy ${name} names the alert channel ${missing}, which is not configured`,
        'policy',
      );
    }
    return pinned;
  }

  async function resolveTarget(target: Target, i: number, policy: Policy): Promise<RunTarget | Refused> {
    const path = `targets[${i}]`;
    const [problem] = ladderProblems(target.kind, target.ladder ?? []);
    if (problem !== undefined) {
      const { index, field, message } = problem;
      return refused('invalid', message, `${path}.ladder[${index}].${field}`);
    }
    const admitted = await deps.admitTarget(target);
    if (!admitted.ok) return refused('invalid', admitted.reason, `${path}.${admitted.field}`);
    const { kind, ...rest } = admitted.target;
    return {
      targetId: `t${i + 1}`,
      kind,
      config: JSON.parse(JSON.stringify(rest)),
      ladder: ladderOf(target, policy.halt.ladders?.[kind]),
      confirmation: confirmationOf(kind),
      ...(admitted.receiver === undefined ? {} : { receiver: admitted.receiver }),
    };
  }

  return {
    async register(registration, identity, receipt) {
      const { runId } = registration;
      // As sent: a process's start time and the assigned policy are ours, and not part of what repeats.
      const contentDigest = digestOf(JSON.parse(JSON.stringify(registration)));
      const existing = await runs.load(runId);
      const chosen =
        existing === null
          ? choosePolicy(registration, identity)
          : { policy: existing.policy, digest: existing.state.policy };
      if ('outcome' in chosen) return chosen;
      const targets: RunTarget[] = [];
      if (existing === null) {
        for (const [i, target] of registration.targets.entries()) {
          const resolved = await resolveTarget(target, i, chosen.policy);
          if ('outcome' in resolved) return resolved;
          targets.push(resolved);
        }
        const real = registration.drill === undefined ? null : await shadowProblem(targets, { runs, ledger });
        if (real !== null) return refused('invalid', real.message, real.path);
        await policies.record(chosen, identity.id);
      }
      const executed = await runs.execute(
        runId,
        {
          type: 'RegisterRun',
          runId,
          title: registration.title,
          policyDigest: chosen.digest,
          initialCompute: registration.initialCompute,
          parents: registration.parents,
          sources: registration.sources,
          targets,
          labels: registration.labels,
          contentDigest,
          by: identity.id,
          operator: identity.roles.includes('operator'),
          ancestry: existing === null ? await deps.resolveParents(registration.parents, runId) : undefined,
          vouched: registration.vouchedParentage,
          accelerator: registration.accelerator,
          drill: registration.drill,
          shadowUntil: deps.shadowUntil?.() ?? undefined,
        },
        { actor: identity.id, receipt, policy: chosen.policy },
      );
      if ('state' in executed) await deps.latchLineage?.(executed.state);
      return executed;
    },

    async reportCheckpoint(report, identity, receipt) {
      const { runId, checkpointId, effectiveCompute, step, modelUri, endpoint, evaluate } = report;
      const { efficiencyMultiplier, weightsDigest, parents, trainingStage, ...digested } = report;
      // Without the multiplier, which compute holds already: the digest of what was sent before it was kept stays the same.
      const contentDigest = digestOf(
        JSON.parse(JSON.stringify({ ...digested, weightsDigest, parents, trainingStage })),
      );
      const receive = () =>
        runs.execute(
          runId,
          async () => {
            const known = await ledger.view('checkpoint', checkpointKey(runId, checkpointId));
            const prior = KnownCheckpointDoc.safeParse(known?.doc);
            return {
              type: 'ReportCheckpoint',
              checkpointId,
              effectiveCompute,
              step,
              modelUri,
              endpoint,
              evaluate,
              tripwiresOnly: report.tripwiresOnly,
              declined: report.declined === true,
              weightsDigest,
              efficiencyMultiplier,
              trainingStage,
              ...(parents === undefined ? {} : { ancestry: await deps.resolveParents(parents, runId) }),
              contentDigest,
              priorDigest: prior.success ? prior.data.contentDigest : null,
              correlationId: currentCorrelation() ?? '',
              by: identity.id,
            };
          },
          { actor: identity.id, receipt },
        );
      return withSpan(
        'checkpoint.receive',
        { 'interlock.run.id': runId, 'interlock.checkpoint.id': checkpointId, ...correlation() },
        async (set) => {
          const executed = await receive();
          set({ 'interlock.outcome': executed.outcome });
          return executed;
        },
        () => ({ story: checkpointStory(runId, checkpointId), kind: 'server' }),
      );
    },

    async checkpointAnswer(runId, checkpointId, executed) {
      const { disposition, evaluations, deadlineAt } =
        justReported(checkpointId, executed) ??
        CheckpointDoc.parse((await ledger.view('checkpoint', checkpointKey(runId, checkpointId)))?.doc);
      return {
        runId,
        checkpointId,
        disposition,
        evaluations: evaluations.map(({ evaluationId, name }) => ({ evaluationId, name })),
        statusUrl: deps.statusUrl(runId, checkpointId),
        retainUntil: deadlineAt,
      };
    },

    async retry(evaluationId, identity, receipt) {
      const view = await ledger.view('evaluation', evaluationId);
      if (view === null) return refused('not-found', `there is no evaluation ${evaluationId}`);
      const foreign = foreignEvaluation(EvaluationDoc.parse(view.doc), identity);
      if (foreign !== null) return foreign;
      const command = { type: 'RetryEvaluation', evaluationId, by: identity.id } as const;
      return runs.execute(view.runId, command, { actor: identity.id, receipt });
    },

    async recordResult(evaluationId, attempt, result, identity, receipt) {
      const known = await evaluationFor(evaluationId, identity);
      return 'outcome' in known
        ? known
        : receive(known, { evaluationId, attempt, result }, identity, receipt);
    },

    async recordLog(evaluationId, attempt, log, identity, receipt) {
      const known = await evaluationFor(evaluationId, identity);
      if ('outcome' in known) return known;
      const run = await runs.load(known.runId);
      const spec = run?.policy.evaluations.find(({ id }) => id === known.evaluation);
      const posted = await readPosted(log, spec);
      if (!posted.ok) return refused('invalid', posted.message, 'log');
      return receive(known, { evaluationId, attempt, result: posted.result }, identity, receipt);
    },
  };

  /** That is there, and that its sender may speak for. */
  async function evaluationFor(evaluationId: string, identity: Identity): Promise<KnownEvaluation | Refused> {
    const view = await ledger.view('evaluation', evaluationId);
    if (view === null) return refused('not-found', `there is no evaluation ${evaluationId}`);
    const known = EvaluationDoc.parse(view.doc);
    return foreignEvaluation(known, identity) ?? known;
  }

  /** A result of weights that cannot be looked at settles nothing; of weights that were exchanged, the domain says so itself. */
  async function commandFor(
    known: KnownEvaluation,
    own: { evaluationId: string; attempt: number; result: unknown; by: string },
  ): Promise<Parameters<RunService['execute']>[1]> {
    const look = (await deps.weights?.look(known.runId, own.evaluationId)) ?? { ok: true };
    const doubt = look.ok || look.reason === WEIGHTS_CHANGED ? undefined : look.reason;
    return recordResult(ledger, { ...known, ...own, doubt, resultDigest: resultDigest(own.result) });
  }

  function receive(
    known: KnownEvaluation,
    own: { evaluationId: string; attempt: number; result: unknown },
    { id: by }: Identity,
    receipt: Receipt | undefined,
  ): Promise<Executed | Refused> {
    const { runId, checkpointId } = known;
    return withSpan(
      'evaluation.receive',
      {
        'interlock.run.id': runId,
        'interlock.checkpoint.id': checkpointId,
        'interlock.evaluation.id': own.evaluationId,
        'interlock.attempt': own.attempt,
        ...correlation(),
      },
      async (set) => {
        const command = await commandFor(known, { ...own, by });
        const executed = await runs.execute(runId, command, { actor: by, receipt, urgent: true });
        set({ 'interlock.outcome': executed.outcome });
        return executed;
      },
      () => ({ ...checkpointThread(runId, checkpointId), kind: 'server' }),
    );
  }
}

/** What was recorded a moment ago need not be looked up. */
function justReported(
  checkpointId: string,
  executed: Executed | undefined,
): z.infer<typeof CheckpointDoc> | null {
  if (executed?.outcome !== 'recorded') return null;
  for (const { kind, data } of executed.events) {
    if (kind !== 'CheckpointReported' || data.checkpointId !== checkpointId) continue;
    return {
      disposition: data.deadlineAt === null ? 'recorded' : 'evaluate',
      deadlineAt: data.deadlineAt,
      evaluations: data.evaluations.map((each) => ({
        evaluationId: each.evaluationId,
        name: evaluationName(each),
      })),
    };
  }
  return null;
}
