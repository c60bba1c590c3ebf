/**
 * What is written to a cgroup of version 2, and in which order, on a machine that need not have one: the limits must
 * be in force before a program can be put into its group. evaluators-containment.test.ts has the kernel's own.
 */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  groupName,
  killGroup,
  limitsHit,
  makeGroups,
  removeGroups,
  usableHierarchies,
} from '../../src/subprocess/cgroups.ts';
import { CgroupV2, words } from '../support/cgroup-v2.ts';

const kernel = vi.hoisted((): { of: CgroupV2 | null } => ({ of: null }));
/** All that the module changes goes through these three; what it reads are the plain files themselves. */
vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  const inside = (file: string): CgroupV2 | null => (kernel.of?.holds(file) === true ? kernel.of : null);
  return {
    ...real,
    async writeFile(file: string, text: string, options?: { flag?: string }) {
      const hierarchy = inside(file);
      if (hierarchy === null) await real.writeFile(file, text, options);
      else hierarchy.write(file, text);
    },
    async mkdir(group: string, options: { recursive?: boolean } = {}) {
      const hierarchy = inside(group);
      if (hierarchy === null) await real.mkdir(group, options);
      else hierarchy.mkdir(group, options);
    },
    async rmdir(group: string) {
      const hierarchy = inside(group);
      if (hierarchy === null) await real.rmdir(group);
      else hierarchy.rmdir(group);
    },
  };
});

const MARKER = 'a'.repeat(32);
const GROUP = groupName(MARKER);
const LIMITS = { memory: 512 * 2 ** 20, pids: 64, cpu: 1.5 };
const ENABLED = ['+memory', '+pids', '+cpu'].map((each) => `cgroup.subtree_control ${each}`);
const LIMITED = [
  `mkdir ${GROUP}`,
  `${GROUP}/memory.max 536870912`,
  `${GROUP}/memory.swap.max 0`,
  `${GROUP}/memory.oom.group 1`,
  `${GROUP}/pids.max 64`,
  `${GROUP}/cpu.max 150000 100000`,
];

let directory: string;
beforeEach(() => {
  directory = realpathSync(mkdtempSync(path.join(tmpdir(), 'interlock-cgroups-')));
});
afterEach(() => {
  kernel.of = null;
  rmSync(directory, { recursive: true, force: true });
});

/** A hierarchy in which `root` is this process's own group, and what /proc/self says of it. */
function mounted(controllers: readonly string[], { own = '/cgroup', pids = [] as readonly number[] } = {}) {
  const root = path.join(directory, 'cgroup');
  const self = path.join(directory, 'self');
  const v2 = new CgroupV2(root, controllers);
  kernel.of = v2;
  mkdirSync(self);
  writeFileSync(path.join(self, 'mountinfo'), `30 23 0:26 / ${directory} rw,nosuid - cgroup2 cgroup2 rw\n`);
  writeFileSync(path.join(self, 'cgroup'), `0::${own}\n`);
  for (const pid of pids) v2.write(path.join(root, 'cgroup.procs'), String(pid));
  v2.log.length = 0;
  return { root, v2, hierarchies: () => usableHierarchies(self) };
}

