/** The ledger for those who check: events, the signed head, the keys; and live streams of events. */
import { z } from 'zod';
import type { Ledger, RecordedEvent } from '../../ledger/ledger.ts';
import { createDisclosure, type Disclose } from '../../service/disclosure.ts';
import { runStream } from '../../service/run-service.ts';
import { conflict, malformed, notFound, type Refusal } from '../refusal.ts';
import { type RawCall, type Route, route, streamResponse } from '../route.ts';
import type { StreamEvent, StreamSource } from '../sse.ts';
import { isRefusal, listOf, loadRun, POSITION, RunParams, text } from './common.ts';
import { progressEvents } from './progress-part.ts';
import type { Services } from './services.ts';

export const EventDocument = z
  .object({
    seq: z.number(),
    stream: z.string(),
    version: z.number(),
    id: z.string(),
    kind: z.string(),
    data: z.record(z.string(), z.json()),
    actor: z.string(),
    recordedAt: z.string(),
    prevHash: z.string(),
    hash: z.string(),
  })
  .meta({ id: 'LedgerEvent' });

/** Said wherever events are read. */
export const WITHHELD =
  'What experts say (EstimateGiven) comes as `withheld: true` until their question is settled; `hash` covers the full event, so what is shown later can be held against it.';

export const eventDocument = (event: RecordedEvent): z.input<typeof EventDocument> => ({ ...event });

const HeadDocument = z
  .object({
    size: z.number(),
    hash: z.string(),
    root: z.string(),
    signed: z
      .object({ size: z.number(), hash: z.string(), root: z.string(), jws: z.string(), signedAt: z.string() })
      .nullable(),
  })
  .meta({
    id: 'LedgerHead',
    description: 'RFC 6962 root over all events; `signed` is the newest signed head',
  });

const AcceptRestore = z.strictObject({ reason: text(2000) }).meta({ id: 'AcceptRestore' });

const RestoreAccepted = z
  .object({ size: z.number(), anchoredSize: z.number(), runsHalted: z.number() })
  .meta({ id: 'RestoreAccepted' });

const Jwks = z
  .object({
    keys: z.array(z.record(z.string(), z.json())),
    statements: z.array(z.string()).optional().meta({
      description: 'Signed by earlier keys: how a trainer that believes one of them learns of the others',
    }),
  })
  .meta({ id: 'Jwks', description: 'Public keys (RFC 7517) of permits, halt orders and heads' });

