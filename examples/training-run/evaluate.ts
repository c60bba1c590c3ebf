/**
 * The evaluator: `evaluate.ts --task <skill> --model <file or file: URL> --out <result file>`.
 *
 * Loads the saved weights (never the trainer's memory), measures the skill on held-out puzzles and
 * writes a native result. Weights that do not verify give `status: "error"` and exit code 1: Interlock
 * then counts the evaluation as inconclusive, never as a pass. Wrong usage exits 2 and writes nothing.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { measureSkill } from './measurement.ts';
import { createNetwork } from './network.ts';
import { skillNames } from './skills.ts';
import { BrokenCheckpoint, loadCheckpoint } from './weights.ts';

function main(): number {
  const { values } = parseArgs({
    options: { task: { type: 'string' }, model: { type: 'string' }, out: { type: 'string' } },
  });
  const skill = skillNames.find((name) => name === values.task);
  if (skill === undefined || values.model === undefined || values.out === undefined) {
    process.stderr.write(`usage: evaluate --task ${skillNames.join('|')} --model FILE --out FILE\n`);
    return 2;
  }
  const file = values.model.startsWith('file:') ? fileURLToPath(values.model) : values.model;
  const startedAt = new Date().toISOString();
  try {
    const { header, parameters, sha256 } = loadCheckpoint(file);
    const measurement = measureSkill(createNetwork(header.shape, parameters), skill);
    writeResult(values.out, {
      status: 'success',
      ...measurement,
      model: `sha256:${sha256}`,
      startedAt,
      completedAt: new Date().toISOString(),
    });
    return 0;
  } catch (cause) {
    const error = cause instanceof BrokenCheckpoint ? cause.message : 'checkpoint unreadable';
    writeResult(values.out, { status: 'error', error, startedAt, completedAt: new Date().toISOString() });
    return 1;
  }
}

/** Renamed into place: whoever waits for the file never reads half of it. */
function writeResult(file: string, result: Record<string, string | number>): void {
  writeFileSync(`${file}.partial`, `${JSON.stringify(result)}\n`);
  renameSync(`${file}.partial`, file);
}

process.exitCode = main();
