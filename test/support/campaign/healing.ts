/** The end of it: with nothing in its way any more, everything that is open must come to an end, and stop cleanly. */
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { running } from '../data-directories.ts';
import type { LedgerEvent } from './evidence.ts';
import { evaluationProcesses } from './orphans.ts';
import type { Outside } from './outside.ts';
import type { Scene } from './scene.ts';
import type { ServiceProcess } from './service-process.ts';

const HEALED_WITHIN_MS = 90_000;
const LOOK_AGAIN_MS = 250;
const GONE_WITHIN_MS = 10_000;

const CheckpointsSchema = z.object({
  items: z.array(
    z.object({
      checkpointId: z.string(),
      disposition: z.enum(['evaluate', 'recorded']),
      verdict: z.string().nullable(),
      evaluations: z.array(z.object({ evaluationId: z.string(), status: z.string() })),
    }),
  ),
});
const RunSchema = z.object({
  status: z.enum(['training', 'on-hold', 'halted', 'finished']),
  openHalt: z.object({ haltId: z.string(), confirmedAt: z.string().nullable() }).nullable(),
});

const CONCLUDED = ['completed', 'inconclusive', 'cancelled', 'archived'];

/** Answers what did not. */
export async function demandProgress(scene: Scene, service: ServiceProcess): Promise<string[]> {
  const until = performance.now() + HEALED_WITHIN_MS;
  for (;;) {
    const open = await stillOpen(scene);
    if (open.length === 0) open.push(...(await undelivered(scene)));
    if (open.length === 0) return [];
    if (service.isGone()) return ['the service ended by itself'];
    if (performance.now() > until)
      return open.map((what) => `still open after ${HEALED_WITHIN_MS} ms: ${what}`);
    await delay(LOOK_AGAIN_MS);
  }
}

async function stillOpen({ api, journal, trainers }: Scene): Promise<string[]> {
  const open: string[] = [];
  for (const { runId, process } of trainers) {
    if (!journal.registered.has(runId)) {
      open.push(`${runId} is not registered`);
      continue;
    }
    const run = await api.persist({ path: `/v1/runs/${runId}`, as: 'auditor' });
    const list = await api.persist({ path: `/v1/runs/${runId}/checkpoints?limit=200`, as: 'auditor' });
    const { status, openHalt } = RunSchema.parse(run?.body);
    for (const { checkpointId, disposition, verdict, evaluations } of CheckpointsSchema.parse(list?.body)
      .items) {
      if (disposition === 'recorded') continue;
      for (const { evaluationId, status: state } of evaluations) {
        if (!CONCLUDED.includes(state)) open.push(`${runId} ${checkpointId} ${evaluationId} is ${state}`);
      }
      if (verdict === null && status !== 'halted') open.push(`${runId} ${checkpointId} has no verdict`);
    }
    if (openHalt === null) continue;
    if (openHalt.confirmedAt === null) open.push(`the stop of ${runId} is not confirmed`);
    if (process !== null && process.exitCode === null && process.signalCode === null) {
      open.push(`the process of ${runId} lives`);
    }
  }
  return open;
}

const LedgerSchema = z.object({
  items: z.array(z.object({ kind: z.string(), data: z.record(z.string(), z.unknown()) })),
  nextCursor: z.string().nullable(),
});
const AlertSchema = z.object({ alertId: z.string(), summary: z.string() });

/** Alerts that were raised and have not arrived. */
async function undelivered({ api, outside }: Scene): Promise<string[]> {
  const missing: string[] = [];
  for (let after: string | null = '0'; after !== null; ) {
    const page = await api.persist({ path: `/v1/ledger?limit=200&after=${after}`, as: 'auditor' });
    const { items, nextCursor } = LedgerSchema.parse(page?.body);
    for (const { kind, data } of items) {
      if (kind !== 'AlertRaised') continue;
      const { alertId, summary } = AlertSchema.parse(data);
      if (!outside.alerts.has(alertId)) missing.push(`alert ${alertId} (${summary}) has not arrived`);
    }
    after = nextCursor;
  }
  return missing;
}

/** Waits for the alerts that these events raise; one that does not come is for the checks to tell. */
export async function alertsArrived(events: readonly LedgerEvent[], outside: Outside): Promise<void> {
  const raised = events.flatMap(({ kind, data }) =>
    kind === 'AlertRaised' ? [AlertSchema.parse(data).alertId] : [],
  );
  const until = performance.now() + HEALED_WITHIN_MS;
  while (raised.some((alertId) => !outside.alerts.has(alertId)) && performance.now() < until) {
    await delay(LOOK_AGAIN_MS);
  }
}

/** It stops when asked, and with it its evaluations and, as its last user, the embedded PostgreSQL. */
export async function stopped({ grade, place }: Scene, service: ServiceProcess): Promise<string[]> {
  const violations: string[] = [];
  const code = await service.stop();
  if (code !== 0) violations.push(`asked to stop, the service ended with ${code}`);
  for (const { pid } of await evaluationProcesses(place.dataDir)) {
    violations.push(`evaluation process ${pid} outlived the last service`);
  }
  if (grade !== 'embedded') return violations;
  const until = performance.now() + GONE_WITHIN_MS;
  while ((await running(place.dataDir)).length > 0) {
    if (performance.now() > until)
      return [...violations, 'the embedded PostgreSQL did not stop with its last user'];
    await delay(LOOK_AGAIN_MS);
  }
  return violations;
}
