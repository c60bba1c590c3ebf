/**
 * What the stand-ins for Inspect and lm-eval share: a command line read strictly, questions for the model, broken endings.
 *
 * The real ones are Python packages that cannot be installed where these suites run. A stand-in takes the options of the real
 * command line (one that it does not know is refused, as click and argparse do), asks the OpenAI-compatible server per sample,
 * prints what the real one prints, and writes a log of the genuine shape, so that a launcher's mistake shows here.
 * STAND_IN in the environment chooses an ending; none of the real ones knows it.
 */
import { setTimeout as wait } from 'node:timers/promises';

/** `known`: name to how many values it takes; '?' for one that may stand alone. Long options also as --name=value. */
export function readOptions(argv, known, program) {
  const options = {};
  const positional = [];
  for (let at = 0; at < argv.length; at += 1) {
    const text = argv[at];
    if (!text.startsWith('-')) {
      positional.push(text);
      continue;
    }
    const [name, inline] = text.startsWith('--') && text.includes('=') ? splitOnce(text, '=') : [text, null];
    const arity = known[name];
    if (arity === undefined) usage(program, `No such option: ${name}`);
    if (arity === 0) {
      options[name] = true;
      continue;
    }
    const value = inline ?? argv[at + 1];
    if (arity === '?' && (value === undefined || value.startsWith('-'))) {
      options[name] = true;
      continue;
    }
    if (value === undefined) usage(program, `Option ${name} requires an argument.`);
    if (inline === null) at += 1;
    if (Array.isArray(arity)) options[name] = [...(options[name] ?? []), value];
    else options[name] = value;
  }
  return { options, positional };
}

export function splitOnce(text, separator) {
  const at = text.indexOf(separator);
  return at < 0 ? [text, null] : [text.slice(0, at), text.slice(at + separator.length)];
}

export function usage(program, message) {
  process.stderr.write(`Usage: ${program} [OPTIONS]\nError: ${message}\n`);
  process.exit(2);
}

export const ENDING = process.env.STAND_IN ?? 'well';

/** The questions of the one task that both know: n of them. */
export const questions = (n) =>
  Array.from({ length: n }, (_, a) => ({ a, b: 1, input: `What is ${a} plus 1?`, target: String(a + 1) }));

export async function ask(url, model, key, question) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
    body: JSON.stringify({ model, messages: [{ role: 'user', content: question }], temperature: 0 }),
  });
  if (!response.ok) throw new Error(`Error code: ${response.status} - ${await response.text()}`);
  const body = await response.json();
  return body.choices[0].message.content;
}

export const isRight = (answer, target) => new RegExp(`\\b${target}\\b`).test(answer);

/** Endings that come before anything was measured. */
export async function endEarly() {
  if (ENDING === 'exits-1') {
    process.stderr.write('Traceback (most recent call last):\n  CANARY-hazardous-words-and-whsec_secrets\n');
    process.exit(1);
  }
  if (ENDING === 'writes-nothing') process.exit(0);
  if (ENDING === 'floods') {
    const line = `${'CANARY-hazardous-words-and-whsec_secrets '.repeat(2000)}\n`;
    for (;;)
      if (!process.stdout.write(line)) await new Promise((resolve) => process.stdout.once('drain', resolve));
  }
}

/** After `done` samples. */
export async function endMidway(done) {
  if (ENDING === 'killed' && done >= 3) process.kill(process.pid, 'SIGKILL');
  if (ENDING === 'hangs' && done >= 1) await wait(3_600_000);
}

export const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
export const stderrOf = (values) => {
  const m = mean(values);
  const variance = values.reduce((sum, value) => sum + (value - m) ** 2, 0) / (values.length - 1);
  return Math.sqrt(variance / values.length);
};
