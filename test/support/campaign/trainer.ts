/**
 * One simulated run: registers, heartbeats, trains as far as its permit goes, posts checkpoints, obeys halts.
 *
 * It behaves as a careful trainer does, with two exceptions that a watchdog is for: a *dangerous* run's score
 * reaches High at some checkpoint, and a *rogue* one trains past its ceiling. The evaluations' outcome travels in the
 * model's URI (evaluator.mjs, outside.ts).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import type { Random } from '../../simulation/random.ts';
import { reasonOf } from '../reason.ts';
import type { Api } from './api.ts';
import type { Journal } from './journal.ts';

export interface TrainerOptions {
  readonly runId: string;
  readonly random: Random;
  readonly api: Api;
  readonly journal: Journal;
  readonly haltUrl: string;
  /** What has come to `haltUrl`, of all runs. */
  readonly haltsReceived: () => readonly { readonly runId: string; readonly haltId: string }[];
  /** Once aborted it posts no new checkpoints; it goes on heartbeating and acknowledging. */
  readonly draining: AbortSignal;
  readonly over: AbortSignal;
  /** After so many checkpoints it only heartbeats, and seldom: it costs little and still obeys. */
  readonly checkpointsMax?: number | undefined;
}

export interface Trainer {
  readonly runId: string;
  /** The local process that a halt must end, where this run has one. */
  readonly process: ChildProcess | null;
  readonly done: Promise<void>;
}

const DirectiveSchema = z.object({
  directive: z.object({
    action: z.enum(['continue', 'pause', 'halt', 'quarantine']),
    haltId: z.string().optional(),
  }),
  permit: z.string().nullable(),
  nextCheckpointAt: z.string(),
});
const RegisteredSchema = z.object({ permit: z.string().nullable() });
/** Without its status URL, which says where the service is now. */
const AcceptedSchema = z.object({
  runId: z.string(),
  checkpointId: z.string(),
  disposition: z.string(),
  evaluations: z.array(z.object({ evaluationId: z.string(), name: z.string() })),
});
const PayloadSchema = z.object({ ceiling: z.string() });

const TICK_MIN_MS = 80;
const TICK_MAX_MS = 300;
const RETIRED_TICK_MS = 3_000;

export function startTrainer(options: TrainerOptions): Trainer {
  const { runId, random } = options;
  const child = random.chance(0.3) ? spawn('sleep', ['900'], { detached: true, stdio: 'ignore' }) : null;
  if (child !== null) {
    const end = () => child.kill('SIGKILL');
    process.once('exit', end);
    child.once('exit', () => process.off('exit', end));
  }
  const done = live(options, child, characterOf(random)).catch((error: unknown) => {
    options.journal.violations.push(`${runId} broke off: ${reasonOf(error)}`);
  });
  return { runId, process: child, done };
}

interface Character {
  /** The checkpoint from which on the score is High; never, for most. */
  readonly dangerousFrom: number;
  readonly rogueFrom: number;
  /** Hears of halts by webhook alone: nothing but its delivery stops this run. */
  readonly heedsWebhookOnly: boolean;
}

function characterOf(random: Random): Character {
  return {
    dangerousFrom: random.chance(0.5) ? 2 + random.below(5) : Number.POSITIVE_INFINITY,
    rogueFrom: random.chance(0.15) ? 3 + random.below(4) : Number.POSITIVE_INFINITY,
    heedsWebhookOnly: random.chance(0.6),
  };
}

