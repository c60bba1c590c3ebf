/**
 * What holds an evaluation together, so that all of it can be ended, and what it may use.
 *
 * Three grades, the strongest that works on this machine, tried once at start by really running something in it:
 * - `cgroup`: a control group per attempt; nothing leaves it, and the kernel kills it at one stroke;
 * - `namespace`: a PID namespace per attempt (`unshare`); when its first process dies, the kernel kills the rest;
 * - `marks`: process group, tree of parents and environment mark (process-tree.ts), which are followed in the
 *   other grades too. A process that sheds all three is not found.
 * Limits come with the grade: see limits.ts. What is not enforced is in `missing`, in words for an operator.
 *
 * A program is started through /bin/sh with a fixed script that reads nothing of it: it steps into the groups
 * before anything of the program runs, so that no child can be forked outside of them.
 * Not here: the sandboxing of files and of what the account may do. Decision 0014 says why.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { InterlockError } from '../errors.ts';
import {
  type Controller,
  type GroupLimits,
  groupName,
  type Hierarchy,
  killGroup,
  makeGroups,
  removeAbandoned,
  removeGroups,
  usableHierarchies,
} from '../subprocess/cgroups.ts';
import { findProgram } from '../subprocess/program-file.ts';
import {
  DEFAULT_LIMITS,
  describeBytes,
  type EvaluationLimits,
  memoryLimitBytes,
  prlimitArguments,
} from './limits.ts';

export type ContainmentKind = 'cgroup' | 'namespace' | 'marks';

export interface Containment {
  readonly kind: ContainmentKind;
  /** Which limits hold, by whose hand. */
  readonly enforced: readonly string[];
  /** What is not held here, and what to do about it. */
  readonly missing: readonly string[];
  readonly canCutNetwork: boolean;
  /** Bytes of private memory of each process, where that is what bounds memory; null where a group does, or nothing. */
  readonly processMemoryBytes: number | null;
  /** Known before anything is made, so that the record can name them first. */
  groupsOf(marker: string): string[];
  makeGroups(marker: string): Promise<void>;
  /** How the program is started in them. */
  launch(marker: string, program: string, args: readonly string[], options: { network: boolean }): Launch;
}

export interface Launch {
  readonly file: string;
  readonly args: readonly string[];
  /** A death by signal comes as exit code 128 + n, because something of ours stands between. */
  readonly signalsAsCodes: boolean;
}

/** The launcher could not step into the groups: the program never ran, and the attempt fails with this exit code. */
const LAUNCH_FAILED_CODE = 125;

const SHELL = '/bin/sh';

const ABANDONED_MS = 10 * 60_000;

/** Arguments: the number of groups, the groups, the program and its arguments. */
const STEP_IN = [
  'n=$1; shift',
  `while [ "$n" -gt 0 ]; do { echo 0 > "$1/cgroup.procs"; } 2>/dev/null || exit ${LAUNCH_FAILED_CODE}; shift; n=$((n - 1)); done`,
  // When memory is short it is the evaluation that goes, not the watchdog or its database.
  '{ echo 900 > /proc/self/oom_score_adj; } 2>/dev/null',
  // Some shells export what nobody declared.
  'unset PWD OLDPWD',
  'exec "$@"',
].join('; ');

/** First process of a PID namespace: reaps, passes the exit code on, and takes everything with it. */
const INIT = 'unset PWD OLDPWD; "$@"; exit $?';

export interface ContainmentOptions {
  readonly mode: 'auto' | ContainmentKind;
  readonly limits?: Partial<EvaluationLimits>;
}

export async function detectContainment({ mode, limits: stated }: ContainmentOptions): Promise<Containment> {
  const limits = { ...DEFAULT_LIMITS, ...stated };
  const tools = { prlimit: findTool('prlimit'), unshare: findTool('unshare') };
  const hierarchies = mode === 'auto' || mode === 'cgroup' ? await workingHierarchies(limits) : [];
  await removeAbandoned(hierarchies, ABANDONED_MS);
  const netFlags = await firstThatRuns(tools.unshare, NET_FLAGS);
  const means = { ...tools, hierarchies, netFlags, dataHolds: await dataLimitHolds(tools.prlimit) };
  if (hierarchies.length > 0) return contained('cgroup', limits, { ...means, pidFlags: null });
  if (mode === 'cgroup') throw unavailable(mode, 'no control group here can be written');
  const pidFlags = mode === 'marks' ? null : await firstThatRuns(tools.unshare, PID_FLAGS);
  if (pidFlags !== null) return contained('namespace', limits, { ...means, pidFlags });
  if (mode === 'namespace') throw unavailable(mode, 'unshare is missing or not permitted here');
  return contained('marks', limits, { ...means, pidFlags });
}

