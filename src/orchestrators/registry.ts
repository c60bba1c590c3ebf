/**
 * Target kind to orchestrator: the one place that knows them all. A new kind is a schema in targets.ts, a
 * file beside this one, a ladder, and a case below; the compiler names whatever is missing.
 */
import { assertNever } from '../domain/assert-never.ts';
import type { Orchestrator } from './orchestrator.ts';
import type { ProcessOrchestratorDeps } from './process.ts';
import { createProcessOrchestrator } from './process.ts';
import type { Target } from './targets.ts';
import type { WebhookOrchestratorDeps } from './webhook.ts';
import { createWebhookOrchestrator } from './webhook.ts';

export interface OrchestratorDeps {
  webhook: WebhookOrchestratorDeps;
  process?: ProcessOrchestratorDeps;
}

export function createOrchestrator(target: Target, deps: OrchestratorDeps): Orchestrator {
  switch (target.kind) {
    case 'webhook':
      return createWebhookOrchestrator(target, deps.webhook);
    case 'process':
      return createProcessOrchestrator(target, deps.process);
    default:
      return assertNever(target);
  }
}
