/** The governance groups: they press the red button now and then, and let some halted or held runs go on. */
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import type { Random } from '../../simulation/random.ts';
import type { Answer, Api } from './api.ts';
import type { Journal } from './journal.ts';

export interface PeopleOptions {
  readonly random: Random;
  readonly api: Api;
  readonly journal: Journal;
  readonly runIds: () => readonly string[];
  readonly draining: AbortSignal;
}

const PAUSE_MIN_MS = 150;
const PAUSE_MAX_MS = 600;

const RunSchema = z.object({
  status: z.enum(['training', 'on-hold', 'halted', 'finished']),
  openHalt: z.object({ haltId: z.string() }).nullable(),
});
const HaltsSchema = z.object({ halts: z.array(z.object({ haltId: z.string(), runId: z.string() })).min(1) });
const ProposalSchema = z.object({ proposalId: z.string(), digest: z.string() });

export async function govern({ random, api, journal, runIds, draining }: PeopleOptions): Promise<void> {
  let presses = 0;
  while (!draining.aborted) {
    await delay(random.between(PAUSE_MIN_MS, PAUSE_MAX_MS), undefined, { signal: draining }).catch(
      () => undefined,
    );
    const candidates = runIds().filter((runId) => journal.registered.has(runId));
    if (candidates.length === 0) continue;
    const runId = random.pick(candidates);
    const answer = await api.once({ path: `/v1/runs/${runId}`, as: 'auditor' });
    if (answer === null || answer.status !== 200) continue;
    const { status } = RunSchema.parse(answer.body);
    if (status === 'training' && random.chance(0.2)) await press(runId);
    else if ((status === 'halted' || status === 'on-hold') && random.chance(0.7)) await resume(runId);
  }

  async function press(runId: string): Promise<void> {
    presses += 1;
    const reason = `press ${presses}`;
    const answer = await api.persist({
      path: `/v1/runs/${runId}/halt`,
      body: { reason, action: random.chance(0.2) ? 'quarantine' : 'halt' },
      as: random.pick(['preparedness', 'safety-advisory', 'leadership', 'board']),
    });
    if (answer === null) return;
    if (answer.status !== 202) return refused(`the red button of ${runId}`, answer);
    const halt = HaltsSchema.parse(answer.body).halts[0];
    if (halt === undefined) return;
    journal.knowHalt(halt.haltId);
    journal.presses.push({ runId, haltId: halt.haltId, reason });
  }

  async function resume(runId: string): Promise<void> {
    const propose = (kind: 'resume' | 'release') =>
      api.persist({
        path: `/v1/runs/${runId}/proposals`,
        body: { kind, rationale: 'the campaign goes on' },
        as: 'operator',
      });
    const first = await propose('resume');
    // In quarantine it takes a release first; whoever comes by next proposes the resume.
    const proposed = first?.status === 409 ? await propose('release') : first;
    // Anything but a proposal: the run has moved in the meantime.
    if (proposed === null || (proposed.status !== 201 && proposed.status !== 200)) return;
    const { proposalId, digest } = ProposalSchema.parse(proposed.body);
    if (random.chance(0.3)) await sign(runId, proposalId, digest, 'safety-advisory', 'dissent');
    await sign(runId, proposalId, digest, 'leadership', 'approve');
    if (random.chance(0.1)) await sign(runId, proposalId, digest, 'board', 'veto');
  }

  async function sign(
    runId: string,
    proposalId: string,
    digest: string,
    by: string,
    decision: 'approve' | 'dissent' | 'veto',
  ): Promise<void> {
    const answer = await api.persist({
      path: `/v1/runs/${runId}/sign-offs`,
      body: { proposalId, digest, decision, group: by, justification: `${by} on ${proposalId}` },
      as: by,
    });
    if (answer === null) return;
    if (answer.status === 200) journal.signOffs.push({ runId, proposalId, by, decision });
    // 409: the evidence has changed, and with it what would have been signed.
    else if (answer.status !== 409) refused(`the sign-off of ${by}`, answer);
  }

  function refused(what: string, { status, body }: Answer): void {
    journal.violations.push(`${what} was refused with ${status}: ${JSON.stringify(body)}`);
  }
}