export const ledgerRoutes = (services: Services): Route[] => {
  const { ledger, heads, signer, runs, guard } = services;
  const disclose = createDisclosure(runs);
  return [
    route({
      method: 'GET',
      path: '/v1/ledger',
      summary: 'Events of all streams in order',
      description: WITHHELD,
      tags: ['ledger'],
      query: z.strictObject({
        after: z.coerce.number().int().min(0).default(0),
        limit: z.coerce.number().int().min(1).max(1000).default(100),
      }),
      responses: { 200: listOf(EventDocument) },
      handler: async ({ query }) => {
        const events = await ledger.read(query);
        const last = events.at(-1);
        const nextCursor = events.length >= query.limit && last !== undefined ? String(last.seq) : null;
        const items = (await disclose(events)).map(eventDocument);
        return { status: 200, body: { items, nextCursor } };
      },
    }),
    route({
      method: 'GET',
      path: '/v1/ledger/head',
      summary: 'The head of the ledger, signed',
      description: 'Keep copies elsewhere: a head that was copied is what makes truncation and forks show.',
      tags: ['ledger'],
      responses: { 200: HeadDocument },
      handler: async () => {
        await heads.recordHead(({ size, root, hash, at }) =>
          signer.signHead({ iat: Math.floor(Date.parse(at) / 1000), size, root, hash }),
        );
        const [head, signed] = await Promise.all([ledger.head(), heads.latestHead()]);
        return { status: 200, body: { ...head, signed } };
      },
    }),
    route({
      method: 'POST',
      path: '/v1/ledger/accept-restore',
      summary: 'Go on with a ledger that was put back from a backup',
      description:
        'Where the ledger contradicts a signed head that is kept outside, no permit is issued. Accepting it halts every unfinished run first: each goes on only by a governed resume.',
      tags: ['ledger'],
      body: AcceptRestore,
      timeoutMs: 60_000,
      responses: { 200: RestoreAccepted },
      handler: async ({ body, identity }) => {
        const accepted = await guard.accept(identity.id, body.reason);
        return accepted === null
          ? conflict(
              'nothing-to-accept',
              'the ledger continues what was signed before: there is nothing to accept',
            )
          : { status: 200, body: accepted };
      },
    }),
    route({
      method: 'GET',
      path: '/.well-known/jwks.json',
      summary: 'Public keys',
      tags: ['ledger'],
      open: true,
      responses: { 200: Jwks },
      handler: async () => ({ status: 200, body: Jwks.parse(services.jwks()) }),
    }),
    route({
      method: 'GET',
      path: '/v1/stream',
      summary: 'Events of all runs as they are recorded',
      description: WITHHELD,
      tags: ['ledger'],
      responses: { 200: streamResponse('One server-sent event per ledger event; Last-Event-ID resumes') },
      handler: async ({ headers }) =>
        (await resumeRefusal(ledger, headers)) ?? {
          status: 200,
          body: eventStream({ ledger, disclose }, (stream) => stream.startsWith('run-')),
        },
    }),
    route({
      method: 'GET',
      path: '/v1/runs/:run/stream',
      summary: 'Events of one run as they are recorded',
      description: WITHHELD,
      tags: ['ledger'],
      params: RunParams,
      responses: {
        200: streamResponse(
          'One server-sent event per ledger event; Last-Event-ID resumes. Beside them, named `progress` and without an id, how far running evaluations are',
        ),
      },
      handler: async ({ params, headers }) => {
        const loaded = await loadRun(runs, params.run);
        if (isRefusal(loaded)) return notFound(`there is no run ${params.run}`, 'path.run');
        const refusal = await resumeRefusal(ledger, headers);
        if (refusal !== null) return refusal;
        const own = runStream(params.run);
        const passing = progressEvents(services.evaluationProgress, params.run);
        return {
          status: 200,
          body: eventStream({ ledger, disclose }, (stream) => stream === own, own, passing),
        };
      },
    }),
  ];
};

const BATCH = 200;
/** Other processes append too: look again at least this often. */
const POLL_MS = 1_000;

/**
 * An id that no event of the ledger has: said at once, or the reader would reconnect with it for ever, or (one of
 * events still to come, or of a ledger that was restored since) wait in silence while halts go by.
 */
async function resumeRefusal(ledger: Ledger, headers: RawCall['headers']): Promise<Refusal | null> {
  const lastEventId = headers['last-event-id'];
  if (lastEventId === undefined || lastEventId === '') return null;
  const isPosition = typeof lastEventId === 'string' && POSITION.test(lastEventId);
  if (isPosition && Number(lastEventId) <= (await ledger.head()).size) return null;
  return malformed('malformed-header', 'Last-Event-ID is not one that this service gave out', [
    { path: 'header.last-event-id', message: 'not an event id' },
  ]);
}

/** Without Last-Event-ID the stream begins now; with it, right after that event. */
function eventStream(
  { ledger, disclose }: { ledger: Ledger; disclose: Disclose },
  wanted: (stream: string) => boolean,
  stream?: string,
  passing: () => Promise<StreamEvent[]> = () => Promise.resolve([]),
): StreamSource {
  return {
    async *subscribe({ after, signal }): AsyncIterable<StreamEvent> {
      let seen = after === null ? (await ledger.head()).size : Number(after);
      while (!signal.aborted) {
        const events = await ledger.read({
          after: seen,
          limit: BATCH,
          ...(stream === undefined ? {} : { stream }),
        });
        for (const event of await disclose(events)) {
          seen = event.seq;
          // Unnamed: a browser's `onmessage` hears every kind, those of later versions too; `data.kind` says which.
          if (wanted(event.stream)) yield { id: String(event.seq), data: eventDocument(event) };
        }
        yield* await passing();
        if (events.length < BATCH) await appended(ledger, signal);
      }
    },
  };
}

/** Until this process appends something, or the poll interval, or the reader is gone. */
function appended(ledger: Ledger, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      stop();
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, POLL_MS);
    const stop = ledger.onAppended(done);
    signal.addEventListener('abort', done, { once: true });
    if (signal.aborted) done();
  });
}
