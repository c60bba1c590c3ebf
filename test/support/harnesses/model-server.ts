/**
 * A small OpenAI-compatible server over a scripted provider: POST /v1/chat/completions, and whatever it was asked.
 *
 * It adds two numbers as well as it is told to (`ability`: the first share of questions right, the rest wrong by one), says
 * nothing random, and can be told to fail, or what to wait for. Test support; no model stands behind it.
 */
import { EventEmitter, once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import { z } from 'zod';
import { type Listening, listening } from '../listening.ts';

/** `url` ends in /v1. */
export interface ModelServer extends Listening {
  /** Names of models that were asked for, one per request, in order. */
  readonly asked: string[];
  readonly keys: (string | undefined)[];
  /** Resolves once it was asked so many times in all. */
  untilAsked(count: number): Promise<void>;
  /** May be changed while it serves. */
  behaviour: ModelBehaviour;
}

export interface ModelBehaviour {
  /** Of the questions `a plus b`, in order of a: right while a is below this. */
  rightBelow: number;
  /** Requests by number, from 1, that are answered with 400. */
  refuses?: (request: number) => boolean;
  /** What the answer to a request (by number, from 1) waits for; for ever, where it never comes. */
  answersAfter?: (request: number) => Promise<void>;
  says?: string;
}

const Body = z.looseObject({
  model: z.union([z.string(), z.number()]),
  messages: z.array(z.looseObject({ content: z.string() })).min(1),
});

export async function startModelServer(behaviour: ModelBehaviour = { rightBelow: 10 }): Promise<ModelServer> {
  const asked: string[] = [];
  const keys: (string | undefined)[] = [];
  const requests = new EventEmitter().setMaxListeners(100);
  const server = createServer((request, response) => {
    const answer = async () => {
      const { model, messages } = Body.parse(JSON.parse(await textOf(request)));
      asked.push(String(model));
      keys.push(request.headers.authorization);
      requests.emit('asked');
      const { refuses, answersAfter } = handle.behaviour;
      const refused = refuses?.(asked.length) ?? false;
      await answersAfter?.(asked.length);
      const question = messages.at(-1)?.content ?? '';
      response.writeHead(refused ? 400 : 200, { 'content-type': 'application/json' });
      response.end(
        JSON.stringify(
          refused
            ? { error: { message: 'the server was told to refuse' } }
            : completion(String(model), says(question, handle.behaviour)),
        ),
      );
    };
    answer().catch(() => {
      response.writeHead(400).end();
    });
  });
  const { url, close } = await listening(server);
  const handle: ModelServer = {
    url: `${url}/v1`,
    asked,
    keys,
    async untilAsked(count) {
      while (asked.length < count) await once(requests, 'asked');
    },
    behaviour,
    close,
  };
  return handle;
}

function says(question: string, { rightBelow, says: fixed }: ModelBehaviour): string {
  const [, a, b] = /(\d+) plus (\d+)/.exec(question) ?? [];
  if (fixed !== undefined) return fixed;
  const sum = Number(a) + Number(b);
  return `The answer is ${Number(a) < rightBelow ? sum : sum + 1}.`;
}

function completion(model: string, content: string) {
  return {
    id: 'chatcmpl-1',
    object: 'chat.completion',
    created: 1,
    model,
    choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }],
    usage: { prompt_tokens: 8, completion_tokens: 5, total_tokens: 13 },
  };
}

async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString('utf8');
}

/** As `answersAfter`: the first requests are answered, the others never. */
export const answersOnly =
  (first: number) =>
  (request: number): Promise<void> =>
    request <= first ? Promise.resolve() : new Promise(() => undefined);
