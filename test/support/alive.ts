/** Processes that tests have started: whether they are there, and which number they have here. */
import { readdir, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';

/** There, and not a zombie that only waits to be reaped. */
export async function isAlive(pid: number): Promise<boolean> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    return !/^\d+ \(.*\) [ZX]/s.test(stat);
  } catch {
    return false;
  }
}

/**
 * The pids that evaluators wrote into a file, as they are numbered here: in a PID namespace of its own a process
 * knows itself by another number. Throws until each of them is found.
 */
export async function evaluatorPids(pidFile: string): Promise<number[]> {
  const stated = (await readFile(pidFile, 'utf8')).trim().split('\n').map(Number);
  const result = `INTERLOCK_RESULT_FILE=${dirname(pidFile)}`;
  // Two namespaces number alike.
  const known = new Map<number, number[]>();
  for (const name of await readdir('/proc').catch(() => [])) {
    const read = (file: string) => readFile(`/proc/${name}/${file}`, 'latin1').catch(() => '');
    const [, numbers] = /^NSpid:\s+(.*)$/m.exec(await read('status')) ?? [];
    const own = Number(numbers?.split(/\s+/).at(-1));
    if (stated.includes(own) && (await read('environ')).includes(result)) {
      known.set(own, [...(known.get(own) ?? []), Number(name)]);
    }
  }
  return stated.map((pid) => {
    const found = known.get(pid)?.shift();
    if (found === undefined) throw new Error(`no evaluator ${pid} here`);
    return found;
  });
}
