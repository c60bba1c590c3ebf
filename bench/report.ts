/** The tables: for a terminal, and in Markdown for docs/guarantees.md. */
import type { Figure } from './figure.ts';
import type { Spread } from './statistics.ts';

const ratioText = (ratio: Spread | null): string =>
  ratio === null
    ? ''
    : `${ratio.median.toFixed(2)}x (${ratio.min.toFixed(2)} to ${ratio.max.toFixed(2)}, ${ratio.rounds})`;

const verdictText = ({ met, target }: Figure): string =>
  target === null || met === null ? '' : `${met ? 'met' : 'NOT MET'}: ${target}`;

export function terminalTable(title: string, figures: readonly Figure[]): string[] {
  return [
    '',
    title,
    ...figures.flatMap((figure) => [
      `  ${figure.name}`,
      `      ${figure.measured}${figure.baseline === null ? '' : `  against  ${figure.baseline}`}`,
      ...[ratioText(figure.ratio), verdictText(figure)].filter(Boolean).map((line) => `      ${line}`),
    ]),
  ];
}

export function markdownTable(
  machine: Readonly<Record<string, unknown>>,
  results: readonly { title: string; figures: readonly Figure[] }[],
): string {
  const facts = Object.entries(machine).map(([name, value]) => `${name} ${value}`);
  const rows = results.flatMap(({ figures }) =>
    figures.map((figure) =>
      [
        figure.name,
        figure.measured,
        figure.baseline ?? '',
        ratioText(figure.ratio),
        verdictText(figure),
      ].join(' | '),
    ),
  );
  return [
    `Measured on ${facts.join(', ')}. Ratios: median (least to greatest, number of rounds).`,
    '',
    '| figure | measured | baseline | ratio | target |',
    '| --- | --- | --- | --- | --- |',
    ...rows.map((row) => `| ${row} |`),
    '',
  ].join('\n');
}
