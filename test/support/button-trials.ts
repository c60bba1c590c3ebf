/**
 * Trials of the red button: presses under one condition after another, each measured from the moment it is sent until
 * its halt is received at a real webhook target. A press fails whose halt does not arrive within ten seconds, or that
 * is answered otherwise than its condition allows.
 */
import type { ButtonScene } from './button-scene.ts';

export interface Condition {
  readonly name: string;
  readonly status: 202 | 507;
  begin(scene: ButtonScene): Promise<void>;
  end(scene: ButtonScene): Promise<void>;
}

export interface Row {
  readonly condition: string;
  readonly presses: number;
  readonly failed: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** What the spool sets aside: with the files limited to that, a disk that takes nothing more. */
const RESERVED_BYTES = 512 * 1024;

export const CONDITIONS: readonly Condition[] = [
  { name: 'everything up', status: 202, begin: async () => undefined, end: async () => undefined },
  {
    name: 'queue (Redis) down',
    status: 202,
    begin: (scene) => scene.redisDown(),
    end: (scene) => scene.redisUp(),
  },
  {
    name: 'database down',
    status: 202,
    begin: (scene) => scene.databaseDown(),
    end: (scene) => scene.databaseUp(),
  },
  {
    name: "service's event loop blocked",
    status: 202,
    begin: async (scene) => scene.service.suspend(true),
    end: async (scene) => scene.service.suspend(false),
  },
  {
    name: 'disk full',
    status: 202,
    begin: async (scene) => scene.limitDisk(RESERVED_BYTES),
    end: async (scene) => scene.limitDisk(null),
  },
  {
    name: 'disk full, reserve gone',
    status: 507,
    begin: async (scene) => scene.limitDisk(0),
    end: async (scene) => scene.limitDisk(null),
  },
  {
    name: 'service dead',
    status: 202,
    begin: (scene) => scene.service.kill9(),
    end: (scene) => scene.start(),
  },
  {
    name: 'all of these',
    status: 507,
    async begin(scene) {
      await scene.service.kill9();
      await Promise.all([scene.redisDown(), scene.databaseDown()]);
      scene.limitDisk(0);
    },
    async end(scene) {
      scene.limitDisk(null);
      await Promise.all([scene.redisUp(), scene.databaseUp()]);
      await scene.start();
    },
  },
];

export const conditionsOf = (scene: ButtonScene): readonly Condition[] =>
  CONDITIONS.filter(({ name }) => scene.hasRedis || name !== 'queue (Redis) down');

export const runIdOf = (condition: number, press: number): string => `trial-${condition}-${press}`;

export interface Trial {
  readonly runId: string;
  readonly sentMs: number;
  /** null: it did not arrive. */
  readonly tookMs: number | null;
  readonly status: number;
}

/** Registers a run per press, then presses; the runs of all conditions are known before anything is taken away. */
export async function runTrials(
  scene: ButtonScene,
  {
    presses,
    onRow = () => undefined,
    onFailed = () => undefined,
  }: { presses: number; onRow?: (row: Row) => void; onFailed?: (trial: Trial) => void },
): Promise<{ rows: Row[]; trials: Trial[] }> {
  const conditions = conditionsOf(scene);
  const runIds = conditions.flatMap((_, c) => Array.from({ length: presses }, (_each, p) => runIdOf(c, p)));
  await scene.register(runIds);
  await scene.known(runIds.length);
  const rows: Row[] = [];
  const trials: Trial[] = [];
  for (const [c, condition] of conditions.entries()) {
    await condition.begin(scene);
    const mine: Trial[] = [];
    for (let p = 0; p < presses; p += 1)
      mine.push(await pressOnce(scene, runIdOf(c, p), `${condition.name} ${p}`));
    await condition.end(scene);
    for (const trial of mine) if (hasFailed(condition, trial)) onFailed(trial);
    const row = rowOf(condition, mine);
    rows.push(row);
    trials.push(...mine);
    onRow(row);
  }
  await scene.drained();
  return { rows, trials };
}

async function pressOnce(scene: ButtonScene, runId: string, reason: string): Promise<Trial> {
  const { url } = scene.button();
  const sentMs = performance.now();
  const arrival = scene.halted(runId, sentMs).then(
    ({ atMs }) => atMs - sentMs,
    () => null,
  );
  const answer = await scene
    .post(`${url}/v1/runs/${runId}/halt`, { as: 'board', body: { reason } })
    .catch(() => ({ status: 0, body: '' }));
  return { runId, sentMs, tookMs: await arrival, status: answer.status };
}

const hasFailed = (expected: Condition, { tookMs, status }: Trial): boolean =>
  tookMs === null || status !== expected.status;

function rowOf(condition: Condition, trials: readonly Trial[]): Row {
  const times = trials.flatMap(({ tookMs }) => (tookMs === null ? [] : [tookMs])).sort((a, b) => a - b);
  const failed = trials.filter((trial) => hasFailed(condition, trial)).length;
  const at = (share: number): number => times[Math.max(0, Math.ceil(times.length * share) - 1)] ?? Number.NaN;
  return {
    condition: condition.name,
    presses: trials.length,
    failed,
    p50Ms: at(0.5),
    p99Ms: at(0.99),
    maxMs: times.at(-1) ?? Number.NaN,
  };
}
