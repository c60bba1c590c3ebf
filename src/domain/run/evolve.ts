/**
 * Events to state: the one reducer, composed of a table per sub-machine.
 *
 * Only this moves a run's state. It never judges and never fails on a recorded event; a kind without an
 * entry is a compile error here.
 */
import { accountingEvolvers } from './accounting.ts';
import { alertEvolvers } from './alerts.ts';
import { callOffEvolvers } from './call-off.ts';
import { checkpointEvolvers } from './checkpoint-state.ts';
import { closingInEvolvers } from './closing-in.ts';
import { drillEvolvers } from './drill-state.ts';
import { estimateEvolvers } from './estimate-state.ts';
import { evaluationEvolvers } from './evaluation-state.ts';
import type { RunEvent, RunEventData, RunEventKind } from './events.ts';
import { evidenceEvolvers } from './evidence.ts';
import { forecastEvolvers } from './forecast-state.ts';
import { governanceEvolvers } from './governance.ts';
import { haltEvolvers } from './halt-state.ts';
import { holdEvolvers } from './holds.ts';
import { instanceEvolvers } from './instances.ts';
import { lineageEvolvers } from './lineage.ts';
import { outsideEvolvers } from './outside.ts';
import { ownStepEvolvers } from './own-steps.ts';
import { pressEvolvers } from './press.ts';
import { quarantineEvolvers } from './quarantine.ts';
import { registered, registrationEvolvers } from './registration.ts';
import { scopedWorkEvolvers } from './scoped-work.ts';
import { shadowEvolvers } from './shadow-state.ts';
import type { RunState } from './state.ts';
import { successionEvolvers } from './succession.ts';
import { tierEvolvers } from './tiers.ts';
import { trainingStageEvolvers } from './training-stage.ts';
import { unstaffedEvolvers } from './unstaffed.ts';
import { weightsEvolvers } from './weights.ts';

type Evolvers = { readonly [K in RunEventKind]: (state: RunState, data: RunEventData<K>) => RunState };

const evolvers: Evolvers = {
  ...registrationEvolvers,
  ...lineageEvolvers,
  ...accountingEvolvers,
  ...checkpointEvolvers,
  ...trainingStageEvolvers,
  ...evaluationEvolvers,
  ...tierEvolvers,
  ...weightsEvolvers,
  ...successionEvolvers,
  ...unstaffedEvolvers,
  ...evidenceEvolvers,
  ...outsideEvolvers,
  ...callOffEvolvers,
  ...holdEvolvers,
  ...closingInEvolvers,
  ...haltEvolvers,
  ...quarantineEvolvers,
  ...scopedWorkEvolvers,
  ...ownStepEvolvers,
  ...drillEvolvers,
  ...pressEvolvers,
  ...instanceEvolvers,
  ...governanceEvolvers,
  ...estimateEvolvers,
  ...forecastEvolvers,
  ...alertEvolvers,
  ...shadowEvolvers,
};

function apply<K extends RunEventKind>(state: RunState, kind: K, data: RunEventData<K>): RunState {
  return evolvers[kind](state, data);
}

function applyUnion<K extends RunEventKind>(
  state: RunState,
  event: { readonly kind: K; readonly data: RunEventData<K> },
): RunState {
  return apply(state, event.kind, event.data);
}

export function evolve(state: RunState | null, event: RunEvent): RunState {
  if (event.kind === 'RunRegistered') return registered(event.data);
  if (state === null) throw new RangeError(`${event.kind} before RunRegistered`);
  return applyUnion(state, event);
}

export function evolveAll(state: RunState | null, events: readonly RunEvent[]): RunState {
  const folded = events.reduce<RunState | null>(evolve, state);
  if (folded === null) throw new RangeError('a run begins with RunRegistered');
  return folded;
}
