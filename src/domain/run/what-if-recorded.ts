/** What the record says came of each checkpoint, and where the run was first stopped. */
import { type Compute, compareCompute, maxCompute } from '../compute.ts';
import { verdictOf } from './assess.ts';
import type { RunEvent } from './events.ts';
import type { Finding } from './finding-documents.ts';
import { explain } from './halt.ts';
import type { HaltCause } from './halt-documents.ts';
import { distinct, nothingYet, type Standing, type Stop } from './what-if-outcome.ts';

export interface Recorded {
  readonly standings: ReadonlyMap<string, Standing>;
  readonly stop: Stop | null;
  /** Methods of the sealed forecasts. */
  readonly methods: ReadonlySet<string>;
  readonly wasResumed: boolean;
  readonly hasPools: boolean;
  /** What its policy decided then was recorded, and not done. */
  readonly shadowUntil: string | null;
}

interface StandingHold {
  readonly key: string;
  readonly findings: readonly Finding[];
  readonly at: string;
  readonly checkpointId: string | null;
}

export function recorded(events: readonly RunEvent[]): Recorded {
  const standings = new Map<string, Standing>();
  const computes = new Map<string, Compute>();
  const methods = new Set<string>();
  const holds = new Map<string, StandingHold>();
  const assessed = new Set<string>();
  let current: string | null = null;
  let high: Compute | null = null;
  let stop: Stop | null = null;
  let wasResumed = false;
  let hasPools = false;
  let shadowUntil: string | null = null;

  const standingOf = (checkpointId: string): Standing => {
    const standing = standings.get(checkpointId) ?? nothingYet();
    standings.set(checkpointId, standing);
    return standing;
  };
  const stopped = (fields: Omit<Stop, 'effectiveCompute'>): void => {
    const { checkpointId } = fields;
    stop ??= {
      ...fields,
      effectiveCompute: checkpointId === null ? null : (computes.get(checkpointId) ?? null),
    };
  };
  const held = ({ at, checkpointId, findings }: StandingHold): void => {
    const explanation = findings.map((each) => each.explanation).join('; ');
    stopped({ verdict: 'hold', at, checkpointId, findings: [...findings], explanation });
  };
  /** Once it was stopped, what else the run as a whole did has no counterpart under another policy. */
  const runWide = (checkpointId: string | null, findings: readonly Finding[]): void => {
    if (stop !== null || checkpointId === null) return;
    const standing = standingOf(checkpointId);
    standing.runWide = distinct([...standing.runWide, ...findings]);
  };
  const halted = (cause: HaltCause, at: string): void => {
    const findings = cause.kind === 'rule' ? cause.findings : [];
    // A hold that nobody lifted stopped the run when it was placed.
    const expired = findings.map(({ kind, evaluation }) => (kind === 'hold-deadline' ? evaluation : null));
    const hold = expired.map((holdId) => (holdId === null ? undefined : holds.get(holdId))).find(Boolean);
    if (hold !== undefined) held(hold);
    const own = cause.kind === 'rule' ? cause.checkpointId : null;
    if (own === null) {
      runWide(
        current,
        findings.filter(({ kind }) => kind !== 'hold-deadline'),
      );
    } else {
      standingOf(own).halting = distinct([...standingOf(own).halting, ...findings]);
    }
    const checkpointId = own ?? current;
    stopped({ verdict: 'halt', at, checkpointId, findings: [...findings], explanation: explain(cause) });
  };
  /** Before its assessment a checkpoint holds as long as its hold stands. */
  const ended = (hold: StandingHold | undefined): void => {
    const own = hold?.key.startsWith('checkpoint:') === true ? hold.checkpointId : null;
    if (own !== null && !assessed.has(own)) standingOf(own).evidence = nothingYet().evidence;
  };
  /** A run that is on hold and reports more compute went on all the same, or people let it. */
  const wentOn = (effectiveCompute: Compute): void => {
    const standing = [...holds.values()].find(({ key }) => key !== 'overdue');
    if (standing !== undefined && (high === null || compareCompute(effectiveCompute, high) > 0))
      held(standing);
  };

  for (const { kind, data } of events) {
    if (kind === 'RunRegistered') {
      shadowUntil = data.shadow?.until ?? null;
    } else if (kind === 'CheckpointReported') {
      wentOn(data.effectiveCompute);
      current = data.checkpointId;
      computes.set(data.checkpointId, data.effectiveCompute);
      high = high === null ? data.effectiveCompute : maxCompute(high, data.effectiveCompute);
    } else if (kind === 'CheckpointAssessed') {
      assessed.add(data.checkpointId);
      standingOf(data.checkpointId).evidence = { verdict: data.verdict, findings: data.findings };
    } else if (kind === 'HaltOrdered' || kind === 'HaltCauseAdded' || kind === 'WouldHaveHalted') {
      halted(data.cause, data.at);
    } else if (kind === 'HoldPlaced' || kind === 'WouldHaveHeld') {
      const { holdId, key, findings, at } = data;
      const own = key.startsWith('checkpoint:') ? key.slice('checkpoint:'.length) : null;
      holds.set(holdId, { key, findings, at, checkpointId: own ?? current });
      if (own === null) {
        runWide(current, findings);
      } else if (!assessed.has(own)) {
        standingOf(own).evidence = { verdict: verdictOf(findings), findings };
      }
    } else if (kind === 'HoldLifted' || kind === 'WouldHaveLifted') {
      const hold = holds.get(data.holdId);
      lifted(hold, standings);
      ended(hold);
      holds.delete(data.holdId);
    } else if (kind === 'ShadowEnded') {
      // What stands by then is placed anew, for real.
      holds.clear();
    } else if (kind === 'RunResumed') {
      for (const hold of holds.values()) held(hold);
      for (const hold of holds.values()) ended(hold);
      holds.clear();
      wasResumed = true;
    } else if (kind === 'ForecastSealed') {
      methods.add(data.forecast.method);
    } else if (kind === 'EstimatesPooled') {
      hasPools = true;
    }
  }
  for (const hold of holds.values()) held(hold);
  return { standings, stop, methods, wasResumed, hasPools, shadowUntil };
}

/** What evidence lifted by itself did not stop the run for good. */
function lifted(hold: StandingHold | undefined, standings: ReadonlyMap<string, Standing>): void {
  if (hold === undefined || hold.checkpointId === null || hold.key.startsWith('checkpoint:')) return;
  const standing = standings.get(hold.checkpointId);
  if (standing === undefined) return;
  standing.runWide = standing.runWide.filter(
    ({ rule }) => !hold.findings.some((finding) => finding.rule === rule),
  );
}
