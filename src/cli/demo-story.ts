/**
 * The demo's story: what the ledger and the trainer say, line by line, in plain words; and its outcome in figures.
 *
 * All figures come from the ledger's own events (and the trainer's clock for its end, on the same machine).
 * The first word of the halt that reached the trainer counts as delivered, whichever way it came.
 */

import type { InterlockConfiguration } from '../composition/configuration.ts';
import { parseRunEvent, type RunEvent } from '../domain/run/events.ts';
import type { RecordedEvent } from '../ledger/ledger.ts';
import { forecastLines } from './forecast-story.ts';
import { checkLedger } from './ledger-check.ts';
import { levelBar, printable, type Style, shortCompute } from './output.ts';

export interface Outcome {
  readonly runId: string;
  readonly haltedBy: 'interlock' | 'nobody' | 'signal';
  readonly rule: string | null;
  readonly category: string | null;
  readonly level: number | null;
  readonly msEvidenceToOrder: number | null;
  readonly msOrderToDelivered: number | null;
  readonly msOrderToStopped: number | null;
  readonly ledgerEvents: number;
  readonly ledgerVerified: boolean;
  readonly replayAgrees: boolean;
}

export interface Story {
  chapter(title: string): void;
  note(text: string): void;
  recorded(events: readonly RecordedEvent[]): void;
  trainer(line: { readonly event: string; readonly at: string; readonly [key: string]: unknown }): void;
  paged(summary: string): void;
  complaint(text: string): void;
  failed(how: string): void;
  readonly stopConfirmed: Promise<void>;
  conclude(config: InterlockConfiguration): Promise<Outcome>;
}

export interface StoryOptions {
  readonly say: (line: string) => void;
  readonly style: Style;
  /** Progress is drawn in place on a terminal, and left out elsewhere. */
  readonly isTty: boolean;
}

const STEP_NAME_WIDTH = 44;
const SCORECARD_PATIENCE_MS = 20_000;

const patience = (ms: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });

