/**
 * Keeps the red button's process alive: starts it, adopts one that outlived an earlier service, replaces one of another
 * version or configuration, restarts one that died or hangs.
 *
 * The button is detached, in a session of its own: what happens to this process does not happen to it. While it is
 * away this service takes presses by the same desk, so an absent button is told (readiness, metrics, log) and makes
 * nothing unready.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, renameSync, statSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import type { ButtonFiles } from '../button/layout.ts';
import { isSameProcess } from '../button/process-identity.ts';
import type { ButtonProcess } from '../button/running.ts';
import type { Check } from './readiness.ts';

export interface SupervisorDeps {
  readonly files: ButtonFiles;
  readonly running: () => ButtonProcess | null;
  /** What a button that fits this service has. */
  readonly wanted: { readonly version: string; readonly configDigest: string };
  readonly command: readonly [program: string, ...args: string[]];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly logger: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
    error(fields: object, message: string): void;
  };
}

export interface ButtonSupervisor {
  start(): void;
  check(): Check;
  isUp(): boolean;
  readonly restarts: number;
  /** Asks the button to end; it finishes what it is sending, and what is left is in the spool. */
  stop(): Promise<void>;
}

const LOOK_MS = 500;
const HEALTH_TIMEOUT_MS = 2_000;
const STARTING_MAX_MS = 20_000;
const UNHEALTHY_MAX = 5;
const PAUSE_MS = [0, 250, 1_000, 5_000, 15_000, 30_000] as const;
const SETTLED_AFTER_MS = 60_000;
const STOP_TIMEOUT_MS = 6_000;
const LOG_BYTES_MAX = 10 * 1024 * 1024;

const HealthSchema = z.object({
  pid: z.int(),
  knownRuns: z.int(),
  knowledgeAgeMs: z.number().nullable(),
  pendingPresses: z.int(),
  undurablePresses: z.int(),
});

export function createButtonSupervisor(deps: SupervisorDeps): ButtonSupervisor {
  const { files, logger } = deps;
  let child: ChildProcess | null = null;
  let startedMs = 0;
  let pauseUntilMs = 0;
  let failures = 0;
  let restarts = -1;
  let unhealthy = 0;
  let isSettled = false;
  let health: z.infer<typeof HealthSchema> | null = null;
  let seen: ButtonProcess | null = null;
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;
  let looking: Promise<void> = Promise.resolve();

  async function look(): Promise<void> {
    const running = deps.running();
    const nowMs = performance.now();
    if (running === null) {
      health = null;
      seen = null;
      const isStarting = child !== null && nowMs - startedMs < STARTING_MAX_MS;
      if (isStarting || nowMs < pauseUntilMs) return;
      if (child !== null) end(child.pid, 'SIGKILL');
      begin();
      return;
    }
    // Once, at the start: two services of different configurations must not take it from each other for ever.
    if (!isSettled && !fits(running)) {
      logger.info(
        { pid: running.pid, version: running.version },
        'replacing the red button of an earlier service',
      );
      end(running.pid, 'SIGTERM');
      isSettled = true;
      return;
    }
    if (!isSettled && child === null)
      logger.info({ pid: running.pid }, 'adopted the red button that was running');
    isSettled = true;
    if (failures > 0 && nowMs - startedMs > SETTLED_AFTER_MS) failures = 0;
    await ask(running);
  }

  const fits = ({ version, configDigest }: ButtonProcess): boolean =>
    version === deps.wanted.version && configDigest === deps.wanted.configDigest;

  async function ask(running: ButtonProcess): Promise<void> {
    const answer = await fetch(`${running.url}/healthz`, {
      redirect: 'error',
      signal: AbortSignal.timeout(HEALTH_TIMEOUT_MS),
    })
      .then(async (response) => HealthSchema.parse(await response.json()))
      .catch(() => null);
    seen = running;
    if (answer?.pid === running.pid) {
      health = answer;
      unhealthy = 0;
      return;
    }
    health = null;
    unhealthy += 1;
    if (unhealthy < UNHEALTHY_MAX) return;
    unhealthy = 0;
    logger.error({ pid: running.pid }, 'the red button does not answer; it is started anew');
    end(running.pid, 'SIGKILL');
  }

  function begin(): void {
    const [program, ...args] = deps.command;
    const log = openLog(files.log);
    const started = spawn(program, args, {
      detached: true,
      stdio: ['ignore', 'ignore', log],
      env: { ...deps.env },
    });
    closeSync(log);
    child = started;
    startedMs = performance.now();
    restarts += 1;
    isSettled = true;
    started.unref();
    const gone = (): void => {
      if (child !== started) return;
      child = null;
      failures = Math.min(failures + 1, PAUSE_MS.length - 1);
      pauseUntilMs = performance.now() + (PAUSE_MS[failures - 1] ?? 0);
      if (stopped) return;
      logger.error(
        { exitCode: started.exitCode, log: files.log },
        'the red button ended; it is started again',
      );
      soon();
    };
    started.once('exit', gone);
    started.once('error', gone);
  }

  function soon(): void {
    clearTimeout(timer);
    timer = setTimeout(
      () => {
        looking = look()
          .catch((error: unknown) => logger.error({ err: error }, 'the red button could not be looked after'))
          .then(() => {
            if (!stopped) soon();
          });
      },
      child === null && seen === null
        ? Math.max(10, Math.min(LOOK_MS, pauseUntilMs - performance.now()))
        : LOOK_MS,
    );
    timer.unref();
  }

  return {
    start() {
      looking = look()
        .catch((error: unknown) => logger.error({ err: error }, 'the red button could not be started'))
        .then(soon);
    },
    isUp: () => health !== null,
    get restarts() {
      return Math.max(0, restarts);
    },
    check() {
      if (health === null || seen === null) {
        return {
          name: 'button',
          ok: false,
          detail: `the red button's own process does not answer and is being started (log: ${files.log}); this service takes presses meanwhile`,
        };
      }
      const age =
        health.knowledgeAgeMs === null
          ? 'no book yet'
          : `book ${Math.round(health.knowledgeAgeMs / 1000)} s old`;
      return {
        name: 'button',
        ok: true,
        detail: `live at ${seen.url}, process ${seen.pid}; ${health.knownRuns} runs known, ${age}; ${health.pendingPresses} presses not in the ledger yet`,
      };
    },
    async stop() {
      stopped = true;
      clearTimeout(timer);
      await looking;
      const running = deps.running();
      const pid = running?.pid ?? child?.pid;
      if (pid === undefined) return;
      end(pid, 'SIGTERM');
      const deadline = performance.now() + STOP_TIMEOUT_MS;
      while (performance.now() < deadline && isAlive(pid, running)) {
        await delay(50);
      }
    },
  };

  function isAlive(pid: number, running: ButtonProcess | null): boolean {
    return running !== null ? isSameProcess(running) : child !== null && child.pid === pid;
  }
}

function end(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(pid, signal);
  } catch {
    // Gone already, which is what was wanted.
  }
}

function openLog(path: string): number {
  try {
    if (statSync(path).size > LOG_BYTES_MAX) renameSync(path, `${path}.1`);
  } catch {
    // There is none yet.
  }
  return openSync(path, 'a', 0o600);
}
