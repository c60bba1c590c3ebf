/** The handler of `isolate`: makes one call-out of a quarantine, and reports what came of it by one command. */
import { z } from 'zod';
import { explain } from '../domain/run/halt.ts';
import type { IsolationOutcome } from '../isolation/isolator.ts';
import type { Isolators } from '../isolation/registry.ts';
import type { WorkItem } from '../queue/work-queue.ts';
import type { TokenSigner } from '../signing/tokens.ts';
import { withSpan } from '../telemetry/tracing.ts';
import { signOrder } from './orders.ts';
import type { RunService } from './run-service.ts';
import { haltThread } from './stories.ts';

export interface IsolateDeps {
  readonly runs: RunService;
  readonly isolatorOf: Isolators;
  readonly signer: TokenSigner;
  readonly logger: { warn(fields: object, message: string): void };
}

const Ids = z.object({ haltId: z.string(), round: z.int(), step: z.string(), attempt: z.int() });

const UNKNOWN: IsolationOutcome = {
  kind: 'rejected',
  detail: 'interlock.yaml names no such command (isolation.commands)',
};

export async function isolate(
  { runId, ids }: WorkItem,
  signal: AbortSignal,
  deps: IsolateDeps,
): Promise<void> {
  const { haltId, round, step, attempt } = Ids.parse(ids);
  const loaded = await deps.runs.load(runId);
  const halt = loaded?.state.halt;
  if (loaded == null || halt == null || halt.haltId !== haltId || halt.round !== round) return;
  const standing = halt.quarantine?.steps.find((each) => each.step === step);
  if (standing === undefined || standing.confirmedAt !== null || standing.attempts + 1 !== attempt) return;
  const callOut = loaded.policy.halt.quarantine?.isolate.find((each) => each.step === step);
  const isolator = callOut === undefined ? null : deps.isolatorOf(callOut);
  const [cause] = halt.causes;
  const order = await signOrder(deps.signer, runId, halt);
  const message = {
    runId,
    haltId,
    step,
    reason: cause === undefined ? 'quarantined' : explain(cause),
    order,
    revert: halt.quarantine?.revert ?? null,
  };
  const { kind, detail } = await withSpan(
    'halt.isolate',
    {
      'interlock.run.id': runId,
      'interlock.halt.id': haltId,
      'interlock.kind': step,
      'interlock.attempt': attempt,
    },
    async (set) => {
      const outcome = isolator === null ? UNKNOWN : await isolator.isolate(message, signal);
      set({ 'interlock.outcome': outcome.kind });
      return outcome;
    },
    () => ({ ...haltThread(runId, halt, attempt), kind: 'client' }),
  );
  // Called off by a shutdown: nothing is known to have happened, and nothing is counted.
  if (signal.aborted && kind === 'retry') return;
  if (kind === 'retry' || kind === 'rejected') {
    deps.logger.warn({ runId, haltId, step, attempt, detail }, 'a call-out that isolates a run did not take');
  }
  await deps.runs.execute(
    runId,
    { type: 'RecordIsolation', haltId, round, step, attempt, outcome: kind, detail },
    { actor: 'interlock' },
  );
}
