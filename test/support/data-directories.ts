/** Data directories for tests that start and kill PostgreSQL themselves, and a look at what runs on them. */
import { mkdtemp, readFile, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { prepareLayout } from '../../src/database/embedded/layout.ts';
import { listPostgres, type PostgresProcess, signalProcess } from '../../src/database/embedded/processes.ts';

export interface DataDirectories {
  make(): Promise<string>;
  /** Kills what is left on them, and removes them. */
  clean(): Promise<void>;
}

export function dataDirectories(): DataDirectories {
  const made: string[] = [];
  return {
    make: async () => {
      const path = await realpath(await mkdtemp(join(tmpdir(), 'interlock-data-')));
      made.push(path);
      return path;
    },
    clean: async () => {
      for (const path of made.splice(0)) {
        for (const one of await running(path)) await signalProcess(one, 'SIGKILL');
        await rm(path, { recursive: true, force: true, maxRetries: 5 });
      }
    },
  };
}

export async function running(dataDir: string): Promise<PostgresProcess[]> {
  const { cluster, clusterName } = await prepareLayout(dataDir);
  return listPostgres(cluster, clusterName);
}

export async function postmasterPid(dataDir: string): Promise<number> {
  const text = await readFile(join(dataDir, 'postgres', 'cluster', 'postmaster.pid'), 'utf8');
  return Number.parseInt(text, 10);
}
