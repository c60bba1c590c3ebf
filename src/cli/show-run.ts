/**
 * One run on one screen: what it may do, how dangerous it measured, what stopped it, whether it has really
 * stopped, and what to do next. Shared by `status` and `run show`.
 *
 * "Ordered", "accepted", "acknowledged" and "stopped" stay different words: only the last one means that nothing
 * is training any more. Shows what the service decided; judges nothing.
 */
import { budgetText } from '../domain/run/budgets.ts';
import { evidenceTexts } from '../domain/run/evidence-text.ts';
import { HaltMomentSchema } from '../domain/run/halt-documents.ts';
import { momentText } from '../domain/run/halt-timeline.ts';
import {
  levelBar,
  levelPaint,
  plural,
  printable,
  relative,
  type Style,
  shortCompute,
  span,
} from './output.ts';
import { quarantineLines, quarantineSteps } from './quarantine-lines.ts';
import type { Finding, Halt, Proposal, Run, Scorecard } from './service-documents.ts';
import { isInShadow, shadowLines } from './show-shadow.ts';

export interface Shown {
  readonly run: Run;
  /** null: no checkpoint has been evaluated yet. */
  readonly scorecard: Scorecard | null;
}

export function showRun({ run, scorecard }: Shown, now: Date, style: Style): string {
  const lines = [
    `${style.bold(printable(run.runId))}  ${headline(run, style)}  ${style.dim(`policy ${printable(run.policy.name)}`)}`,
    ...(run.title === null ? [] : [`  ${printable(run.title)}`]),
    ...shadowLines(run, now, style),
    `  compute   ${computeLine(run, now)}`,
    `  permit    ${permitLine(run, now)}`,
    ...(run.risk == null ? [] : [`  risk      ${riskLine(run.risk)}`]),
    ...(run.waiver === null ? [] : [`  waiver    ${waiverLine(run.waiver, now)}`]),
    ...run.warnings.map(({ message }) => `  ${style.yellow('warning')}   ${printable(message)}`),
    ...levelLines(scorecard, style),
    ...(run.openHalt === null ? [] : haltLines(run.openHalt, now, style)),
    ...run.openHolds.flatMap((hold) => [
      `  hold      ${printable(hold.key)}, becomes a halt ${relative(hold.deadlineAt, now)}`,
      ...(hold.closingIn === undefined
        ? []
        : [
            `            closing in: further samples are drawn; people are woken ${relative(hold.closingIn.until, now)} at the latest`,
          ]),
      ...findingLines(hold.findings),
    ]),
    ...run.proposals.map(
      ({ proposalId, kind, terms, approvalsNeeded }) =>
        `  proposal  ${printable(proposalId)}: ${proposedText(kind, terms, now)}; ${missing(approvalsNeeded)}`,
    ),
    ...nextSteps({ run, scorecard }).map(
      (step, i) => `  ${i === 0 ? style.bold('next') : '    '}      ${step}`,
    ),
  ];
  return lines.join('\n');
}

function proposedText(kind: string, terms: Proposal['terms'], now: Date): string {
  if (terms === undefined) return `${printable(kind)}, the run stays halted`;
  return 'ceiling' in terms
    ? `up to ${shortCompute(terms.ceiling)}`
    : `evaluation and alignment work alone, ends ${relative(terms.expires, now)}`;
}

export function headline(run: Pick<Run, 'status' | 'halt' | 'shadow'>, style: Style): string {
  switch (run.status) {
    case 'halted':
      return run.halt?.stopped === true
        ? style.red('HALTED, stopped')
        : style.red('HALTED, NOT KNOWN TO HAVE STOPPED');
    case 'on-hold':
      return style.yellow('ON HOLD');
    case 'training':
      return isInShadow(run) ? style.yellow('training IN SHADOW') : style.green('training');
    default:
      return printable(run.status);
  }
}

function computeLine(run: Run, now: Date): string {
  const seen = run.heartbeatAt === null ? 'no heartbeat yet' : `heartbeat ${relative(run.heartbeatAt, now)}`;
  return `${run.effectiveCompute === null ? 'none seen' : `${shortCompute(run.effectiveCompute)} FLOP`}, ${seen}`;
}

function permitLine(run: Run, now: Date): string {
  if (!run.permit.granted) return `none: ${printable(run.permit.reason ?? 'not granted')}`;
  const binds = isInShadow(run) ? ', which does not bind in shadow' : '';
  return `up to ${shortCompute(run.ceiling)}${binds}; next checkpoint at ${shortCompute(run.nextCheckpointAt)} or ${relative(run.nextCheckpointBy, now)}`;
}

type RunningEvaluation = NonNullable<Scorecard['running']>[number];