const unavailable = (mode: string, why: string): InterlockError =>
  new InterlockError(`evaluators.containment is ${mode}, but ${why}`, {
    code: 'evaluators.containment-unavailable',
  });

// --- what is in force ----------------------------------------------------------------------------------

interface Means {
  readonly hierarchies: readonly Hierarchy[];
  readonly prlimit: string | null;
  /** RLIMIT_DATA bounds what a process may map, and not its heap alone. */
  readonly dataHolds: boolean;
  readonly unshare: string | null;
  readonly pidFlags: readonly string[] | null;
  readonly netFlags: readonly string[] | null;
}

function contained(kind: ContainmentKind, limits: EvaluationLimits, means: Means): Containment {
  const { hierarchies, prlimit, dataHolds, unshare, pidFlags, netFlags } = means;
  const controllers = new Set(hierarchies.flatMap((each) => each.controllers));
  const ownCount = pidFlags?.includes('--user') === true && process.getuid?.() !== 0;
  const memoryPerProcess = dataHolds && !controllers.has('memory');
  const perProcess =
    prlimit === null
      ? []
      : [prlimit, ...prlimitArguments(limits, { memory: memoryPerProcess, processes: ownCount }), '--'];
  const groupsOf = (marker: string) =>
    hierarchies.map(({ directory }) => path.join(directory, groupName(marker)));
  return {
    kind,
    ...describe(kind, limits, { controllers, ownCount, prlimit: prlimit !== null, memoryPerProcess }),
    canCutNetwork: netFlags !== null,
    processMemoryBytes: memoryPerProcess ? memoryLimitBytes(limits) : null,
    groupsOf,
    makeGroups: async (marker) => void (await makeGroups(hierarchies, marker, groupLimits(limits))),
    launch(marker, program, args, { network }) {
      const groups = groupsOf(marker);
      const cut = network ? [] : ['--net'];
      const namespace =
        unshare === null
          ? []
          : pidFlags !== null
            ? [unshare, ...pidFlags, ...cut, '--', SHELL, '-c', INIT, 'interlock-init']
            : network || netFlags === null
              ? []
              : [unshare, ...netFlags, '--'];
      const command = [...namespace, ...perProcess, program, ...args];
      return {
        file: SHELL,
        args: ['-c', STEP_IN, 'interlock-launch', String(groups.length), ...groups, ...command],
        signalsAsCodes: pidFlags !== null,
      };
    },
  };
}

function describe(
  kind: ContainmentKind,
  limits: EvaluationLimits,
  has: {
    controllers: ReadonlySet<Controller>;
    ownCount: boolean;
    prlimit: boolean;
    memoryPerProcess: boolean;
  },
): { enforced: string[]; missing: string[] } {
  const enforced: string[] = [];
  const missing: string[] = [];
  const memory = describeBytes(memoryLimitBytes(limits));
  if (has.controllers.has('memory')) enforced.push(`memory ${memory}`);
  else if (has.memoryPerProcess) enforced.push(`memory ${memory} per process`);
  else missing.push('memory of a process (needs a cgroup, or Linux 4.7 and prlimit of util-linux)');
  if (!has.controllers.has('memory')) missing.push('memory of an evaluation as a whole (needs a cgroup)');
  if (has.controllers.has('pids') || (has.prlimit && has.ownCount))
    enforced.push(`processes ${limits.processes}`);
  else
    missing.push('number of processes (needs a cgroup, or a user namespace and an account that is not root)');
  if (limits.cpus !== null) {
    if (has.controllers.has('cpu')) enforced.push(`processors ${limits.cpus}`);
    else missing.push('processor share (needs a cgroup)');
  }
  if (has.prlimit) {
    enforced.push(`open files ${limits.openFiles}`, `file size ${describeBytes(limits.fileBytes)}`);
    if (limits.cpuSeconds !== null) enforced.push(`CPU time ${limits.cpuSeconds} s per process`);
  } else missing.push('open files, file size and CPU time (prlimit of util-linux is not installed)');
  if (kind === 'marks') {
    missing.push('processes that leave their group, lose their parent and clear their environment');
  }
  return { enforced, missing };
}

