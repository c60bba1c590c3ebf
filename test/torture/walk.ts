/**
 * One walk down the whole main path, over the same API as everybody: a run is registered, reports a checkpoint, is
 * halted by hand, says that it stopped and is resumed. It goes on until it is answered, however often the service
 * dies on the way, so its end says that the service is well again.
 */
import { spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import type { Scene } from '../support/campaign/scene.ts';
import { reasonOf } from '../support/reason.ts';

export interface Walk {
  readonly runId: string;
  /** When the halt had been delivered: everything a service is for works again. */
  readonly haltedAtMs: number;
}

const Halts = z.object({ halts: z.array(z.object({ haltId: z.string() })).min(1) });
const Beat = z.object({ permit: z.string().nullable(), directive: z.object({ action: z.string() }) });
const Proposal = z.object({ proposalId: z.string(), digest: z.string() });

const DELIVERED_WITHIN_MS = 30_000;
const LOOK_AGAIN_MS = 20;

let serial = 0;

/** Null when it was called off, or the campaign is over. Wrong answers are violations in the journal. */
export async function walk(scene: Scene, calledOff: AbortSignal): Promise<Walk | null> {
  serial += 1;
  const runId = `walk-${serial}`;
  // Something that can be seen to stop.
  const job = spawn('sleep', ['600'], { detached: true, stdio: 'ignore' });
  job.on('error', () => undefined);
  const end = () => job.kill('SIGKILL');
  process.once('exit', end);
  job.once('exit', () => process.off('exit', end));
  calledOff.addEventListener('abort', end, { once: true });
  try {
    return await walkDown(scene, calledOff, { runId, pid: job.pid });
  } catch (error) {
    scene.journal.violations.push(`${runId} broke off: ${reasonOf(error)}`);
    return null;
  } finally {
    calledOff.removeEventListener('abort', end);
    // Halted by now, or in nobody's way.
    end();
  }
}

async function walkDown(
  { api, journal, outside }: Scene,
  calledOff: AbortSignal,
  { runId, pid }: { runId: string; pid: number | undefined },
): Promise<Walk | null> {
  const ask = async (expected: readonly number[], message: Parameters<typeof api.once>[0]) => {
    while (!calledOff.aborted) {
      const answer = await api.once(message);
      if (answer === null || answer.status >= 500 || answer.status === 429) {
        await delay(LOOK_AGAIN_MS * 2);
        continue;
      }
      if (expected.includes(answer.status)) return answer;
      journal.violations.push(
        `${message.path} was answered ${answer.status}: ${JSON.stringify(answer.body)}`,
      );
      return null;
    }
    return null;
  };

  const observed = pid === undefined ? [] : [{ kind: 'process', pid }];
  const targets = [{ kind: 'webhook', url: `${outside.url}/halt` }, ...observed];
  const registered = await ask([200, 201, 422], {
    path: '/v1/runs',
    body: { runId, targets },
    as: 'trainer',
  });
  if (registered === null) return null;
  if (registered.status === 422) {
    // Called off while it was asked, its process is gone, and that is said rightly.
    if (!calledOff.aborted) {
      journal.violations.push(`the registration of ${runId} was refused: ${JSON.stringify(registered.body)}`);
    }
    return null;
  }
  journal.registered.add(runId);
  const effectiveCompute = 5e19;
  const reported = await ask([200, 202], {
    path: '/v1/checkpoints',
    webhookId: `${runId}_ck`,
    body: { runId, checkpointId: 'ck-1', effectiveCompute, modelUri: `s3://walk/${runId}?score=0.1&win=0.1` },
  });
  if (reported === null) return null;
  journal.checkpoints.push({ runId, checkpointId: 'ck-1', effectiveCompute, tookMs: 0 });
  await beat();

  const reason = `walk of ${runId}`;
  const pressed = await ask([202], { path: `/v1/runs/${runId}/halt`, body: { reason }, as: 'board' });
  if (pressed === null) return null;
  const haltId = Halts.parse(pressed.body).halts[0]?.haltId ?? '';
  journal.knowHalt(haltId);
  journal.presses.push({ runId, haltId, reason });
  const until = performance.now() + DELIVERED_WITHIN_MS;
  while (!outside.halts.some((each) => each.haltId === haltId)) {
    if (calledOff.aborted) return null;
    if (performance.now() > until) {
      journal.violations.push(
        `the halt ${haltId} of ${runId} was not delivered in ${DELIVERED_WITHIN_MS} ms`,
      );
      return null;
    }
    await delay(LOOK_AGAIN_MS);
  }
  const haltedAtMs = performance.now();
  const after = await beat();
  if (after !== null && after.permit !== null) journal.violations.push(`${runId} is halted and has a permit`);

  for (const state of ['received', 'stopped']) {
    const acked = await ask([200], { path: `/v1/halts/${haltId}/ack`, body: { state }, as: 'trainer' });
    if (acked === null) return null;
    journal.haltAcks.push({ haltId, state });
  }
  const proposed = await ask([200, 201, 409], {
    path: `/v1/runs/${runId}/proposals`,
    body: { kind: 'resume', rationale: 'the walk is over' },
    as: 'operator',
  });
  if (proposed === null || proposed.status === 409) return { runId, haltedAtMs };
  const { proposalId, digest } = Proposal.parse(proposed.body);
  const signed = await ask([200, 409], {
    path: `/v1/runs/${runId}/sign-offs`,
    body: { proposalId, digest, decision: 'approve', group: 'leadership', justification: 'walked' },
    as: 'leadership',
  });
  if (signed?.status === 200) {
    journal.signOffs.push({ runId, proposalId, by: 'leadership', decision: 'approve' });
    await beat();
  }
  return { runId, haltedAtMs };

  async function beat(): Promise<z.infer<typeof Beat> | null> {
    const answer = await ask([200], {
      path: `/v1/runs/${runId}/heartbeat`,
      body: { effectiveCompute: 1e19 },
      as: 'trainer',
    });
    if (answer === null) return null;
    const heard = Beat.parse(answer.body);
    if (heard.permit !== null)
      journal.permits.push({ runId, token: heard.permit, sentAtMs: answer.sentAtMs });
    return heard;
  }
}
