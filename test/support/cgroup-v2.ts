/**
 * A directory that behaves like a mounted cgroup2, on any machine: plain files, and the kernel's rules for what is
 * written to them. Every write and every group made is kept, in order.
 *
 * The rules (Documentation/admin-guide/cgroup-v2.rst): a group has the files of the controllers that its parent's
 * subtree_control names, and nobody creates one; a controller is only enabled where the group has it and holds no
 * process itself (EBUSY); a process is in one group; a group goes by rmdir once it holds no process and no group.
 */
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';

const FILES: Readonly<Record<string, readonly string[]>> = {
  memory: ['memory.max', 'memory.swap.max', 'memory.oom.group', 'memory.events'],
  pids: ['pids.max', 'pids.events'],
  cpu: ['cpu.max'],
};
const ALWAYS = ['cgroup.procs', 'cgroup.controllers', 'cgroup.subtree_control', 'cgroup.kill'];

export class CgroupV2 {
  readonly root: string;
  /** `<group>/<file> <text>`, or `mkdir <group>`, by paths from the root. */
  readonly log: string[] = [];

  /** The root group is a delegated one: it has its controllers, as from a parent. */
  constructor(root: string, controllers: readonly string[]) {
    this.root = root;
    this.#create(root, controllers);
  }

  holds(file: string): boolean {
    return file === this.root || file.startsWith(`${this.root}/`);
  }

  mkdir(group: string, { recursive = false } = {}): void {
    if (existsSync(group)) {
      if (recursive) return;
      throw refused('EEXIST');
    }
    this.log.push(`mkdir ${path.relative(this.root, group)}`);
    this.#create(group, words(path.join(path.dirname(group), 'cgroup.subtree_control')));
  }

  rmdir(group: string): void {
    if (!existsSync(group)) throw refused('ENOENT');
    const hasGroups = readdirSync(group, { withFileTypes: true }).some((entry) => entry.isDirectory());
    if (hasGroups || words(path.join(group, 'cgroup.procs')).length > 0) throw refused('EBUSY');
    rmSync(group, { recursive: true });
  }

  write(file: string, text: string): void {
    if (!existsSync(file)) throw refused('ENOENT');
    const group = path.dirname(file);
    const name = path.basename(file);
    this.log.push(`${path.relative(this.root, file)} ${text}`);
    if (name === 'cgroup.procs') this.#move(group, text);
    else if (name === 'cgroup.subtree_control') this.#enable(group, text);
    else writeFileSync(file, text);
  }

  #create(group: string, controllers: readonly string[]): void {
    mkdirSync(group);
    const files = [...ALWAYS, ...controllers.flatMap((name) => FILES[name] ?? [])];
    for (const name of files) writeFileSync(path.join(group, name), '');
    writeFileSync(path.join(group, 'cgroup.controllers'), controllers.join(' '));
  }

  #enable(group: string, text: string): void {
    const name = text.replace(/^\+/, '');
    if (!words(path.join(group, 'cgroup.controllers')).includes(name)) throw refused('ENOENT');
    if (words(path.join(group, 'cgroup.procs')).length > 0) throw refused('EBUSY');
    appendFileSync(path.join(group, 'cgroup.subtree_control'), `${name} `);
  }

  #move(to: string, pid: string): void {
    for (const group of this.#groups(this.root)) {
      const procs = path.join(group, 'cgroup.procs');
      const others = words(procs).filter((each) => each !== pid);
      writeFileSync(procs, [...others, ...(group === to ? [pid] : []), ''].join('\n'));
    }
  }

  #groups(from: string): string[] {
    const below = readdirSync(from, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    return [from, ...below.flatMap(({ name }) => this.#groups(path.join(from, name)))];
  }
}

export const words = (file: string): string[] => readFileSync(file, 'utf8').split(/\s+/).filter(Boolean);

function refused(code: string): Error {
  return Object.assign(new Error(code), { code });
}
