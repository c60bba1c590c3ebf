/** A seed worker in a process of its own, where need be with a mutation of the code in it. */
import { type ChildProcess, fork } from 'node:child_process';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import type { Mutant } from './mutants.ts';
import type { SeedResult, Story } from './run-seed.ts';

const MessageSchema = z.union([
  z.object({ ready: z.literal(true) }),
  z.object({ result: z.custom<SeedResult>() }),
  z.object({ told: z.custom<Story>() }),
]);

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const WORKER = fileURLToPath(new URL('seed-worker.ts', import.meta.url));
const HOOK = new URL('mutant-hook.mjs', import.meta.url).href;

export class SeedProcess {
  readonly #child: ChildProcess;
  readonly #ready: Promise<void>;
  #onResult: (result: SeedResult) => void = () => undefined;
  #onReady: () => void = () => undefined;
  #onStory: (story: Story) => void = () => undefined;
  #onEnd: (error: Error) => void = () => undefined;

  constructor(mutant?: Mutant) {
    const mutated =
      mutant === undefined
        ? {}
        : { INTERLOCK_MUTANT: JSON.stringify({ ...mutant, file: resolve(ROOT, mutant.file) }) };
    this.#child = fork(WORKER, {
      execArgv: [
        '--max-semi-space-size=32',
        ...(mutant === undefined ? [] : ['--import', HOOK]),
        '--import',
        'tsx',
      ],
      env: { ...process.env, ...mutated },
      cwd: ROOT,
    });
    this.#child.on('message', (received) => this.#hear(received));
    this.#child.on('exit', (code) => this.#onEnd(new Error(`a worker ended with ${code}`)));
    this.#ready = new Promise((done, failed) => {
      this.#onReady = done;
      this.#onEnd = failed;
    });
  }

  /** Runs the seeds in order; `hear` says whether to go on. */
  async run(seeds: readonly number[], hear: (result: SeedResult) => boolean): Promise<void> {
    await this.#ready;
    await new Promise<void>((done, failed) => {
      this.#onEnd = failed;
      this.#onReady = done;
      this.#onResult = (result) => {
        if (!hear(result)) done();
      };
      this.#child.send({ seeds: [...seeds] });
    });
  }

  async story(seed: number): Promise<Story> {
    await this.#ready;
    return new Promise((done, failed) => {
      this.#onEnd = failed;
      this.#onStory = done;
      this.#child.send({ story: seed });
    });
  }

  end(): void {
    this.#onEnd = () => undefined;
    this.#child.kill();
  }

  #hear(received: unknown): void {
    const message = MessageSchema.parse(received);
    if ('result' in message) this.#onResult(message.result);
    else if ('told' in message) this.#onStory(message.told);
    else this.#onReady();
  }
}
