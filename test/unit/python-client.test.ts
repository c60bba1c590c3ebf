/** The Python client's own tests, which need nothing but python3. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { NO_PYTHON, python, pythonClient, pythonEnv } from '../support/python.ts';

const run = promisify(execFile);
/** Half a minute where nothing else runs; they measure nothing. */
const TIMEOUT_MS = 400_000;

describe.skipIf(NO_PYTHON !== null)(
  `the Python client${NO_PYTHON === null ? '' : ` (skipped: ${NO_PYTHON})`}`,
  () => {
    it.each(['test_conformance', 'test_interlock'])(
      '%s',
      async (module) => {
        const { stderr } = await run(python ?? '', ['-m', 'unittest', module], {
          cwd: pythonClient,
          env: pythonEnv,
          timeout: TIMEOUT_MS - 5_000,
          killSignal: 'SIGKILL',
        });
        // An empty run ends well too.
        expect(stderr).toMatch(/Ran [1-9]\d* tests[\s\S]*\nOK/);
      },
      TIMEOUT_MS,
    );
  },
);
