/**
 * Is this the ledger that we left? Compared with the newest signed head that is kept elsewhere: at start, whenever
 * the database comes back, and each time a head is to be signed.
 *
 * A ledger that is older than an anchored head, or has another history under it, was put back from a backup or forked:
 * halts, vetoes and levels may be missing from it. Then no permit is issued and no head signed until people have
 * decided (decision 0010); halting, reading and intake go on. Accepting it latches every unfinished run first, for
 * nobody knows what was lost about it: each goes on only by a governed resume.
 * Fails closed: as long as the comparison could not be made, or an anchor cannot be read, there is no permit.
 * Known gap: what was committed after the newest anchored head (a minute at most; none after a halt or a resume).
 */
import { z } from 'zod';
import { InterlockError } from '../errors.ts';
import type { Anchor, Anchors } from '../ledger/anchors.ts';
import type { SignedHead, SignedHeads } from '../ledger/heads.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { Check } from './readiness.ts';
import type { RunService } from './run-service.ts';

export const RESTORES_STREAM = 'restores';

export interface RestoreGuard {
  /** Null where permits may be issued; else the sentence that says why not. Compares first where that is owing. */
  refusal(): Promise<string | null>;
  /** Compares now. */
  compare(): Promise<void>;
  /** The database went away: what comes back may be another. */
  doubt(): void;
  /** Signs only what continues the anchored history, and anchors what was signed. */
  readonly heads: SignedHeads;
  /** Latches every unfinished run and records that this ledger is the one that counts from here on. */
  accept(by: string, reason: string): Promise<Accepted | null>;
  check(): Check | null;
}

export interface Accepted {
  readonly size: number;
  readonly anchoredSize: number;
  readonly runsHalted: number;
}

export interface RestoreGuardDeps {
  readonly ledger: Pick<Ledger, 'load' | 'read' | 'append' | 'head' | 'views'>;
  readonly heads: SignedHeads;
  readonly runs: Pick<RunService, 'execute'>;
  /** Null where no directory is configured: then only what this process has seen itself is compared. */
  readonly anchors: Anchors | null;
  readonly clock: () => Date;
  readonly logger: {
    warn(fields: object, message: string): void;
    error(fields: object, message: string): void;
  };
}

type Standing =
  | { readonly is: 'unknown' }
  | { readonly is: 'sound' }
  | { readonly is: 'restored'; readonly why: string; readonly anchor: Anchor }
  | { readonly is: 'unreadable'; readonly why: string };

const RestoresState = z.object({ acceptedAt: z.iso.datetime() });
const RunStatus = z.object({ status: z.string() });
const GROUP = 'restore';
const PAGE = 500;
const ATTEMPTS_MAX = 5;

