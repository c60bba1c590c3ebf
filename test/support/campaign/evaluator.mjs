// The command evaluator of the campaign: does what the model's URI says.
//   score=X   what it finds, with a little noise, so that no two executions report the same
//   ms=N      how long it takes; firstMs=N, how long at the first attempt
//   fail=N    the first N attempts end with exit code 3
//   leak=1    it starts a process in a session of its own, which only the marker in its environment gives away
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';

const [modelUri, resultFile] = process.argv.slice(2);
const plan = new URL(modelUri).searchParams;
const number = (name) => Number(plan.get(name) ?? 0);
const isFirst = process.env.INTERLOCK_ATTEMPT === '1';

if (plan.has('leak')) spawn('sleep', ['120'], { detached: true, stdio: 'ignore' }).unref();
setTimeout(
  () => {
    if (Number(process.env.INTERLOCK_ATTEMPT) <= number('fail')) process.exit(3);
    const score = number('score') + Math.random() * 1e-3;
    writeFileSync(resultFile, JSON.stringify({ status: 'success', score, n: 400 }));
    process.exit(0);
  },
  number(isFirst && plan.has('firstMs') ? 'firstMs' : 'ms'),
);
