/**
 * A file into values: whole, item by item, or line by line. What is broken in it comes back as a refusal.
 *
 * A number that is not finite arrives under its name, a text (json-select.ts).
 */
import type { z } from 'zod';
import { READ_LIMITS } from './format.ts';
import { layoutProblem, type Refusal, refusal } from './harness-values.ts';
import { jsonLines } from './json-lines.ts';
import { type JsonValue, type Selection, selectJson } from './json-select.ts';
import { LogFault } from './log-fault.ts';
import type { LogSource } from './log-source.ts';

export type Document = { readonly ok: true; readonly value: JsonValue } | Refusal;

/** For documents that are small by nature; over READ_LIMITS.documentBytes they are refused. */
export async function readDocument(source: LogSource): Promise<Document> {
  let value: JsonValue = null;
  const refused = await readSelected(source, [
    {
      path: [],
      onValue: (whole) => {
        value = whole;
      },
    },
  ]);
  return refused ?? { ok: true, value };
}

/** The same, of the layout that a format has; `what` names it to whoever gave another one. */
export async function readDocumentAs<S extends z.ZodType>(
  source: LogSource,
  what: string,
  layout: S,
): Promise<{ readonly ok: true; readonly value: z.output<S> } | Refusal> {
  const document = await readDocument(source);
  if (!document.ok) return document;
  const parsed = layout.safeParse(document.value);
  return parsed.success ? { ok: true, value: parsed.data } : layoutProblem(what, parsed.error);
}

/** What a visitor refuses ends the reading, by `stop`. */
export async function readSelected(
  source: LogSource,
  selections: readonly Selection[],
): Promise<Refusal | undefined> {
  try {
    await selectJson(source.stream(), selections, { valueBytes: READ_LIMITS.documentBytes });
    return undefined;
  } catch (error) {
    return refusalOf(error);
  }
}

/** Inside of a visitor. */
export function stop(refused: Refusal | undefined): void {
  if (refused !== undefined) throw new LogFault(refused.problem, refused.detail);
}

/**
 * Every line, parsed, in order. A last line that breaks off is where a run that goes on, or one that died, was writing: `isCut`.
 */
export async function readLines(
  source: LogSource,
  visit: (value: JsonValue) => Refusal | undefined,
): Promise<{ readonly ok: true; readonly isCut: boolean } | Refusal> {
  let isCut = false;
  try {
    for await (const line of jsonLines(source.stream(), READ_LIMITS.lineBytes)) {
      if (line.kind === 'truncated') isCut = true;
      else stop(visit(line.value));
    }
    return { ok: true, isCut };
  } catch (error) {
    return refusalOf(error);
  }
}

/** Anything else is a defect of ours, and no reading either. */
function refusalOf(error: unknown): Refusal {
  if (error instanceof LogFault) return refusal(error.problem, error.detail);
  throw error;
}
