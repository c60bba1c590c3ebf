/** `interlock eval`: evaluations without a service. */
import { type Command, InvalidArgumentError } from 'commander';
import type { EvalRunOptions } from './eval-run.ts';
import { collect, describe, JSON_OPTION, type Register } from './program-parts.ts';

export function addEvaluationCommands(program: Command, perform: Register): void {
  const evaluations = program.command('eval').description('run evaluations without a service');
  describe(evaluations.command('run'), {
    summary: "run a policy's evaluations of one checkpoint here, and show what they come to",
    details:
      'Without server, database or ledger: programs run contained on this machine, as the service runs them, and nothing is kept. Prints the scorecard, the findings and the verdict that the policy gives of a run whose first checkpoint this is; rules on how levels move need the series of a real run. A service that answers by callback cannot be asked from here, and counts as inconclusive. Ctrl-C stops what runs.',
    example:
      'interlock eval run --policy policy.yaml --checkpoint /models/ck-7 --endpoint http://127.0.0.1:8000/v1 --only ctf',
    exits: '0 proceed; 1 hold or halt; 2 usage, a policy that is refused, or stopped before the end',
  })
    .requiredOption('--policy <file>', 'the policy, YAML')
    .requiredOption(
      '--checkpoint <uri>',
      'the weights: a path or a URI, given to the evaluations as {modelUri}',
    )
    .option('--endpoint <url>', 'where the checkpoint answers, given as {endpoint}')
    .option('--only <id>', 'this evaluation only; repeatable', collect)
    .option('--compute <flop>', 'its effective compute (default: firstCheckpointBy of the policy)')
    .option('--concurrency <n>', 'evaluations at once', concurrency, 2)
    .option('--config <file>', 'take outbound.allow, models.roots and evaluators from this configuration')
    .option(...JSON_OPTION('{policy, digest, checkpointId, verdict, scorecard, evaluations, notRun}'))
    .action((options: EvalRunOptions) =>
      perform(async (t) => (await import('./eval-run.ts')).evalRun(options, t)),
    );
}

function concurrency(text: string): number {
  const value = /^\d{1,2}$/.test(text) ? Number(text) : 0;
  if (value < 1 || value > 64) throw new InvalidArgumentError('Evaluations at once are 1 to 64.');
  return value;
}
