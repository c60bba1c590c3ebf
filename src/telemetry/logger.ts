/**
 * The logger: JSON lines that say what happened and never what was in it.
 *
 * First line of defence: an allow-list. A field is written if it is a plain value or one of the few
 * objects with a serialiser here (`req`, `res`, `err`); any other object is dropped, so a body, a
 * header map or a configuration cannot be logged by accident. Second: fields named like a secret, and
 * text shaped like one, are masked. Third: characters that could forge or reverse a line are escaped.
 * `error` means someone should get up.
 */
import { type ChildLoggerOptions, type DestinationStream, type Logger, pino } from 'pino';
import { InterlockError } from '../errors.ts';
import { currentCorrelation } from './correlation.ts';

export interface LoggerOptions {
  level: string;
  /** Default: standard output. */
  destination?: DestinationStream;
}

const TEXT_LENGTH_MAX = 500;
const ELEMENTS_MAX = 20;
const STACK_FRAMES_MAX = 8;

export function createLogger({ level, destination }: LoggerOptions): Logger {
  const options = {
    level,
    base: null,
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }), log: allowListed },
    serializers: { req: describeRequest, res: describeResponse, err: describeError, error: describeError },
    mixin: () => {
      const correlationId = currentCorrelation();
      return correlationId === undefined ? {} : { correlationId };
    },
    hooks: { streamWrite: (line: string) => escapeLine(maskSecrets(line)) },
  };
  const logger = destination === undefined ? pino(options) : pino(options, destination);
  // pino formats the fields of a line but not those of a child; children inherit this through their prototype.
  const { child } = logger;
  Object.defineProperty(logger, 'child', {
    value(this: Logger, fields: Record<string, unknown>, childOptions?: ChildLoggerOptions) {
      return Reflect.apply(child, this, [allowListed(fields), childOptions]);
    },
  });
  return logger;
}

const SERIALISED = new Set(['req', 'res', 'err', 'error']);
const SECRET_NAME =
  /(token|secret|password|passphrase|authorization|cookie|credential|private_?key|signature|body|payload|headers|stdout|stderr|transcript|prompt|completion)$/i;

function allowListed(fields: Record<string, unknown>): Record<string, unknown> {
  const kept: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields)) {
    if (SERIALISED.has(name)) kept[name] = value;
    else if (value instanceof Error) kept[name] = describeError(value);
    else if (SECRET_NAME.test(name) && typeof value !== 'number' && typeof value !== 'boolean') {
      kept[name] = '[redacted]';
    } else kept[name] = plain(value);
  }
  return kept;
}

function plain(value: unknown): unknown {
  if (typeof value === 'string') return short(value);
  if (value === null || typeof value === 'number' || typeof value === 'boolean') return value;
  if (typeof value === 'bigint') return value.toString();
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'invalid date' : value.toISOString();
  if (
    Array.isArray(value) &&
    value.every((element) => ['string', 'number', 'boolean'].includes(typeof element))
  ) {
    return value.slice(0, ELEMENTS_MAX).map(plain);
  }
  return value === undefined ? undefined : '[object not logged]';
}

const short = (text: string): string =>
  text.length > TEXT_LENGTH_MAX ? `${text.slice(0, TEXT_LENGTH_MAX)}…(${text.length} characters)` : text;

function describeError(error: unknown, depth = 0): unknown {
  if (!(error instanceof Error)) return { type: typeof error };
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  return {
    type: error.name,
    ...(code !== undefined && { code }),
    message: safeMessage(error),
    // Frames only: the head of a stack repeats the message.
    at: (error.stack ?? '')
      .split('\n')
      .filter((line) => /^\s+at /.test(line))
      .slice(0, STACK_FRAMES_MAX)
      .map((line) => line.trim()),
    ...(error.cause !== undefined && depth < 3 && { cause: describeError(error.cause, depth + 1) }),
  };
}

/** Parsers quote their input in the message; a message of ours is safe by contract. */
function safeMessage(error: Error): string {
  if (error instanceof InterlockError) return short(error.message);
  if (error instanceof SyntaxError || error.name === 'ZodError' || error.name === 'YAMLParseError') {
    return '[not logged: it may quote its input]';
  }
  return short(error.message);
}

/** A request is its method, its route's pattern and its id: the path and query as sent may hold anything. */
function describeRequest(request: unknown): unknown {
  return {
    method: textOnly(member(request, 'method')),
    route: textOnly(member(member(request, 'routeOptions'), 'url')),
    id: textOnly(member(request, 'id')),
    identityId: textOnly(member(member(member(request, 'authenticated'), 'identity'), 'id')),
  };
}

function describeResponse(response: unknown): unknown {
  const statusCode = member(response, 'statusCode');
  return { statusCode: typeof statusCode === 'number' ? statusCode : undefined };
}

function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
}

const textOnly = (value: unknown): string | undefined =>
  typeof value === 'string' ? short(value) : undefined;

const SECRET_TEXT: readonly [RegExp, string][] = [
  [/\bilk_[A-Za-z0-9_-]{8,}/g, 'ilk_[redacted]'],
  [/\bwh(sec|sk)_[A-Za-z0-9+/=_-]{8,}/g, 'wh$1_[redacted]'],
  [/\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}/gi, '$1 [redacted]'],
  [/\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+/g, '[token redacted]'],
  [/\b([a-z][a-z0-9+.-]{1,20}:\/\/)[^\s/@"\\]{1,256}@/gi, '$1[redacted]@'],
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[^"]*?-----END [A-Z ]*PRIVATE KEY-----/g, '[private key redacted]'],
];

/** One of these is in whatever the patterns find. Nearly all lines have none, and are looked at once instead of six times. */
const SUSPECT = /ilk_|wh(?:sec|sk)_|bearer|basic|eyJ|:\/\/|PRIVATE KEY/i;

export function maskSecrets(text: string): string {
  if (!SUSPECT.test(text)) return text;
  let masked = text;
  for (const [pattern, replacement] of SECRET_TEXT) masked = masked.replace(pattern, replacement);
  return masked;
}

/** JSON escapes the C0 controls; the others that a terminal or a viewer obeys are escaped here. */
function escapeLine(line: string): string {
  return line.replace(
    /[\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
