/**
 * Every format that is read. Order does not matter: a file that two claim is refused (detect.ts).
 */
import { bigcode } from './bigcode.ts';
import { dclm } from './dclm.ts';
import type { HarnessFormat } from './format.ts';
import { garak } from './garak.ts';
import { helm } from './helm.ts';
import { inspectFormat } from './inspect.ts';
import { intercode } from './intercode.ts';
import { lighteval } from './lighteval.ts';
import { lmEval } from './lm-eval.ts';
import { metr } from './metr.ts';
import { mleBench } from './mle-bench.ts';
import { native } from './native.ts';
import { openaiEvals } from './openai-evals.ts';
import { promptfoo } from './promptfoo.ts';
import { sweBench } from './swe-bench.ts';

export const FORMATS: readonly HarnessFormat[] = [
  inspectFormat,
  lmEval,
  promptfoo,
  helm,
  openaiEvals,
  sweBench,
  garak,
  bigcode,
  metr,
  intercode,
  mleBench,
  lighteval,
  dclm,
  native,
];

export const FORMAT_NAMES: readonly string[] = FORMATS.map(({ name }) => name);