async function live(
  options: TrainerOptions,
  child: ChildProcess | null,
  character: Character,
): Promise<void> {
  const { runId, random, api, journal, draining, over } = options;
  if (child !== null) await once(child, 'spawn');
  const registered = await register(options, child);
  if (!registered) return;

  let compute = 4e19 * random.between(0.8, 1.2);
  let ordinal = 0;
  let lastDue = 0;
  let firstDueAt = Number.POSITIVE_INFINITY;
  const acknowledged = new Set<string>();
  while (!over.aborted) {
    const isRetired = ordinal >= (options.checkpointsMax ?? Number.POSITIVE_INFINITY);
    const pauseMs = isRetired ? RETIRED_TICK_MS : random.between(TICK_MIN_MS, TICK_MAX_MS);
    await delay(pauseMs, undefined, { signal: over }).catch(() => undefined);
    const beat = await api.once({
      path: `/v1/runs/${runId}/heartbeat`,
      body: { effectiveCompute: compute, nonce: `n${random.below(1e9)}` },
      as: 'trainer',
    });
    if (beat === null || beat.status !== 200) continue;
    const { directive, permit, nextCheckpointAt } = DirectiveSchema.parse(beat.body);
    const { haltId } = directive;
    if (haltId !== undefined) {
      journal.knowHalt(haltId);
      const delivered = options.haltsReceived().some((each) => each.haltId === haltId);
      if (delivered || !character.heedsWebhookOnly) await acknowledge(haltId);
      continue;
    }
    if (permit === null) continue;
    journal.permits.push({ runId, token: permit, sentAtMs: beat.sentAtMs });
    if (draining.aborted || isRetired) continue;
    const ceiling = ceilingOf(permit);
    firstDueAt = Math.min(firstDueAt, Number(nextCheckpointAt));
    const dueAt = Math.max(Number(nextCheckpointAt), lastDue * 2);
    if (ordinal >= character.rogueFrom && random.chance(0.3)) compute = Math.max(compute, ceiling * 1.05);
    else compute = Math.max(compute, Math.min(compute * random.between(1.1, 1.5), dueAt, ceiling));
    const isDue = compute >= dueAt || lastDue === 0;
    if (isDue) lastDue = compute;
    // Before the first is cleared every checkpoint is due, and one of them is load enough.
    const hasCleared = Number(nextCheckpointAt) > firstDueAt;
    if (isDue || (hasCleared && random.chance(0.5))) await report();
  }

  async function acknowledge(haltId: string): Promise<void> {
    if (acknowledged.has(haltId)) return;
    for (const state of ['received', 'stopped']) {
      const answer = await api.persist({ path: `/v1/halts/${haltId}/ack`, body: { state }, as: 'trainer' });
      if (answer === null) return;
      if (answer.status === 200) journal.haltAcks.push({ haltId, state });
      // 409: resumed in the meantime.
      else if (answer.status !== 409) refused(`the ack of ${haltId}`, answer);
    }
    acknowledged.add(haltId);
  }

  async function report(): Promise<void> {
    ordinal += 1;
    const checkpointId = `ck-${ordinal}`;
    const message = {
      path: '/v1/checkpoints',
      webhookId: `${runId}_${checkpointId}`,
      body: {
        runId,
        checkpointId,
        effectiveCompute: compute,
        step: ordinal,
        modelUri: modelUri(runId, checkpointId, planOf(random, ordinal >= character.dangerousFrom)),
      },
    };
    const startedAtMs = performance.now();
    const answer = await api.persist(message);
    if (answer === null) return;
    if (answer.status !== 202 && answer.status !== 200) return refused(`checkpoint ${checkpointId}`, answer);
    const tookMs = performance.now() - startedAtMs;
    journal.checkpoints.push({ runId, checkpointId, effectiveCompute: compute, tookMs });
    const accepted = AcceptedSchema.parse(answer.body);
    if (!random.chance(0.1)) return;
    // A sender that did not hear the answer.
    const again = await api.persist(message);
    if (again === null) return;
    const repeated = AcceptedSchema.safeParse(again.body);
    if (!isDeepStrictEqual(repeated.data, accepted)) {
      journal.violations.push(
        `${runId} ${checkpointId} was answered otherwise when it was sent again: ${again.status} ${JSON.stringify(again.body)}`,
      );
    }
  }

  function refused(what: string, { status, body }: { status: number; body: unknown }): void {
    journal.violations.push(`${runId}: ${what} was refused with ${status}: ${JSON.stringify(body)}`);
  }
}

async function register(options: TrainerOptions, child: ChildProcess | null): Promise<boolean> {
  const { runId, api, journal, haltUrl } = options;
  const process = child?.pid === undefined ? [] : [{ kind: 'process', pid: child.pid }];
  const answer = await api.persist({
    path: '/v1/runs',
    body: { runId, targets: [{ kind: 'webhook', url: haltUrl }, ...process] },
    as: 'trainer',
  });
  if (answer === null) return false;
  if (answer.status !== 201 && answer.status !== 200) {
    journal.violations.push(`${runId} was refused with ${answer.status}: ${JSON.stringify(answer.body)}`);
    return false;
  }
  journal.registered.add(runId);
  const { permit } = RegisteredSchema.parse(answer.body);
  if (permit !== null) journal.permits.push({ runId, token: permit, sentAtMs: answer.sentAtMs });
  return true;
}

function planOf(random: Random, dangerous: boolean): Record<string, string> {
  const score = dangerous ? random.between(0.55, 0.6) : random.between(0.05, 0.15);
  const slow = random.chance(0.25);
  return {
    score: score.toFixed(3),
    win: random.between(0.05, 0.15).toFixed(3),
    ms: String(Math.round(slow ? random.between(500, 3_000) : random.between(0, 200))),
    ...(random.chance(0.2) ? { fail: String(1 + random.below(3)) } : {}),
    ...(slow && random.chance(0.5) ? { leak: '1' } : {}),
  };
}

const modelUri = (runId: string, checkpointId: string, plan: Record<string, string>): string =>
  `s3://campaign/${runId}/${checkpointId}?${new URLSearchParams(plan).toString()}`;

/** What the trainer reads of it here; the checks verify the signature and the rest. */
function ceilingOf(permit: string): number {
  const payload = Buffer.from(permit.split('.')[1] ?? '', 'base64url').toString('utf8');
  return Number(PayloadSchema.parse(JSON.parse(payload)).ceiling);
}