function riskLine({ level, probability, spent, budget, permit }: NonNullable<Run['risk']>): string {
  const percent = (p: number): string => `${(100 * p).toFixed(2)} %`;
  const taken =
    permit === null
      ? `no permit earned yet; one may take ${percent(probability)}`
      : `${percent(permit.p)} that a category reaches ${level.toFixed(2)} by ${shortCompute(permit.compute)}, a permit may take ${percent(probability)} (${printable(permit.choice.basis)})`;
  return `${taken}; spent ${percent(spent)}${budget === null ? '' : ` of ${percent(budget)}`}`;
}

function waiverLine({ ceiling, levels, expires }: NonNullable<Run['waiver']>, now: Date): string {
  const waived = Object.entries(levels).map(([category, level]) => `${printable(category)} ${level}`);
  return `resumed up to ${shortCompute(ceiling)}${waived.length === 0 ? '' : `, levels up to ${waived.join(', ')}`}, ends ${relative(expires, now)}`;
}

export function levelLines(scorecard: Scorecard | null, style: Style): string[] {
  if (scorecard === null) return ['  levels    no checkpoint has been evaluated'];
  const { checkpointId, effectiveCompute, state, verdict, categories, budgets = [] } = scorecard;
  const width = Math.max(...categories.map(({ id }) => id.length), 0);
  return [
    `  levels    ${printable(checkpointId)} at ${shortCompute(effectiveCompute)}, ${state === 'open' ? 'evaluation goes on' : 'evaluated'}${verdict === null ? '' : `: ${printable(verdict)}`}`,
    ...categories.flatMap(({ id, stages }) => {
      const levels = stages['pre-mitigation'];
      if (levels === undefined) return [];
      const { estimate, upper, name, worst } = levels;
      const figures =
        estimate === null
          ? 'not scored'
          : `${estimate.toFixed(2)} ${printable(name)}${upper === null ? '' : `, at most ${upper.toFixed(2)}`}`;
      const paint = levelPaint(estimate, upper, style);
      const of =
        worst === undefined ? '' : style.dim(` ${printable(worst.evaluation)}/${printable(worst.variant)}`);
      return [
        `    ${printable(id).padEnd(width)}  ${levelBar(estimate, upper, style)}  ${paint(figures)}${of}`,
      ];
    }),
    ...categories.flatMap(({ stages }) =>
      Object.values(stages).flatMap(({ evidence }) => evidenceLines(evidence, style)),
    ),
    ...budgets.map((best) => `    = ${printable(budgetText(best))}`),
    ...(scorecard.running ?? []).map((each) => `    ${runningLine(each)}`),
    ...findingLines(scorecard.findings.filter(({ waived }) => !waived)),
  ];
}

/** What the scores were made of. */
function evidenceLines(
  evidence: Scorecard['categories'][number]['stages'][string]['evidence'],
  style: Style,
): string[] {
  return evidenceTexts(evidence).flatMap(({ name, counts, source }) => [
    `    - ${printable(name)}: ${printable(counts)}`,
    ...(source === null ? [] : [style.dim(`      ${printable(source)}`)]),
  ]);
}

/** Queued is no progress, and a harness that says nothing of itself is not at zero. */
export function runningLine({ name, attempt, status, progress }: RunningEvaluation): string {
  const again = attempt > 1 ? `, attempt ${attempt}` : '';
  const what = `${printable(name)}: ${printable(status)}${again}`;
  return progress === null ? what : `${what}, ${progressText(progress)}`;
}

export function progressText({
  done,
  total,
  unit,
  errored,
}: NonNullable<RunningEvaluation['progress']>): string {
  const share = total === null ? `${done}` : `${done} of ${total}`;
  return `${share} ${printable(unit)}${errored ? `, ${errored} in error` : ''}`;
}

const findingLines = (findings: readonly Finding[]): string[] =>
  findings.map(
    ({ explanation, rule, then }) =>
      `    ! ${printable(explanation)} [${printable(rule)}: ${then.map(printable).join(', ')}]`,
  );

export function haltLines(halt: Halt, now: Date, style: Style): string[] {
  const state =
    halt.confirmedAt !== null
      ? `stopped ${span(Date.parse(halt.confirmedAt) - Date.parse(halt.orderedAt))} after the order`
      : style.red('not known to have stopped');
  const escalated = halt.escalations === 0 ? '' : `, escalated ${plural(halt.escalations, 'time')}`;
  return [
    `  halt      ${printable(halt.haltId)} (${printable(halt.action)}) ordered ${relative(halt.orderedAt, now)}, ${state}${escalated}`,
    ...causeLines(halt),
    ...(halt.life === null
      ? []
      : [
          `    ! showed life ${relative(halt.life.at, now)} and was halted again: ${printable(halt.life.shown)}`,
        ]),
    ...halt.deliveries.map((delivery) => `    > ${deliveryLine(delivery, halt)}`),
    ...timelineLines(halt),
    ...(halt.acknowledged.stoppedAt === null || halt.confirmedAt !== null
      ? []
      : [
          `    > the trainer says that it stopped (${relative(halt.acknowledged.stoppedAt, now)}); silence must confirm it`,
        ]),
    ...quarantineLines(halt, now, style),
  ];
}

