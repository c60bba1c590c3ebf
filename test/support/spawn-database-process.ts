/** Starts `database-process.ts` as a real process, as root or as somebody else, and listens to it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';

const lineSchema = z.object({
  is: z.enum(['ready', 'down', 'up', 'closed', 'failed']),
  url: z.string().optional(),
  code: z.string().optional(),
});
export type Told = z.infer<typeof lineSchema>;

export interface DatabaseProcess {
  readonly child: ChildProcess;
  /** The next line of this kind, or the one already told. */
  hears(is: Told['is']): Promise<Told>;
  kill(): Promise<void>;
  close(): Promise<void>;
}

const script = fileURLToPath(new URL('./database-process.ts', import.meta.url));
const tsx = import.meta.resolve('tsx');

export function spawnDatabaseProcess(
  dataDir: string,
  options: { uid?: number; gid?: number; env?: NodeJS.ProcessEnv } = {},
): DatabaseProcess {
  const { env, ...account } = options;
  const child = spawn(process.execPath, ['--import', tsx, script, dataDir], {
    ...account,
    env: { ...process.env, ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const told: Told[] = [];
  const waiting = new Set<() => void>();
  const wake = () => {
    for (const listener of [...waiting]) listener();
  };
  let ended = false;
  createInterface({ input: child.stdout }).on('line', (line) => {
    told.push(lineSchema.parse(JSON.parse(line)));
    wake();
  });
  child.once('close', () => {
    ended = true;
    wake();
  });

  const hears = (is: Told['is']) =>
    new Promise<Told>((resolve, reject) => {
      const look = () => {
        const found = told.find((line) => line.is === is);
        if (found !== undefined) resolve(found);
        else if (ended) reject(new Error(`the process ended and said only ${JSON.stringify(told)}`));
        else return;
        waiting.delete(look);
      };
      waiting.add(look);
      look();
    });
  const gone = async () => {
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  };
  return {
    child,
    hears,
    kill: async () => {
      child.kill('SIGKILL');
      await gone();
    },
    close: async () => {
      child.stdin.end();
      await gone();
    },
  };
}
