/**
 * The red button in the service: into the ledger where it answers, else the way the button's own process goes.
 *
 * While the ledger answers, a press is an ordinary command. Where it is known to be away, fails, or takes longer than
 * PATIENCE_MS, the press goes to the desk: spooled with fsync, sent straight to the targets, entered into the ledger
 * later. Whatever the slow way still brings about carries the same press id, so one press stays one press.
 */
import { answerTo, type PressAnswer } from '../button/answer.ts';
import type { Desk } from '../button/desk.ts';
import { newPressId } from '../button/press.ts';
import type { RedButton } from '../button/request.ts';
import type { Sender } from '../button/sender.ts';
import type { Identity } from '../config/identities.ts';
import { idOf } from '../domain/run/ids.ts';
import type { RunState } from '../domain/run/state.ts';
import { InterlockError } from '../errors.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { sha256 } from './digest.ts';
import type { PressDrain } from './press-drain.ts';
import { haltOfPress } from './press-views.ts';
import type { Executed, Receipt, RunService } from './run-service.ts';

export interface RedButtonDeps {
  readonly runs: Pick<RunService, 'execute'>;
  readonly ledger: Pick<Ledger, 'view'>;
  readonly unfinishedRuns: () => Promise<string[]>;
  readonly desk: Pick<Desk, 'press'>;
  readonly sender: Sender;
  /** False while the database is known to be away. */
  readonly isLedgerUp: () => boolean;
  /** What is told as ordered before the ledger has it: its runs get no permit meanwhile. */
  readonly awaited?: Pick<PressDrain, 'expect' | 'forget'>;
  readonly clock: () => Date;
  readonly patienceMs?: number;
}

export interface PressBody extends RedButton {
  readonly group: string;
}

export type PressedRun =
  | { readonly way: 'ledger'; readonly executed: Executed }
  | { readonly way: 'spool'; readonly answer: PressAnswer };

export type PressedAll =
  | {
      readonly way: 'ledger';
      readonly halted: readonly RunState[];
      readonly failed: readonly { runId: string; reason: string }[];
    }
  | { readonly way: 'spool'; readonly answer: PressAnswer };

export interface RedButtonService {
  pressRun(runId: string, body: PressBody, identity: Identity, receipt?: Receipt): Promise<PressedRun>;
  pressAll(body: PressBody, identity: Identity): Promise<PressedAll>;
}

const PATIENCE_MS = 700;
const AT_ONCE = 16;

export function createRedButton(deps: RedButtonDeps): RedButtonService {
  const { runs, desk, sender, clock, patienceMs = PATIENCE_MS } = deps;

  /** The answer, or null where the ledger has none in time. What is no fault of the ledger's is thrown. */
  async function inTime<T>(work: () => Promise<T>): Promise<{ readonly value: T } | null> {
    if (!deps.isLedgerUp()) return null;
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<null>((resolve) => {
      timer = setTimeout(() => resolve(null), patienceMs);
    });
    const done = work().then(
      (value) => ({ value }),
      (error: unknown) => {
        if (error instanceof InterlockError && error.retryable) return null;
        throw error;
      },
    );
    // Heard of also where nobody waits any more.
    done.catch(() => undefined);
    try {
      return await Promise.race([done, limit]);
    } finally {
      clearTimeout(timer);
    }
  }

  function order(runId: string, body: PressBody, by: string, pressId: string, receipt?: Receipt) {
    const { action, reason, group } = body;
    const command = { type: 'OrderHalt' as const, action, reason, group, by, pressId };
    const pressedMs = performance.now();
    // Before patience has ended the spool has no copy that could have come first, and a halt waits for no look-up.
    const build = async () =>
      performance.now() - pressedMs < patienceMs
        ? command
        : { ...command, causeOf: await haltOfPress(deps.ledger, runId, pressId) };
    return inTime(() => runs.execute(runId, build, { actor: by, receipt, urgent: true }));
  }

  async function spooled(
    runId: string | null,
    { action, reason, group }: PressBody,
    { id: by, via }: Identity,
    pressId: string,
  ): Promise<{ way: 'spool'; answer: PressAnswer }> {
    const scope = runId === null ? ({ kind: 'all' } as const) : ({ kind: 'run', runId } as const);
    deps.awaited?.expect({ pressId, scope });
    try {
      const pressed = await desk.press({ scope, action, reason, group, by, via, pressId });
      return { way: 'spool', answer: await answerTo(pressed, sender, clock()) };
    } catch (error) {
      // Answered as not ordered. What did reach the spool is found there by the next pass.
      deps.awaited?.forget(pressId);
      throw error;
    }
  }

  return {
    async pressRun(runId, body, identity, receipt) {
      // A signed message that is sent again is the same press, whichever way it goes.
      const pressId =
        receipt === undefined
          ? newPressId()
          : idOf('press', sha256, receipt.source, receipt.webhookId, receipt.bodyDigest);
      const ordered = await order(runId, body, identity.id, pressId, receipt);
      return ordered === null
        ? spooled(runId, body, identity, pressId)
        : { way: 'ledger', executed: ordered.value };
    },

    async pressAll(body, identity) {
      const pressId = newPressId();
      const unfinished = await inTime(deps.unfinishedRuns);
      if (unfinished === null) return spooled(null, body, identity, pressId);
      const ids = unfinished.value;
      const halted: RunState[] = [];
      const failed: { runId: string; reason: string }[] = [];
      let isAway = false;
      const next = ids.values();
      await Promise.all(
        Array.from({ length: Math.min(AT_ONCE, ids.length) }, async () => {
          for (const runId of next) {
            // One run's trouble must not keep the button from the others.
            if (isAway) return;
            try {
              const ordered = await order(runId, body, identity.id, pressId);
              if (ordered === null) isAway = true;
              else if ('state' in ordered.value && ordered.value.state.halt !== null) {
                halted.push(ordered.value.state);
              } else failed.push({ runId, reason: 'not recorded' });
            } catch {
              failed.push({ runId, reason: 'not recorded' });
            }
          }
        }),
      );
      // The same press for all: those that are halted already learn only that more orders went out.
      if (isAway) return spooled(null, body, identity, pressId);
      return { way: 'ledger', halted, failed };
    },
  };
}
