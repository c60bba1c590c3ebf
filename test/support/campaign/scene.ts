/**
 * What surrounds the service in the campaign and its siblings: stores, a workplace, everything it calls, simulated
 * runs and people, and the journal of what they were told.
 */
import { setMaxListeners } from 'node:events';
import { createRandom } from '../../simulation/random.ts';
import { reasonOf } from '../reason.ts';
import { type Api, createApi } from './api.ts';
import { createJournal, type Journal } from './journal.ts';
import { type Outside, openOutside } from './outside.ts';
import { govern } from './people.ts';
import { type ServiceProcess, startService } from './service-process.ts';
import { type Grade, openStores, type Stores } from './stores.ts';
import { startTrainer, type Trainer } from './trainer.ts';
import { makeWorkplace, type Workplace, type WorkplaceOptions } from './workplace.ts';

export interface Scene {
  readonly grade: Grade;
  readonly outside: Outside;
  readonly stores: Stores;
  readonly place: Workplace;
  readonly journal: Journal;
  readonly api: Api;
  readonly trainers: readonly Trainer[];
  /** `env` beside what every start gets. */
  start(env?: Readonly<Record<string, string>>): ServiceProcess;
  addRun(): void;
  /** From here on people press and sign. */
  addPeople(): void;
  /** No new checkpoints, presses or sign-offs from here on; heartbeats and acknowledgements go on. */
  drain(): Promise<void>;
  /** Nobody speaks to the service any more. */
  silence(): Promise<void>;
  /** Ends everything; the directory with log, data and export stays where it is to be kept. */
  close(options: { keep: boolean }): Promise<void>;
}

export interface SceneOptions {
  /** The command of an installation (installation.ts). */
  readonly bin: string;
  readonly grade: Grade;
  readonly seed: number;
  /** Stores that somebody else disturbs and closes; a fresh set of the grade's where left out. */
  readonly stores?: Stores;
  readonly workplace?: WorkplaceOptions;
  /** A run reports so many checkpoints and then only heartbeats, and seldom. */
  readonly checkpointsMax?: number;
}

export async function openScene(options: SceneOptions): Promise<Scene> {
  const { bin, grade, seed } = options;
  const outside = await openOutside(createRandom(seed + 1));
  const stores = options.stores ?? (await openStores(grade));
  const place = await makeWorkplace(outside.url, bin, options.workplace);
  const over = new AbortController();
  const draining = new AbortController();
  // Every run waits on them.
  setMaxListeners(0, over.signal, draining.signal);
  const journal = createJournal();
  const api = createApi(place, journal, over.signal);
  const trainers: Trainer[] = [];
  const services: ServiceProcess[] = [];
  let people: Promise<void> = Promise.resolve();
  outside.open({ place, api, journal });

  const silence = async () => {
    draining.abort();
    over.abort();
    await Promise.all([people, ...trainers.map(({ done }) => done)]);
  };
  return {
    grade,
    outside,
    stores,
    place,
    journal,
    api,
    trainers,
    start(env = {}) {
      const { configFile, logFile } = place;
      const service = startService({
        bin,
        configFile,
        logFile,
        env: { ...place.env, ...stores.env, ...env },
      });
      services.push(service);
      return service;
    },
    addRun() {
      trainers.push(
        startTrainer({
          runId: `run-${trainers.length + 1}`,
          random: createRandom(seed * 1_000 + trainers.length),
          api,
          journal,
          haltUrl: `${outside.url}/halt`,
          haltsReceived: () => outside.halts,
          draining: draining.signal,
          over: over.signal,
          checkpointsMax: options.checkpointsMax,
        }),
      );
    },
    addPeople() {
      const runIds = () => trainers.map(({ runId }) => runId);
      people = govern({
        random: createRandom(seed + 2),
        api,
        journal,
        runIds,
        draining: draining.signal,
      }).catch((error: unknown) => {
        journal.violations.push(`the people broke off: ${reasonOf(error)}`);
      });
    },
    async drain() {
      draining.abort();
      await people;
    },
    silence,
    async close({ keep }) {
      await silence();
      for (const service of services) await service.kill9();
      for (const { process } of trainers) process?.kill('SIGKILL');
      await outside.close();
      if (options.stores === undefined) await stores.close();
      if (!keep) await place.remove();
    },
  };
}
