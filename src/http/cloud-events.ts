/**
 * CloudEvents 1.0 in: takes a checkpoint out of a structured or binary event.
 *
 * Structured: `application/cloudevents+json`, the attributes in the body and the checkpoint under
 * `data`. Binary: `ce-*` headers and the checkpoint as the body. Both at once, another type, another
 * version or base64 data are refused: which of two statements holds is not ours to guess.
 * The event's id and time are the sender's claims; webhook-id and our own clock rule.
 */
import { z } from 'zod';
import type { JsonObject } from '../domain/canonical-json.ts';
import { fieldPath, fieldProblems } from '../domain/field-errors.ts';
import { malformed, type Refusal } from './refusal.ts';
import type { RawCall, Unwrapped } from './route.ts';

export const CLOUD_EVENTS_MEDIA_TYPE = 'application/cloudevents+json';
export const CHECKPOINT_EVENT_TYPE = 'training.checkpoint';

const text = z.string().min(1).max(1024);
const attributes = {
  specversion: z.literal('1.0'),
  type: z.literal(CHECKPOINT_EVENT_TYPE),
  id: text,
  source: text,
  subject: text.optional(),
  time: z.iso.datetime({ offset: true }).optional(),
  datacontenttype: z
    .string()
    .regex(/^application\/json( ?; ?charset=utf-8)?$/i, 'must be application/json')
    .optional(),
  dataschema: text.optional(),
};

/** Extension attributes are lower-case letters and digits with simple values (CloudEvents 1.0, 3.1). */
const Structured = z
  .object({ ...attributes, data: z.record(z.string(), z.unknown()) })
  .catchall(z.union([z.string().max(1024), z.number(), z.boolean()]));
const Binary = z.object(attributes).catchall(z.string().max(1024));

const EXTENSION_NAME = /^[a-z0-9]{1,20}$/;

export function readCheckpointEvent(headers: RawCall['headers'], parsed: JsonObject): Unwrapped | Refusal {
  const ce: JsonObject = {};
  for (const [name, value] of Object.entries(headers)) {
    if (name.startsWith('ce-')) ce[name.slice(3)] = Array.isArray(value) ? value.join(', ') : (value ?? '');
  }
  const isBinary = Object.keys(ce).length > 0;
  const isStructured = /^application\/cloudevents\+json/i.test(String(headers['content-type'] ?? ''));
  if (isBinary && isStructured) {
    return malformed('malformed-event', 'the event is stated twice: by ce- headers and by its media type');
  }
  if (isBinary) return refuse(Binary, ce, 'header.ce-') ?? { value: parsed, at: '' };
  if (!isStructured) return { value: parsed, at: '' };
  const refusal = refuse(Structured, parsed, '');
  if (refusal !== null) return refusal;
  const data = parsed['data'];
  return isJsonObject(data)
    ? { value: data, at: 'data' }
    : malformed('malformed-event', 'data must be an object');
}

const ERRORS_MAX = 20;

function refuse(schema: z.ZodType, value: JsonObject, prefix: string): Refusal | null {
  const result = schema.safeParse(value);
  const errors = result.success
    ? []
    : fieldProblems(schema, result.error, ERRORS_MAX).map(({ parts, message }) => ({
        path: `${prefix}${fieldPath(parts)}`,
        message,
      }));
  for (const name of Object.keys(value)) {
    if (!EXTENSION_NAME.test(name)) {
      errors.push({
        path: `${prefix}${fieldPath([name])}`,
        message:
          name === 'data_base64'
            ? 'send the checkpoint as JSON under data'
            : 'not an attribute name of CloudEvents',
      });
    }
  }
  return errors.length === 0
    ? null
    : malformed(
        'malformed-event',
        `not a CloudEvents 1.0 event of type ${CHECKPOINT_EVENT_TYPE}`,
        errors.slice(0, ERRORS_MAX),
      );
}

function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