/** What the lines above do not say already: told, acknowledged, and in which order it all came. */
function timelineLines({ timeline }: Halt): string[] {
  const [, ...moments] = timeline;
  if (moments.length === 0) return [];
  const said = moments.map((moment) => {
    const known = HaltMomentSchema.safeParse(moment);
    return `${span(moment.afterMs)} ${printable(known.success ? momentText(known.data) : moment.what)}`;
  });
  return [`    . since the order: ${said.join(', ')}`];
}

export function causeLines(halt: Pick<Halt, 'causes'>): string[] {
  return halt.causes.flatMap((cause) => {
    switch (cause.kind) {
      case 'person':
        return [
          `    ! ${printable(cause.by)} (${printable(cause.group)}) pressed the red button: ${printable(cause.reason)}`,
        ];
      case 'lineage':
        return [
          cause.through === undefined
            ? `    ! it descends from ${printable(cause.runId)}, which was halted: ${printable(cause.reason)}`
            : `    ! it began with weights of ${printable(cause.through)}, as did ${printable(cause.runId)}, which was halted: ${printable(cause.reason)}`,
        ];
      case 'rule':
        return findingLines(cause.findings);
      default:
        return cause satisfies never;
    }
  });
}

function deliveryLine(
  { targetId, kind, stoppedAt, stopDetail, steps }: Halt['deliveries'][number],
  halt: Halt,
): string {
  const after = (instant: string): string =>
    `${span(Date.parse(instant) - Date.parse(halt.orderedAt))} after the order`;
  const taken = steps
    .filter(({ attempts, acceptedAt }) => attempts > 0 || acceptedAt !== null)
    .map(({ step, attempts, acceptedAt, detail }) =>
      acceptedAt !== null
        ? `${printable(step)} accepted ${after(acceptedAt)}`
        : `${printable(step)} NOT accepted in ${plural(attempts, 'attempt')}${detail === null ? '' : ` (${printable(detail)})`}`,
    );
  const stopped =
    stoppedAt === null
      ? []
      : [`seen stopped ${after(stoppedAt)}${stopDetail === null ? '' : ` (${printable(stopDetail)})`}`];
  return `${targetName({ targetId, kind })}: ${[...taken, ...stopped].join(', ') || 'nothing sent yet'}`;
}

const targetName = ({ targetId, kind }: { targetId: string; kind: string }): string =>
  `${printable(targetId)} (${printable(kind)})`;

const missing = (groups: readonly string[]): string =>
  groups.length === 0 ? 'nothing more needed' : `needs ${groups.map(printable).join(', ')}`;

export function nextSteps({ run, scorecard }: Shown): string[] {
  const id = printable(run.runId);
  const { openHalt, proposals, openHolds } = run;
  const steps: string[] = [];
  if (openHalt !== null && openHalt.confirmedAt === null) {
    const silent = openHalt.deliveries.filter(({ stoppedAt }) => stoppedAt === null).map(targetName);
    steps.push(
      `make sure that training stops: ${silent.join(', ') || 'no target'} not seen stopped. Interlock goes on trying; if it does not stop, end the job by hand.`,
    );
  }
  const troubled = (scorecard?.categories ?? []).flatMap(({ stages }) =>
    Object.values(stages).flatMap(({ evidence }) =>
      evidence.filter(({ status }) => status === 'inconclusive'),
    ),
  );
  for (const { evaluationId, evaluation, variant, reasons } of troubled) {
    const why = reasons.length === 0 ? '' : ` (${reasons.map(printable).join(', ')})`;
    steps.push(
      `${printable(variant === 'default' ? evaluation : `${evaluation}/${variant}`)} is inconclusive${why}: mend it, then interlock retry ${printable(evaluationId)}`,
    );
  }
  for (const proposal of proposals) steps.push(signOffStep(proposal));
  const quarantine = openHalt === null ? [] : quarantineSteps(openHalt);
  if (proposals.length === 0) steps.push(...quarantine);
  if (proposals.length === 0 && openHalt !== null && quarantine.length === 0) {
    steps.push(`find out why; to go on, propose terms: interlock propose --run ${id} --rationale "..."`);
  }
  if (proposals.length === 0 && openHalt === null && openHolds.length > 0) {
    steps.push(
      `the hold lifts when evidence removes its cause; else propose terms: interlock propose --run ${id} --rationale "..."`,
    );
  }
  return steps;
}

export function signOffStep({ runId, proposalId, digest, approvalsNeeded }: Proposal): string {
  const group = approvalsNeeded[0] ?? 'GROUP';
  return `read ${printable(proposalId)} and sign (${missing(approvalsNeeded)}): interlock sign-off --run ${printable(runId)} --proposal ${printable(proposalId)} --digest ${printable(digest)} --decision approve --group ${printable(group)} --justification "..."`;
}
