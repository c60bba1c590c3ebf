/** Reads server-sent events as a browser does: until enough have come, then hangs up. */
import { z } from 'zod';
import type { TestInterlock } from './interlock.ts';

export interface StreamedEvent {
  readonly id: string;
  readonly kind: string;
  /** As it came. */
  readonly text: string;
}

const Data = z.object({ seq: z.number(), kind: z.string() });
const DEADLINE_MS = 20_000;

/** `opened` is called once the stream is open: what happens from then on must come through it. */
export async function readStream(
  interlock: TestInterlock,
  path: string,
  enough: (events: readonly StreamedEvent[]) => boolean,
  { lastEventId, opened }: { lastEventId?: string; opened?: () => Promise<unknown> } = {},
): Promise<StreamedEvent[]> {
  const hangUp = new AbortController();
  const response = await fetch(`${interlock.url}${path}`, {
    headers: {
      authorization: `Bearer ${interlock.tokens['auditor']}`,
      accept: 'text/event-stream',
      ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }),
    },
    signal: AbortSignal.any([hangUp.signal, AbortSignal.timeout(DEADLINE_MS)]),
  });
  if (response.status !== 200 || response.body === null) {
    throw new Error(`the stream was refused: ${response.status} ${await response.text()}`);
  }
  const doing = opened?.();
  const events: StreamedEvent[] = [];
  let text = '';
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const blocks = text.split('\n\n');
    text = blocks.pop() ?? '';
    events.push(...blocks.flatMap(readBlock));
    // Left before it is hung up: on a newer Node a loop that is aborted while it ends throws.
    if (enough(events)) break;
  }
  hangUp.abort();
  if (!enough(events)) throw new Error(`the stream ended after ${events.length} events`);
  await doing;
  return events;
}

function readBlock(block: string): StreamedEvent[] {
  const fields = new Map(
    block
      .split('\n')
      .filter((line) => !line.startsWith(':'))
      .map((line): [string, string] => [
        line.slice(0, line.indexOf(':')),
        line.slice(line.indexOf(':') + 1).trimStart(),
      ]),
  );
  const id = fields.get('id');
  const data = fields.get('data');
  if (id === undefined || data === undefined) return [];
  return [{ id, kind: Data.parse(JSON.parse(data)).kind, text: data }];
}
