/**
 * `interlock what-if`: where another policy would have held or halted this run, and why.
 *
 * Reads and decides nothing: the run goes on as it did. What the answer cannot say stands below it, always.
 */
import type { Verdict } from '../domain/run/finding-documents.ts';
import { stoppingFindings, type WhatIf, whatIf } from '../domain/run/what-if.ts';
import type { Stop } from '../domain/run/what-if-outcome.ts';
import { sha256 } from '../service/digest.ts';
import { checkPolicyFile, pin } from '../service/policies.ts';
import { EXIT, type ExitCode } from './exit.ts';
import { json, type Paint, plural, printable, type Style, shortCompute, table } from './output.ts';
import { listed } from './policy-check.ts';
import { readRunHistory } from './run-history.ts';
import type { Terminal } from './terminal.ts';

export interface WhatIfOptions {
  readonly run: string;
  readonly policy: string;
  readonly file?: string;
  readonly config?: string;
  readonly json?: true;
}

export async function whatIfCommand(options: WhatIfOptions, terminal: Terminal): Promise<ExitCode> {
  const { check } = await checkPolicyFile(options.policy);
  if (!check.ok) {
    terminal.complain(`${options.policy}: refused, ${plural(check.problems.length, 'problem')}`);
    terminal.complain(listed(check.problems));
    return EXIT.negative;
  }
  const history = await readRunHistory(options, terminal);
  if (history === null) {
    terminal.complain(`interlock: this ledger has no run ${printable(options.run)}`);
    return EXIT.negative;
  }
  const { policy, digest: policyDigest } = pin(check.policy);
  const answer = whatIf(history.events, { pinned: history.pinned, policy, policyDigest, digest: sha256 });
  terminal.print(options.json ? json(answer) : answerText(answer, terminal.style));
  return EXIT.ok;
}

export function answerText(answer: WhatIf, style: Style): string {
  const { runId, policy, recordedPolicy, samePolicy, checkpoints, partsAt, notComparable, limits } = answer;
  const own = printable(policy.name);
  return [
    `${style.bold(printable(runId))} under ${style.bold(own)}${
      samePolicy ? ', the policy it had pinned' : ` (it had pinned ${printable(recordedPolicy.name)})`
    }`,
    ...summary(answer, style),
    checkpoints.length === 0
      ? 'No checkpoint was evaluated.'
      : partsAt === null
        ? 'The verdicts agree at every checkpoint.'
        : `The verdicts part at ${printable(partsAt)}.`,
    ...(checkpoints.length === 0 ? [] : ['', checkpointTable(answer, style)]),
    ...(notComparable.length === 0
      ? []
      : [
          '',
          style.bold('not comparable'),
          ...notComparable.map(
            ({ evaluation, explanation, checkpoints: count }) =>
              `  ${printable(evaluation)} ${explanation} (${plural(count, 'checkpoint')})`,
          ),
        ]),
    '',
    style.bold('what this cannot say'),
    ...limits.map((limit) => `  ${printable(limit)}`),
  ].join('\n');
}

function summary({ stop }: WhatIf, style: Style): string[] {
  const { recorded, whatIf: would, apartFromMissing } = stop;
  const none = style.green('would not have been stopped');
  const text = (one: Stop | null): string => (one === null ? none : stopText(one, style));
  const lines = [
    `recorded         ${recorded === null ? 'never stopped' : stopText(recorded, style)}`,
    `what if          ${text(would)}`,
  ];
  // What is missing holds at once, and would hide where the evidence that is there stops the run.
  if (apartFromMissing !== null) lines.push(`of what was run  ${text(apartFromMissing.stop)}`);
  return lines;
}

function stopText({ verdict, checkpointId, effectiveCompute, explanation }: Stop, style: Style): string {
  const place =
    checkpointId === null
      ? 'before the first checkpoint'
      : `at ${printable(checkpointId)} (${shortCompute(effectiveCompute)})`;
  const word = verdict === 'halt' ? style.red('halted') : style.yellow('held');
  return `${word} ${place}: ${shortened(printable(explanation))}`;
}

/** One line of a terminal that is not too narrow; `--json` has all of it. */
const EXPLANATION_MAX = 160;

function shortened(text: string): string {
  const all = [...text];
  return all.length <= EXPLANATION_MAX ? text : `${all.slice(0, EXPLANATION_MAX - 1).join('')}…`;
}

function checkpointTable({ checkpoints, policy }: WhatIf, style: Style): string {
  const columns = [
    { title: 'checkpoint' },
    { title: 'compute', align: 'right' as const },
    { title: 'recorded' },
    { title: printable(policy.name) },
    { title: '' },
    { title: 'why' },
  ];
  const rows = checkpoints.map((row) => {
    const { checkpointId, effectiveCompute, recorded, whatIf: would, asked, afterStop, differs } = row;
    const said = verdictText(would.verdict, style);
    return [
      printable(checkpointId),
      shortCompute(effectiveCompute),
      verdictText(recorded.verdict, style),
      asked === 'not-due' ? `not asked (${said})` : said,
      `${differs ? '≠' : ' '}${afterStop ? ' after the stop' : ''}`,
      reasons(row),
    ];
  });
  return table(columns, rows, style);
}

/** Rules, by how many findings each; the figures are in `--json`, and of the stop above. */
function reasons({ whatIf: { findings }, missing }: WhatIf['checkpoints'][number]): string {
  const counts = new Map<string, number>();
  for (const { rule } of stoppingFindings(findings)) counts.set(rule, (counts.get(rule) ?? 0) + 1);
  const rules = [...counts].map(([rule, count]) => `${printable(rule)}${count > 1 ? ` x${count}` : ''}`);
  const absent = missing.length === 0 ? [] : [`${missing.length} never run`];
  return [...rules, ...absent].join(', ');
}

function verdictText(verdict: Verdict | null, style: Style): string {
  const paints: Readonly<Record<Verdict, Paint>> = {
    proceed: style.green,
    hold: style.yellow,
    halt: style.red,
  };
  return verdict === null ? style.dim('open') : paints[verdict](verdict);
}
