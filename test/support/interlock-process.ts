/**
 * An Interlock in a process of its own that starts, evaluates something without end, closes, and then has nothing
 * left to do: if it does not end by itself, something was left behind. Prints `started PID_OF_EVALUATOR` and `closed`.
 */
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { evaluatorPids } from './alive.ts';
import { testPolicy, writeEvaluator, writeModel } from './evaluation-policy.ts';
import { startTestInterlock } from './interlock.ts';

const interlock = await startTestInterlock({ policies: { main: testPolicy() } });
await writeEvaluator(interlock.directory);
const pidFile = join(interlock.directory, 'pids');
const run = { runId: 'r1', targets: [{ kind: 'webhook', url: 'http://127.0.0.1:9/halt' }] };
await interlock.call('POST', '/v1/runs', { as: 'trainer', body: run });
const modelUri = await writeModel(interlock.models, 'm', { hang: true, pidFile });
await interlock.signed('/v1/checkpoints', {
  runId: 'r1',
  checkpointId: 'c1',
  effectiveCompute: '1e21',
  modelUri,
});
let pid: number | undefined;
for (let tries = 0; pid === undefined && tries < 400; tries += 1) {
  [pid] = await evaluatorPids(pidFile).catch(() => []);
  await delay(50);
}
console.log(`started ${pid}`);
// A reader that stays, a halt whose target is away, and an evaluation that never ends.
const stream = await fetch(`${interlock.url}/v1/stream`, {
  headers: { authorization: `Bearer ${interlock.tokens['auditor']}` },
});
await interlock.call('POST', '/v1/runs', { as: 'trainer', body: { ...run, runId: 'r2' } });
await interlock.call('POST', '/v1/runs/r2/halt', { as: 'board', body: { reason: 'x' } });
await Promise.all([interlock.close(), stream.text().catch(() => '')]);
console.log('closed');
