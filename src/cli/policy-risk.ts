/** What `policy check` says of a limit of risk: the steps that it gives two made-up runs. */
import type { RiskSteps } from '../domain/policy/risk-steps.ts';
import { type Style, shortCompute, table } from './output.ts';

const TITLES: Readonly<Record<RiskSteps['kind'], string>> = {
  flat: 'at level 1.3 throughout',
  rising: 'rising by 0.3 levels per doubling',
};

export function riskTables(all: readonly RiskSteps[], style: Style): string {
  return [
    'What cadence.risk comes to, without noise, each checkpoint made where it is due and cleared:',
    ...all.map(({ kind, steps }) => {
      const right = (title: string) => ({ title, align: 'right' as const });
      const columns = [
        { title: TITLES[kind] },
        ...['level', 'due at', 'permit to', 'risks', 'of full step', 'spent'].map(right),
        { title: '' },
      ];
      const rows = steps.map((step) => [
        shortCompute(step.effectiveCompute),
        step.level.toFixed(2),
        `x${step.dueRatio.toFixed(2)}`,
        `x${step.ceilingRatio.toFixed(2)}`,
        percent(step.p),
        percent(step.pFull),
        percent(step.spent),
        step.isOver ? style.yellow('over even so') : '',
      ]);
      return table(columns, rows, style);
    }),
  ].join('\n\n');
}

const percent = (p: number): string => `${(100 * p).toFixed(2)}%`;
