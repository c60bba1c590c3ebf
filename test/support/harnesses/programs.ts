/** Where the harnesses of the tests are: promptfoo itself where it is installed, and stand-ins for those in Python. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promptfooProgram } from './install.ts';

const standIn = (name: string): string => fileURLToPath(new URL(`./${name}`, import.meta.url));

export const INSPECT_STAND_IN = standIn('inspect');
export const LM_EVAL_STAND_IN = standIn('lm_eval');

export const PROMPTFOO: string | null = existsSync(promptfooProgram()) ? promptfooProgram() : null;
export const NO_PROMPTFOO =
  PROMPTFOO === null ? 'promptfoo is not installed: npm run harnesses:install' : null;