export function createStory({ say, style, isTty }: StoryOptions): Story {
  const startedMs = Date.now();
  let progressShown = false;
  let chapterNumber = 0;
  let evidenceAtMs: number | null = null;
  let evidenceToOrderMs: number | null = null;
  let halt: { atMs: number; event: Extract<RunEvent, { kind: 'HaltOrdered' }>['data'] } | null = null;
  let deliveredAtMs: number | null = null;
  let stoppedAtMs: number | null = null;
  let trainerStop: { by: string; via: string } | null = null;
  let signalled = false;
  const forecasts = new Map<string, Extract<RunEvent, { kind: 'ForecastSealed' }>['data']['forecast']>();
  let closing = (): void => undefined;
  const haltedScorecard = new Promise<void>((resolve) => {
    closing = resolve;
  });
  let confirm = (): void => undefined;
  const stopConfirmed = new Promise<void>((resolve) => {
    confirm = resolve;
  });

  const clear = (): void => {
    if (progressShown) process.stdout.write('\r\u001b[K');
    progressShown = false;
  };
  const line = (text: string): void => {
    clear();
    const seconds = ((Date.now() - startedMs) / 1000).toFixed(1).padStart(6);
    say(`${style.dim(`${seconds} s`)}  ${text}`);
  };
  const ms = (from: number | null, to: number | null): number | null =>
    from === null || to === null ? null : Math.max(0, Math.round(to - from));

  function tell(event: RunEvent, recordedAtMs: number): void {
    switch (event.kind) {
      case 'RunRegistered':
        line(`run ${event.data.runId} registered: it may train to ${shortCompute(event.data.ceiling)} FLOP`);
        return;
      case 'CheckpointReported':
        line(
          `${style.bold(`checkpoint ${event.data.checkpointId}`)} at ${shortCompute(event.data.effectiveCompute)} FLOP: ${event.data.evaluations.length} evaluations start, training goes on`,
        );
        return;
      case 'EvaluationReported':
        evidenceAtMs = Date.parse(event.data.at);
        return;
      case 'EvaluationAttemptFailed':
        line(style.yellow(`an evaluation attempt failed (${event.data.reason}); it is tried again`));
        return;
      case 'ForecastSealed':
        forecasts.set(event.data.forecast.category, event.data.forecast);
        return;
      case 'CheckpointAssessed':
        assessed(event.data);
        if (event.data.verdict === 'halt') closing();
        return;
      case 'HoldPlaced':
        line(style.yellow(`on hold: ${event.data.findings[0]?.explanation ?? event.data.key}`));
        return;
      case 'HoldLifted':
        line('hold lifted: evidence removed its cause');
        return;
      case 'HaltOrdered':
        halt = { atMs: recordedAtMs, event: event.data };
        evidenceToOrderMs = ms(evidenceAtMs, recordedAtMs);
        tripped(event.data);
        return;
      case 'HaltStepTaken':
        if (event.data.step.startsWith('sig')) signalled = true;
        line(`halt step ${event.data.step}: ${event.data.outcome} (${event.data.detail})`);
        if (event.data.outcome === 'accepted') delivered(Date.parse(event.data.at));
        return;
      case 'TargetStopObserved':
        stoppedAtMs = Date.parse(event.data.at);
        line(
          `the process is seen to be gone (${event.data.detail}): ${ms(halt?.atMs ?? null, stoppedAtMs)} ms after the order`,
        );
        return;
      case 'HaltConfirmed':
        line(style.green('the stop is confirmed'));
        confirm();
        return;
      default:
        return;
    }
  }

  function delivered(atMs: number): void {
    deliveredAtMs = Math.min(atMs, deliveredAtMs ?? atMs);
  }

  function tripped({ cause }: Extract<RunEvent, { kind: 'HaltOrdered' }>['data']): void {
    if (cause.kind !== 'rule') return;
    line('');
    line(style.red(style.bold('HALT ORDERED')));
    for (const { explanation, rule, observed, threshold } of cause.findings) {
      line(style.red(`  ${explanation}`));
      const by =
        typeof observed === 'number' && typeof threshold === 'number'
          ? `, by ${(observed - threshold).toFixed(2)}`
          : '';
      line(
        `  rule ${rule}${by}; ${evidenceToOrderMs ?? '?'} ms from the result to the recorded order; the other evaluations were not waited for`,
      );
    }
  }

  function assessed({
    scorecard,
    verdict,
    findings,
    ceiling,
  }: Extract<RunEvent, { kind: 'CheckpointAssessed' }>['data']): void {
    for (const { id, title, stages } of scorecard.categories) {
      const levels = stages['pre-mitigation'];
      const estimate = levels?.estimate ?? null;
      const forecast = forecasts.get(id);
      const middle = forecast?.quantiles.find(({ p }) => p === 0.5)?.level;
      const critical = forecast?.exceedance.find(({ level }) => level === 4)?.p;
      const ahead =
        forecast === undefined || middle === undefined || critical === undefined
          ? ''
          : `next: about ${middle.toFixed(1)}, Critical ${(100 * critical).toFixed(1)} %${forecast.basis === 'mostly-prior' ? ' (too little data)' : ''}`;
      const shown =
        estimate === null ? 'not enough information' : `${estimate.toFixed(2)} ${levels?.name ?? ''}`;
      line(
        `  ${title.slice(0, STEP_NAME_WIDTH).padEnd(STEP_NAME_WIDTH)} ${levelBar(estimate, levels?.upper ?? null, style)} ${shown.padEnd(12)} ${style.dim(ahead)}`,
      );
    }
    const told = forecastLines({
      forecasts: [...forecasts.values()],
      findings,
      effectiveCompute: scorecard.effectiveCompute,
      titleOf: (category) => scorecard.categories.find(({ id }) => id === category)?.title ?? category,
    });
    for (const { fired, text } of told) line(`  ${fired ? style.yellow(text) : style.dim(text)}`);
    forecasts.clear();
    if (verdict === 'proceed' && ceiling !== null) {
      line(`  verdict ${style.green('proceed')}: permits now reach ${shortCompute(ceiling)} FLOP`);
    } else line(`  verdict ${style.red(verdict)}`);
  }

  return {
    stopConfirmed,
    chapter(title) {
      chapterNumber += 1;
      clear();
      say(`\n${style.bold(`${chapterNumber}. ${title}`)}`);
    },
    note: line,
    recorded(events) {
      for (const event of events) {
        if (!event.stream.startsWith('run-')) continue;
        tell(parseRunEvent(event.kind, event.data), Date.parse(event.recordedAt));
      }
    },
    trainer(said) {
      if (said.event === 'step' && isTty) {
        const compute = typeof said['effectiveCompute'] === 'string' ? said['effectiveCompute'] : null;
        process.stdout.write(
          `\r\u001b[K        training: step ${String(said['step'])}, ${shortCompute(compute)} FLOP`,
        );
        progressShown = true;
      } else if (said.event === 'paused') {
        line(style.dim(`trainer waits at its permit's ceiling (${String(said['reason'] ?? '')})`));
      } else if (said.event === 'halt-received') {
        delivered(Date.parse(said.at));
        line(`trainer received the signed halt by ${String(said['via'])}, verified it offline and obeys`);
      } else if (said.event === 'stopped') {
        trainerStop = { by: String(said['by']), via: String(said['via'] ?? '') };
        line(
          `trainer stopped (${trainerStop.by === 'halt' ? `because of the halt it received by ${trainerStop.via}` : trainerStop.by})`,
        );
      }
    },
    paged: (summary) => line(`on-call is paged: ${printable(summary).slice(0, 160)}`),
    complaint: (text) => line(style.dim(`trainer: ${printable(text.trim()).slice(0, 300)}`)),
    failed(how) {
      const why: Readonly<Record<string, string>> = {
        'trainer-exited': 'the trainer ended by itself before Interlock stopped it',
        'timed-out': 'the run was not stopped in time',
        interrupted: 'interrupted',
      };
      line(style.red(`The demo failed: ${why[how] ?? how}.`));
    },
    async conclude(config) {
      // The halt did not wait for the other evaluations; the record of the checkpoint is complete with them.
      await Promise.race([haltedScorecard, patience(SCORECARD_PATIENCE_MS)]);
      this.chapter('The record is checked, as an outside auditor would');
      const { verified, replayed, events } = await checkLedger(config);
      line(
        verified.ok
          ? `ledger: ${events} events, every hash, version and signed head verifies`
          : style.red('ledger: does NOT verify'),
      );
      line(
        replayed.ok
          ? 'replay: folding the ledger gives the same state, every verdict comes out the same'
          : style.red('replay: DISAGREES'),
      );
      for (const { message } of [...verified.problems, ...replayed.mismatches].slice(0, 5))
        line(style.red(`  ${message}`));
      if (!signalled) line('the second rung (SIGTERM to the process) was not needed');
      const cause = halt?.event.cause;
      const finding = cause?.kind === 'rule' ? cause.findings[0] : undefined;
      const byHalt = trainerStop?.by === 'halt';
      return {
        runId: 'demo-run',
        haltedBy: halt !== null && byHalt ? 'interlock' : signalled ? 'signal' : 'nobody',
        rule: finding?.rule ?? null,
        category: finding?.category ?? null,
        level: typeof finding?.observed === 'number' ? finding.observed : null,
        msEvidenceToOrder: evidenceToOrderMs,
        msOrderToDelivered: ms(halt?.atMs ?? null, deliveredAtMs),
        msOrderToStopped: ms(halt?.atMs ?? null, stoppedAtMs),
        ledgerEvents: events,
        ledgerVerified: verified.ok,
        replayAgrees: replayed.ok,
      };
    },
  };
}
