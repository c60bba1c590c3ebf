/**
 * How to start the trainer and the evaluator from any working directory: absolute paths throughout.
 *
 * From the sources both need tsx, named by its resolved address, since a bare `--import tsx` is looked
 * up from wherever the child happens to run; from a build they are plain JavaScript.
 */
import { fileURLToPath } from 'node:url';

function command(name: 'train' | 'evaluate'): string[] {
  const fromSources = import.meta.url.endsWith('.ts');
  const file = fileURLToPath(new URL(`./${name}.${fromSources ? 'ts' : 'js'}`, import.meta.url));
  return [process.execPath, ...(fromSources ? ['--import', import.meta.resolve('tsx')] : []), file];
}

/** Program and first arguments; append the options of `train.ts`. */
export function trainCommand(): string[] {
  return command('train');
}

/** Program and first arguments; `demoPolicy` appends task, model and result file. */
export function evaluateCommand(): string[] {
  return command('evaluate');
}
