/** Events of one name on a stream, kept as they come, until nobody listens any more. */
import { z } from 'zod';
import type { TestInterlock } from '../interlock.ts';

const Progress = z.object({
  evaluationId: z.string(),
  attempt: z.number(),
  done: z.number(),
  total: z.number().nullable(),
  unit: z.string(),
});
export type HeardProgress = z.infer<typeof Progress>;

export interface Followed {
  /** Settles when what has come so far is enough. */
  until(enough: (heard: readonly HeardProgress[]) => boolean): Promise<void>;
  close(): Promise<void>;
}

const DEADLINE_MS = 60_000;

export function followEvents(interlock: TestInterlock, path: string, name: string): Followed {
  const hangUp = new AbortController();
  const heard: HeardProgress[] = [];
  let changed = (): void => undefined;
  const reading = (async () => {
    const response = await fetch(`${interlock.url}${path}`, {
      headers: { authorization: `Bearer ${interlock.tokens['auditor']}`, accept: 'text/event-stream' },
      signal: hangUp.signal,
    });
    if (response.status !== 200 || response.body === null) throw new Error(`refused: ${response.status}`);
    let text = '';
    for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      const blocks = text.split('\n\n');
      text = blocks.pop() ?? '';
      for (const block of blocks) {
        const lines = block.split('\n');
        if (!lines.includes(`event: ${name}`)) continue;
        if (lines.some((line) => line.startsWith('id:'))) throw new Error('a passing event has an id');
        const data = lines.find((line) => line.startsWith('data: '))?.slice('data: '.length) ?? '';
        heard.push(Progress.parse(JSON.parse(data)));
      }
      changed();
    }
  })();
  const ended = reading.catch((error: unknown) => {
    if (!hangUp.signal.aborted) throw error;
  });
  return {
    async until(enough) {
      const deadline = AbortSignal.timeout(DEADLINE_MS);
      const late = new Promise<void>((resolve) =>
        deadline.addEventListener('abort', () => resolve(), { once: true }),
      );
      while (!enough(heard)) {
        if (deadline.aborted) throw new Error(`not enough in time: ${JSON.stringify(heard.slice(-3))}`);
        await Promise.race([
          new Promise<void>((resolve) => {
            changed = resolve;
          }),
          late,
          ended.then(() => {
            throw new Error('the stream ended');
          }),
        ]);
      }
    },
    async close() {
      hangUp.abort();
      await ended;
    },
  };
}
