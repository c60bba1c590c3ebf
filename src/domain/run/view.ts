/** One row of a projection (views.ts), and the keys that rows are found by. */
import { type Json, plainJson } from '../canonical-json.ts';

export interface View {
  readonly kind:
    | 'run'
    | 'checkpoint'
    | 'scorecard'
    | 'evaluation'
    | 'result'
    | 'halt'
    | 'halt-order'
    | 'press'
    | 'lineage'
    | 'weights'
    | 'evidence'
    | 'outside'
    | 'proposal'
    | 'estimate-round'
    | 'estimate'
    | 'forecast-score'
    | 'breakthrough';
  readonly id: string;
  readonly runId: string;
  readonly ordinal: number;
  readonly doc: Json;
}

/** Views are keyed across runs; a run's own ids are made unique by it. */
export const checkpointKey = (runId: string, checkpointId: string): string => `${runId}/${checkpointId}`;
export const breakthroughKey = (runId: string, breakthroughId: string): string =>
  `${runId}/${breakthroughId}`;
export const evidenceKey = (digest: string, runId: string): string => `${digest}/${runId}`;
export const partyKey = (runId: string, party: string): string => `${runId}/${party}`;
export const submissionKey = (runId: string, party: string, name: string): string =>
  `${partyKey(runId, party)}/${name}`;
export const pressKey = (runId: string, pressId: string): string => `${runId}/${pressId}`;
/** One row per result, for ever: a repetition must be known long after its checkpoint has left the state. */
export const resultKey = (evaluationId: string, attempt: number): string => `${evaluationId}/${attempt}`;

/** Documents are stored as text and read by schema: what JSON cannot say is left out here. */
export const json = (value: object): Json => plainJson(value);
