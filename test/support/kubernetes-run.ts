/**
 * `npm run test:kubernetes`: the cases of a halt on Kubernetes on a real API server, with the time that each step took, and
 * the admission webhook of examples/ in front of it.
 *
 * Uses the server that KUBERNETES_URL names (see orchestrators-kubernetes-real.test.ts), or else starts one by the script
 * `kubernetes/up` of INTERLOCK_INFRA (default ../shared/infra), in a directory of its own, and stops it again. That script
 * compiles the server the first time, a few minutes; what it builds is kept in ~/.cache/interlock-ci/kubernetes.
 * Without either it says so and ends 0; INTERLOCK_REQUIRE_KUBERNETES=1 ends 1. Other arguments go to vitest.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
const infra = resolve(root, process.env['INTERLOCK_INFRA'] ?? '../shared/infra', 'kubernetes');
const cache = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');

function tests(env: NodeJS.ProcessEnv): number {
  const args = ['vitest', 'run', '--configLoader', 'runner', '--project', 'contract'];
  return (
    spawnSync('npx', [...args, 'kubernetes-real', ...process.argv.slice(2)], {
      cwd: root,
      stdio: 'inherit',
      env,
    }).status ?? 1
  );
}

function onServerOfOurOwn(): number {
  const state = mkdtempSync(join(tmpdir(), 'interlock-kubernetes-'));
  const env = {
    ...process.env,
    KUBERNETES_BIN_DIR: process.env['KUBERNETES_BIN_DIR'] ?? join(cache, 'interlock-ci', 'kubernetes'),
  };
  try {
    const up = spawnSync(join(infra, 'up'), [state], { stdio: ['ignore', 'ignore', 'inherit'], env });
    if (up.status !== 0) return 1;
    const lines = readFileSync(join(state, 'env'), 'utf8').matchAll(/^export (\w+)='(.*)'$/gm);
    return tests({ ...env, ...Object.fromEntries([...lines].map(([, name = '', value]) => [name, value])) });
  } finally {
    spawnSync(join(infra, 'down'), [state], { stdio: 'inherit' });
    rmSync(state, { recursive: true, force: true });
  }
}

if (process.env['KUBERNETES_URL'] !== undefined) process.exitCode = tests(process.env);
else if (existsSync(join(infra, 'up')) && process.getuid?.() === 0) process.exitCode = onServerOfOurOwn();
else {
  const isRequired = process.env['INTERLOCK_REQUIRE_KUBERNETES'] === '1';
  console.log('no KUBERNETES_URL, and none can be started here: nothing was tried on a real API server');
  process.exitCode = isRequired ? 1 : 0;
}
