/** The commands of forecasts: how those that were sealed have done. */
import type { Command } from 'commander';
import type { RecordOptions } from './forecast.ts';
import { describe, EXITS, JSON_OPTION, overHttp, type Register } from './program-parts.ts';

export function addForecastCommands(program: Command, perform: Register): void {
  const forecast = program.command('forecast').description('what the sealed forecasts are worth');

  overHttp(
    describe(forecast.command('record'), {
      summary: 'how the sealed forecasts have done',
      details:
        'Each forecast is sealed before the evaluations of the checkpoint that it is about are queued, and scored when their level is in: how often the level came under the 95 % and 99 % bounds, the losses in levels, and the worst misses. Under 20 forecasts it says that they are too few to say.',
      example: 'interlock forecast record --run gpt-next-7',
      exits: EXITS,
    }),
  )
    .option('--run <id>', 'of this run alone (default: all)')
    .option('--category <id>', 'of this category alone')
    .option('--method <name>', 'of this method alone, name and version')
    .option('--since <when>', 'scored since then: an instant, or a span back from now (30d)')
    .option(...JSON_OPTION('the record: total, groups, worstMisses, excluded'))
    .action((options: RecordOptions) =>
      perform(async (t) => (await import('./forecast.ts')).forecastRecord(options, t)),
    );
}