describe('a control group of version 2', () => {
  it('has its controllers enabled above it first, then is made, then limited', async () => {
    const { root, v2, hierarchies } = mounted(['cpuset', 'cpu', 'io', 'memory', 'pids']);
    const usable = await hierarchies();
    expect(usable).toEqual([{ version: 2, directory: root, controllers: ['memory', 'pids', 'cpu'] }]);
    expect(await makeGroups(usable, MARKER, LIMITS)).toEqual([path.join(root, GROUP)]);
    expect(v2.log).toEqual([...ENABLED, ...LIMITED]);
    expect(readFileSync(path.join(root, GROUP, 'memory.max'), 'utf8')).toBe('536870912');
  });

  it('is made beside Interlock, which steps out of the group above before controllers can be had', async () => {
    const { root, v2, hierarchies } = mounted(['memory', 'pids', 'cpu'], { pids: [process.pid] });
    await makeGroups(await hierarchies(), MARKER, LIMITS);
    const stepped = ['mkdir interlock-supervisor', `interlock-supervisor/cgroup.procs ${process.pid}`];
    // Tried once before, because most groups hold nobody; refused, as the kernel does.
    expect(v2.log).toEqual([...ENABLED, ...stepped, ...ENABLED, ...LIMITED]);
    expect(words(path.join(root, 'cgroup.procs'))).toEqual([]);
  });

  it('is made beside the supervisor where another Interlock has made room before', async () => {
    const { root, v2 } = mounted(['memory', 'pids', 'cpu'], { own: '/cgroup/interlock-supervisor' });
    v2.mkdir(path.join(root, 'interlock-supervisor'));
    v2.log.length = 0;
    const usable = await usableHierarchies(path.join(directory, 'self'));
    expect(usable.map((each) => each.directory)).toEqual([root]);
    expect(v2.log).toEqual(ENABLED);
  });

  it('claims no controller where somebody else is in the group above, who is not moved', async () => {
    const { root, v2, hierarchies } = mounted(['memory', 'pids', 'cpu'], {
      pids: [process.pid, process.ppid],
    });
    const usable = await hierarchies();
    expect(usable).toEqual([{ version: 2, directory: root, controllers: [] }]);
    await makeGroups(usable, MARKER, LIMITS);
    expect(v2.log).toEqual([...ENABLED, `mkdir ${GROUP}`]);
    expect(words(path.join(root, 'cgroup.procs'))).toEqual([String(process.pid), String(process.ppid)]);
  });

  it.each([
    ['memory alone, where no other controller was delegated', ['memory'], LIMITS, LIMITED.slice(0, 4)],
    [
      'no processors, where none are stated',
      ['memory', 'pids', 'cpu'],
      { ...LIMITS, cpu: null },
      LIMITED.slice(0, 5),
    ],
    [
      'at least a hundredth of a processor, the least that the kernel takes',
      ['cpu'],
      { ...LIMITS, cpu: 0.001 },
      [`mkdir ${GROUP}`, `${GROUP}/cpu.max 1000 100000`],
    ],
  ])('is limited in %s', async (_, controllers, limits, written) => {
    const { v2, hierarchies } = mounted(controllers);
    const usable = await hierarchies();
    v2.log.length = 0;
    await makeGroups(usable, MARKER, limits);
    expect(v2.log).toEqual(written);
  });

  it('is no group at all where a limit that was promised cannot be set', async () => {
    const { root, v2, hierarchies } = mounted(['memory', 'pids', 'cpu']);
    const usable = await hierarchies();
    // Somebody took the controller away from the group above since.
    writeFileSync(path.join(root, 'cgroup.subtree_control'), 'memory cpu');
    await expect(makeGroups(usable, MARKER, LIMITS)).rejects.toMatchObject({ code: 'ENOENT' });
    expect(v2.log).toContain(`mkdir ${GROUP}`);
    expect(readdirSync(root)).not.toContain(GROUP);
  });

  it('is killed at one stroke, and then removed', async () => {
    const { root, v2, hierarchies } = mounted(['memory', 'pids', 'cpu']);
    const [group = ''] = await makeGroups(await hierarchies(), MARKER, LIMITS);
    v2.log.length = 0;
    await killGroup(group);
    expect(v2.log).toEqual([`${GROUP}/cgroup.kill 1`]);
    expect(await removeGroups([group])).toBe(true);
    expect(readdirSync(root)).not.toContain(GROUP);
  });

  it('is not killed where it is no group: nothing appears in the directory', async () => {
    await killGroup(directory);
    expect(readdirSync(directory)).toEqual([]);
  });

  it.each([
    ['nothing', 'low 0\nmax 3\noom 0\noom_kill 0\n', 'max 0\n', []],
    ['memory, once something was killed for it', 'low 0\nmax 9\noom 1\noom_kill 1\n', 'max 0\n', ['memory']],
    ['both', 'oom_kill 2\n', 'max 12\n', ['memory', 'processes']],
  ])('says that it ran into %s', async (_, memory, pids, hit) => {
    const { hierarchies } = mounted(['memory', 'pids', 'cpu']);
    const [group = ''] = await makeGroups(await hierarchies(), MARKER, LIMITS);
    writeFileSync(path.join(group, 'memory.events'), memory);
    writeFileSync(path.join(group, 'pids.events'), pids);
    expect(await limitsHit([group])).toEqual(hit);
  });
});
