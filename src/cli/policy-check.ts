/**
 * `interlock policy check`: is the policy usable as a whole, and how does its trip system behave?
 *
 * The table answers the question that a threshold alone does not: how often would a run that is still below High
 * be held or halted by noise, and how small a rise can be seen at all?
 */

import { type OperatingCharacteristics, TRUE_LEVELS } from '../domain/policy/characteristics.ts';
import type { PolicyProblem } from '../domain/policy/check.ts';
import { independenceWarnings } from '../domain/policy/independence.ts';
import { riskSteps } from '../domain/policy/risk-steps.ts';
import { checkPolicyFile, pin } from '../service/policies.ts';
import { EXIT, type ExitCode, UsageError } from './exit.ts';
import { json, plural, printable, type Style, table } from './output.ts';
import { riskTables } from './policy-risk.ts';
import { tripCharacteristics, tripTables } from './policy-trips.ts';
import type { Terminal } from './terminal.ts';

export interface PolicyCheckOptions {
  readonly json?: true;
  readonly characteristics?: true;
  readonly series?: string;
  readonly seed?: number;
  readonly bags?: number;
  readonly config?: string;
}

/** 100 bags of each kind take some ten seconds. */
const BAGS = 100;
const SEED = 20_260_417;

export async function policyCheck(
  file: string,
  options: PolicyCheckOptions,
  terminal: Terminal,
): Promise<ExitCode> {
  const { seed = SEED, bags = BAGS, series } = options;
  const isOptionAlone = options.seed !== undefined || options.bags !== undefined || series !== undefined;
  if (isOptionAlone && options.characteristics !== true) {
    throw new UsageError('--series, --seed and --bags go with --characteristics');
  }
  // Before anything is printed: a configuration that cannot be read is no answer about the policy.
  const offered = options.config === undefined ? null : await offersIndependent(options.config, terminal);
  const { check } = await checkPolicyFile(file);
  if (!check.ok) {
    const { problems, warnings } = check;
    if (options.json) {
      const nothing = { policy: null, digest: null, characteristics: null };
      terminal.print(json({ ok: false, ...nothing, problems, warnings }));
    } else {
      terminal.print(`${file}: refused, ${plural(problems.length, 'problem')}`);
      terminal.print(listed(problems));
    }
    return EXIT.negative;
  }
  const { policy, gaps, characteristics } = check;
  const warnings = [...check.warnings, ...independenceWarnings(policy, offered)];
  const { digest } = pin(policy);
  const isWanted = options.characteristics === true;
  const trips = isWanted ? await tripCharacteristics(policy, { seed, bags, series }, terminal) : undefined;
  if (trips === null) return EXIT.negative;
  const steps = riskSteps(policy);
  if (options.json) {
    const simulated = trips === undefined ? {} : { trips };
    terminal.print(
      json({
        ok: true,
        policy: policy.policy,
        digest,
        problems: [],
        warnings,
        gaps,
        characteristics,
        ...(steps === null ? {} : { riskSteps: steps }),
        ...simulated,
      }),
    );
    return EXIT.ok;
  }
  const { style } = terminal;
  terminal.print(
    `${file}: usable, ${plural(policy.rules.length, 'rule')}, ${plural(warnings.length, 'warning')}, ${plural(gaps.length, 'gap')}`,
  );
  terminal.print(`policy  ${style.bold(policy.policy)}\ndigest  ${digest}`);
  if (warnings.length > 0) terminal.print(`\n${style.yellow('warnings')}\n${listed(warnings)}`);
  if (gaps.length > 0) terminal.print(`\n${style.yellow('gaps in its evaluations')}\n${listed(gaps)}`);
  terminal.print(`\n${characteristicsTable(characteristics, style)}`);
  if (steps !== null) terminal.print(`\n${riskTables(steps, style)}`);
  if (trips !== undefined) terminal.print(`\n${tripTables(trips, style)}`);
  return EXIT.ok;
}

/** Whether any target that the configuration lets be registered is independent of the trainer. */
async function offersIndependent(config: string, terminal: Terminal): Promise<boolean> {
  // Only here: it loads far more than a policy needs.
  const { loadConfig } = await import('./configuration.ts');
  const { orchestrators } = await loadConfig(config, terminal);
  const { webhook, command } = orchestrators;
  return (
    (webhook.enabled && webhook.independentReceivers.length > 0) ||
    (command.enabled && Object.keys(command.commands).length > 0) ||
    (['slurm', 'kubernetes', 'ray'] as const).some((kind) => {
      const { enabled, clusters } = orchestrators[kind];
      return enabled && Object.keys(clusters).length > 0;
    })
  );
}

export function listed(problems: readonly PolicyProblem[]): string {
  return problems
    .map(({ path, message }) => `  ${printable(path || 'policy')}: ${printable(message)}`)
    .join('\n');
}

export function characteristicsTable(all: readonly OperatingCharacteristics[], style: Style): string {
  const columns = [
    { title: 'evaluation' },
    { title: 'stage' },
    { title: 'n', align: 'right' as const },
    ...TRUE_LEVELS.flatMap((level) =>
      (['hold', 'halt'] as const).map((what) => ({
        title: `${what}@${level.toFixed(1)}`,
        align: 'right' as const,
      })),
    ),
    { title: 'smallest rise', align: 'right' as const },
  ];
  const rows = all.map(({ evaluation, stage, n, falseTrips, smallestVisibleRise }) => [
    evaluation,
    stage.replace('-mitigation', ''),
    String(n),
    ...TRUE_LEVELS.flatMap((level) => {
      const trip = falseTrips?.find(({ trueLevel }) => trueLevel === level);
      return trip === undefined ? ['?', '?'] : [chance(trip.hold), chance(trip.halt)];
    }),
    smallestVisibleRise === null ? '?' : smallestVisibleRise.toFixed(2),
  ]);
  return [
    'Chance that one measurement at n samples holds or halts a run whose true level is still below High,',
    'and the smallest rise above level 2 (in levels) that a second one tells from noise with 80 % power:',
    table(columns, rows, style),
    ...(all.some(({ falseTrips }) => falseTrips === null)
      ? ["?: a mean; its uncertainty is the harness's to say, and nothing is claimed beforehand"]
      : []),
  ].join('\n');
}

/** Enough digits to tell rare from never. */
export function chance(probability: number): string {
  if (probability === 0) return '0';
  if (probability < 0.0001) return '<0.01%';
  const percent = 100 * probability;
  return `${percent < 1 ? percent.toFixed(2) : percent.toFixed(1)}%`;
}
