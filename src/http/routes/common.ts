/** Schemas and answers that several resources share. */
import { z } from 'zod';
import { ComputeSchema } from '../../domain/compute.ts';
import { NameSchema } from '../../domain/policy/schema.ts';
import type { Ledger, ViewRow } from '../../ledger/ledger.ts';
import { sha256 } from '../../service/digest.ts';
import type { Executed, LoadedRun, Receipt, RunService } from '../../service/run-service.ts';
import { conflict, forbidden, invalid, notFound, type Refusal } from '../refusal.ts';
import type { RawCall } from '../route.ts';

export const IdSchema = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/,
    'must be 1 to 128 letters, digits, dots, dashes or underscores, beginning with a letter or digit',
  );

export const RunParams = z.strictObject({ run: IdSchema });
export const RunQuery = z.strictObject({});

/** Free text for people: no control characters but tabs and line breaks. */
export const text = (max: number) =>
  z
    .string()
    .min(1)
    .max(max)
    .refine((value) => ![...value].some(isControl), 'must not hold control characters');

function isControl(character: string): boolean {
  const code = character.codePointAt(0) ?? 0;
  return (code < 32 && character !== '\n' && character !== '\t') || code === 127;
}

/** What a trainer says of the stage of training that it is in. */
export const TrainingStageIn = z
  .strictObject({
    name: NameSchema.meta({ description: 'As `rl` or `fine-tuning`; another name makes a checkpoint due' }),
    compute: ComputeSchema.optional().meta({
      description: 'Effective compute of this stage alone; default: what the run trained since it began',
    }),
  })
  .meta({ id: 'TrainingStage' });

export const Instant = z.iso.datetime({ offset: true });
export const ComputeOut = z.string().meta({ description: 'Effective compute in FLOP, a decimal string' });
export { ComputeSchema };

/** What `nextCursor` and event ids look like: digits few enough to stay exact as a number. */
export const POSITION = /^\d{1,15}$/;

export const PageQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(200).default(50),
  cursor: z.string().regex(POSITION, 'must be the nextCursor of an earlier answer').optional(),
});

export const listOf = <T extends z.ZodType>(item: T) =>
  z.object({ items: z.array(item), nextCursor: z.string().nullable() });

/** A page of what the views keep under a kind, the newest first; the cursor is the last row's ordinal. */
export async function newestOf<T>(
  ledger: Pick<Ledger, 'views'>,
  of: { kind: string; runId?: string },
  { limit, cursor }: z.output<typeof PageQuery>,
  item: (doc: ViewRow['doc']) => T,
): Promise<{ items: T[]; nextCursor: string | null }> {
  const after = cursor === undefined ? {} : { after: Number(cursor) };
  const rows = await ledger.views({ ...of, limit, order: 'desc', ...after });
  const last = rows.at(-1);
  return {
    items: rows.map(({ doc }) => item(doc)),
    nextCursor: rows.length >= limit && last !== undefined ? String(last.ordinal) : null,
  };
}

/** The signed message's identity, where the sender signed rather than showed a token. */
export function receiptOf(
  call: Pick<RawCall, 'webhook' | 'rawBody'> & { identity: { id: string } },
): Receipt | undefined {
  if (call.webhook === null) return undefined;
  return { source: call.identity.id, webhookId: call.webhook.id, bodyDigest: sha256(call.rawBody) };
}

type Failed = Exclude<Executed['outcome'], 'recorded' | 'unchanged' | 'replayed'>;
type FailedExecution = Extract<Executed, { outcome: Failed }>;

export function isFailed<T extends { outcome: string }>(executed: T): executed is T & FailedExecution {
  return executed.outcome === 'rejected' || executed.outcome === 'reused-id';
}

/** Where in a request stands what the domain calls by its own name; `''` for a refusal that names nothing. */
export type Places = Readonly<Record<string, string>>;
export const OF_RUN: Places = { '': 'path.run', runId: 'path.run' };

/** Every refusal of the service layer as a problem. */
export function refusalOf(executed: FailedExecution, places: Places = {}): Refusal {
  if (executed.outcome === 'reused-id') {
    return conflict(
      'webhook-id-reused',
      'this webhook-id was used for another body; give every message its own',
      true,
      'header.webhook-id',
    );
  }
  const { code, message } = executed.rejection;
  const named = executed.rejection.path ?? '';
  const path = Object.hasOwn(places, named) ? places[named] : named === '' ? undefined : named;
  switch (code) {
    case 'not-found':
      return notFound(message, path);
    case 'forbidden':
      return forbidden(message, path);
    case 'invalid':
      return invalid([{ path: path ?? 'body', message }]);
    case 'conflict':
    case 'stale':
      return conflict(code, message, false, path);
    default:
      return code satisfies never;
  }
}

export async function loadRun(runs: RunService, runId: string): Promise<LoadedRun | Refusal> {
  return (await runs.load(runId)) ?? notFound(`there is no run ${runId}`, 'path.run');
}

/** The run as a command left it; a repetition is answered from the state as it is now. */
export async function runAfter(
  executed: Executed,
  runs: RunService,
  runId: string,
): Promise<Pick<LoadedRun, 'state' | 'policy'> | Refusal> {
  return 'state' in executed ? executed : loadRun(runs, runId);
}

export const isRefusal = (value: object): value is Refusal => value instanceof Error;