export function createRestoreGuard(deps: RestoreGuardDeps): RestoreGuard {
  const { ledger, runs, anchors, clock, logger } = deps;
  let standing: Standing = { is: 'unknown' };
  let seen: Anchor | null = null;
  let comparing: Promise<void> | null = null;
  let following: Promise<void> | null = null;
  let doubts = 0;
  let anchorFault: string | null = null;

  async function newestAnchor(): Promise<Anchor | null> {
    const kept = anchors === null ? null : await anchors.newest();
    if (kept === null || seen === null) return kept ?? seen;
    return kept.signedAt.getTime() >= seen.signedAt.getTime() ? kept : seen;
  }

  async function look(): Promise<Standing> {
    let anchor: Anchor | null;
    try {
      anchor = await newestAnchor();
    } catch (error) {
      if (!(error instanceof InterlockError)) throw error;
      return { is: 'unreadable', why: error.message };
    }
    if (anchor === null || anchor.size === 0) return { is: 'sound' };
    const accepted = RestoresState.safeParse((await ledger.load(RESTORES_STREAM))?.state);
    // What was anchored before people accepted this ledger is of the one that it replaced.
    if (accepted.success && anchor.signedAt.getTime() <= Date.parse(accepted.data.acceptedAt)) {
      return { is: 'sound' };
    }
    const [entry] = await ledger.read({ after: anchor.size - 1, limit: 1 });
    if (entry?.seq === anchor.size && entry.hash === anchor.hash) return { is: 'sound' };
    const { size } = await ledger.head();
    const why =
      size < anchor.size
        ? `the ledger has ${size} events and a head of ${anchor.size} events was signed: it was put back from a backup`
        : `entry ${anchor.size} of the ledger is not the one that a signed head commits to: its history is another`;
    return { is: 'restored', why, anchor };
  }

  /** At least as new as the call: one that is under way may have looked before what the caller has just recorded. */
  function compare(): Promise<void> {
    if (comparing === null) {
      comparing = compareNow().finally(() => {
        comparing = null;
      });
      return comparing;
    }
    const next = (): Promise<void> => {
      following = null;
      return compare();
    };
    following ??= comparing.then(next, next);
    return following;
  }

  async function compareNow(): Promise<void> {
    const before = standing.is;
    const from = doubts;
    const found = await look();
    // Of the database that went away meanwhile.
    if (from !== doubts) return;
    standing = found;
    if ('why' in standing && standing.is !== before) {
      logger.error(
        { reason: standing.why },
        'no permit is issued until people decide: interlock ledger accept-restore',
      );
    }
  }

  async function refusal(): Promise<string | null> {
    if (standing.is === 'unknown') await compare();
    return 'why' in standing ? `${standing.why}; people have to decide` : null;
  }

  async function keep(head: SignedHead): Promise<void> {
    const { size, hash, jws, signedAt } = head;
    seen = { size, hash, jws, signedAt: new Date(signedAt) };
    if (anchors === null) return;
    try {
      await anchors.write(head);
      anchorFault = null;
    } catch (error) {
      anchorFault = 'a signed head could not be written to ledger.anchors';
      logger.error({ err: error }, anchorFault);
    }
  }

  async function unfinishedRuns(): Promise<string[]> {
    const ids: string[] = [];
    for (let after: number | undefined; ; ) {
      const page = { kind: 'run', limit: PAGE, order: 'asc' as const };
      const rows = await ledger.views(after === undefined ? page : { ...page, after });
      ids.push(
        ...rows.filter(({ doc }) => RunStatus.parse(doc).status !== 'finished').map(({ runId }) => runId),
      );
      const last = rows.at(-1);
      if (rows.length < PAGE || last === undefined) return ids;
      after = last.ordinal;
    }
  }

  async function accept(by: string, reason: string): Promise<Accepted | null> {
    await compare();
    if (standing.is !== 'restored') return null;
    const { anchor, why } = standing;
    const ids = await unfinishedRuns();
    for (const runId of ids) {
      const halt = {
        type: 'OrderHalt',
        action: 'halt',
        reason: `the ledger was put back from a backup; what happened to this run since then is not known (${reason})`,
        group: GROUP,
        by,
      } as const;
      const executed = await runs.execute(runId, halt, { actor: by, urgent: true });
      // Not accepted with a run at large: pressed again, what is halted stays halted.
      if (executed.outcome === 'rejected') {
        throw new InterlockError(`run ${runId} could not be halted`, {
          code: 'ledger.restored',
          retryable: true,
        });
      }
    }
    const { size, hash } = await ledger.head();
    const acceptedAt = new Date(Math.max(clock().getTime(), anchor.signedAt.getTime())).toISOString();
    for (let i = 0; i < ATTEMPTS_MAX; i += 1) {
      const written = await ledger.append({
        stream: RESTORES_STREAM,
        expectedVersion: (await ledger.load(RESTORES_STREAM))?.version ?? 0,
        events: [
          {
            kind: 'LedgerRestoreAccepted',
            data: {
              reason,
              by,
              finding: why,
              ledger: { size, hash },
              contradicted: { size: anchor.size, hash: anchor.hash, signedAt: anchor.signedAt.toISOString() },
              runsHalted: ids,
              acceptedAt,
            },
          },
        ],
        actor: by,
        snapshot: { state: { acceptedAt }, dueAt: null },
        views: [],
      });
      if (written.outcome !== 'appended') continue;
      await compare();
      return { size, anchoredSize: anchor.size, runsHalted: ids.length };
    }
    throw new InterlockError('the acceptance could not be recorded', {
      code: 'ledger.restored',
      retryable: true,
    });
  }

  return {
    refusal,
    compare,
    accept,
    doubt() {
      doubts += 1;
      standing = { is: 'unknown' };
    },
    heads: {
      ...deps.heads,
      async recordHead(sign) {
        await compare();
        if ('why' in standing)
          throw new InterlockError(standing.why, { code: 'ledger.restored', retryable: true });
        const head = await deps.heads.recordHead(sign);
        if (head.jws !== seen?.jws) await keep(head);
        return head;
      },
    },
    check() {
      if ('why' in standing) {
        return {
          name: 'ledger-continues',
          ok: false,
          detail: `restored: ${standing.why}; no permit is issued until an operator runs: interlock ledger accept-restore`,
        };
      }
      if (anchorFault !== null) return { name: 'ledger-continues', ok: true, detail: anchorFault };
      return anchors === null
        ? null
        : { name: 'ledger-continues', ok: true, detail: 'continues the newest head kept in ledger.anchors' };
    },
  };
}
