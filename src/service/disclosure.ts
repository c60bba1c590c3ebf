/**
 * What of the ledger is shown while experts are still being asked: estimates are withheld from every reader, whatever
 * their role, until nothing about their question can be revised any more.
 *
 * The event stands in the ledger in full; readers get its envelope. Its hash covers the salted content, so it is the
 * commitment, and what is shown later can be held against the hash that was shown at once.
 * Fails towards withholding: a run or a round that cannot be told is not shown.
 * Not here: whoever reads the database or an export of it (docs/adr/0017).
 */
import type { JsonObject } from '../domain/canonical-json.ts';
import { isSettled, roundsOf } from '../domain/run/estimate-state.ts';
import type { RecordedEvent } from '../ledger/ledger.ts';
import { type RunService, runStream } from './run-service.ts';

const RUN_STREAM = runStream('');
/** Who has answered is no secret; what they said is. */
const SHOWN = ['roundId', 'estimateId', 'by', 'at'];

const isEstimate = ({ kind, stream }: RecordedEvent): boolean =>
  kind === 'EstimateGiven' && stream.startsWith(RUN_STREAM);

export type Disclose = (events: readonly RecordedEvent[]) => Promise<readonly RecordedEvent[]>;

export function createDisclosure({ load }: Pick<RunService, 'load'>): Disclose {
  return async (events) => {
    const estimates = events.filter(isEstimate);
    if (estimates.length === 0) return events;
    // Read after the events: a round that is open in an older state may hold estimates that are newer.
    const open = new Map<string, ReadonlySet<string> | null>();
    for (const stream of new Set(estimates.map((each) => each.stream))) {
      open.set(stream, await unsettledRounds(stream.slice(RUN_STREAM.length)));
    }
    return events.map((event) => {
      if (!isEstimate(event)) return event;
      const { roundId } = event.data;
      const unsettled = open.get(event.stream);
      const isShown = unsettled != null && typeof roundId === 'string' && !unsettled.has(roundId);
      return isShown ? event : withheld(event);
    });
  };

  async function unsettledRounds(runId: string): Promise<ReadonlySet<string> | null> {
    const loaded = await load(runId);
    if (loaded === null) return null;
    const { state } = loaded;
    return new Set(
      roundsOf(state)
        .filter((placed) => !isSettled(state, placed))
        .map(({ round }) => round.roundId),
    );
  }
}

function withheld(event: RecordedEvent): RecordedEvent {
  const shown = Object.entries(event.data).filter(([name]) => SHOWN.includes(name));
  const data: JsonObject = { ...Object.fromEntries(shown), withheld: true };
  return { ...event, data };
}