const groupLimits = (limits: EvaluationLimits): GroupLimits => ({
  memory: memoryLimitBytes(limits),
  pids: limits.processes,
  cpu: limits.cpus,
});

// --- trying it -----------------------------------------------------------------------------------------

const run = promisify(execFile);
const PROBE_TIMEOUT_MS = 5_000;
const PROBE_CODE = 42;

/** Hierarchies into which a program can really be put, each with the controllers that take their limit. */
async function workingHierarchies(limits: EvaluationLimits): Promise<Hierarchy[]> {
  const working: Hierarchy[] = [];
  for (const hierarchy of await usableHierarchies()) {
    const controllers: Controller[] = [];
    for (const controller of hierarchy.controllers) {
      if (await holds({ ...hierarchy, controllers: [controller] }, limits)) controllers.push(controller);
    }
    const tried = { ...hierarchy, controllers };
    // One of the old kind that limits nothing is of no use; version 2 kills even without controllers.
    if (hierarchy.version === 1 && controllers.length === 0) continue;
    if (controllers.length > 0 || (await holds(tried, limits))) working.push(tried);
  }
  return working;
}

async function holds(hierarchy: Hierarchy, limits: EvaluationLimits): Promise<boolean> {
  const marker = `probe-${randomBytes(8).toString('hex')}`;
  const group = path.join(hierarchy.directory, groupName(marker));
  try {
    await makeGroups([hierarchy], marker, groupLimits(limits));
    return await endsWith(PROBE_CODE, SHELL, [
      '-c',
      STEP_IN,
      'interlock-probe',
      '1',
      group,
      ...exitWith(PROBE_CODE),
    ]);
  } catch {
    return false;
  } finally {
    await killGroup(group);
    await removeGroups([group]);
  }
}

/** Little enough for any machine: what may be had in the trial, and a buffer within it and one beyond it. */
const DATA_TRIAL_BYTES = 16 * 2 ** 20;
const WITHIN = '1M';
const BEYOND = '64M';

/**
 * Tried, not read off the kernel's version: before Linux 4.7 the limit knows the heap of old (brk) alone, the
 * parameter `ignore_rlimit_data` makes it a warning, and some sandboxes take it and do nothing.
 */
async function dataLimitHolds(prlimit: string | null): Promise<boolean> {
  if (prlimit === null) return false;
  const dd = findTool('dd');
  if (dd === null) return false;
  const trial = (size: string) =>
    endsWith(0, prlimit, [
      `--data=${DATA_TRIAL_BYTES}:${DATA_TRIAL_BYTES}`,
      '--',
      dd,
      'if=/dev/zero',
      'of=/dev/null',
      `bs=${size}`,
      'count=1',
    ]);
  return (await trial(WITHIN)) && !(await trial(BEYOND));
}

/** As root no user namespace is needed; without a /proc of its own a job sees the others' processes, not more. */
const PID_FLAGS = [[], ['--user', '--map-current-user']].flatMap((user) =>
  [['--mount-proc'], []].map((proc) => [...user, '--pid', '--fork', '--kill-child', ...proc]),
);
const NET_FLAGS = [['--net'], ['--user', '--map-current-user', '--net']];

async function firstThatRuns(
  tool: string | null,
  candidates: readonly (readonly string[])[],
): Promise<readonly string[] | null> {
  if (tool === null) return null;
  for (const flags of candidates) {
    const init = flags.includes('--pid') ? [SHELL, '-c', INIT, 'interlock-init'] : [];
    if (await endsWith(PROBE_CODE, tool, [...flags, '--', ...init, ...exitWith(PROBE_CODE)])) return flags;
  }
  return null;
}

const exitWith = (code: number): string[] => [SHELL, '-c', `exit ${code}`];

async function endsWith(code: number, file: string, args: readonly string[]): Promise<boolean> {
  try {
    await run(file, args, { timeout: PROBE_TIMEOUT_MS, killSignal: 'SIGKILL', env: {} });
    return code === 0;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === code;
  }
}

function findTool(name: string): string | null {
  if (os.platform() !== 'linux') return null;
  const directories = [...(process.env['PATH'] ?? '').split(':'), '/usr/bin', '/bin', '/usr/sbin', '/sbin'];
  return findProgram(name, directories);
}
