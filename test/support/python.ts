/** Python and PyTorch on this machine, for the suites that need them and say why where they are skipped. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Where Debian puts PyTorch, first; else whatever python3 there is. INTERLOCK_TEST_PYTHON names another. */
const candidates = [process.env['INTERLOCK_TEST_PYTHON'], '/usr/bin/python3', 'python3'];

export const pythonClient = fileURLToPath(new URL('../../clients/python/', import.meta.url));

/** No byte code beside the sources: the checkout may be somebody else's. */
export const pythonEnv = { ...process.env, PYTHONDONTWRITEBYTECODE: '1', PYTHONPATH: pythonClient };

function answers(python: string, program: string): boolean {
  return spawnSync(python, ['-c', program], { env: pythonEnv, stdio: 'ignore' }).status === 0;
}

/** A python3 that is new enough, or null. */
export const python: string | null =
  candidates
    .filter((candidate) => candidate !== undefined)
    .find((candidate) => answers(candidate, 'import sys; sys.exit(sys.version_info < (3, 9))')) ?? null;

export const NO_PYTHON = python === null ? 'no python3 of 3.9 or later' : null;

/** Asked only by suites that need it: importing takes seconds. */
export function torchMissing(): string | null {
  if (python === null) return NO_PYTHON;
  const usable = answers(python, 'import torch.distributed as d; assert d.is_available()');
  return usable ? null : 'no PyTorch; on Debian: apt-get install python3-torch';
}
