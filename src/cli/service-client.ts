/**
 * The service over HTTP, for the commands that act on it: where it is, who is asking, and its refusals in words.
 *
 * The token never comes as an argument and goes nowhere but to the stated address: redirects are refused.
 * Exit codes: what does not exist, may not be, or contradicts the present state is a "no" (1); everything
 * else that keeps a request from being answered is a failure (2).
 */
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { buttonFiles } from '../button/layout.ts';
import { runningButton } from '../button/running.ts';
import { ConfigurationFile } from '../config/schema.ts';
import { readStrictYaml } from '../config/yaml-file.ts';
import { configPath } from './config-path.ts';
import { EXIT, type ExitCode, ServiceError, UsageError } from './exit.ts';
import { printable } from './output.ts';
import type { Terminal } from './terminal.ts';

export interface ServiceOptions {
  url?: string;
  tokenFile?: string;
  config?: string;
}

export interface ServiceClient {
  readonly url: string;
  get(path: string): Promise<unknown>;
  post(path: string, body: object, timeoutMs?: number): Promise<unknown>;
}

const TIMEOUT_MS = 30_000;

/** A path from its parts; what a person typed cannot become another path. */
export const path = (...parts: readonly string[]): string =>
  `/${parts.map((part) => encodeURIComponent(part)).join('/')}`;

export async function connect(
  options: ServiceOptions,
  terminal: Pick<Terminal, 'env'>,
): Promise<ServiceClient> {
  const url = await serviceUrl(options, terminal);
  const token = await bearerToken(options, terminal);
  const request = async (method: 'GET' | 'POST', at: string, body?: object, timeoutMs = TIMEOUT_MS) => {
    const response = await fetch(`${url}${at}`, {
      method,
      redirect: 'error',
      headers: {
        authorization: `Bearer ${token}`,
        accept: 'application/json',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      body: body === undefined ? null : JSON.stringify(body),
      signal: AbortSignal.timeout(timeoutMs),
    }).catch((error: unknown) => {
      throw unreachable(url, error, method === 'POST');
    });
    const answer = await response.json().catch((): undefined => undefined);
    if (!response.ok) throw refused(response, answer);
    if (answer === undefined) throw notInterlock(url, response.status);
    return answer;
  };
  return {
    url,
    get: (at) => request('GET', at),
    post: (at, body, timeoutMs) => request('POST', at, body, timeoutMs),
  };
}

/** What a command shows of an answer; anything else in it is left alone, so that a newer service can say more. */
export function read<T>(schema: z.ZodType<T>, answer: unknown): T {
  const parsed = schema.safeParse(answer);
  if (parsed.success) return parsed.data;
  const where = parsed.error.issues[0]?.path.join('.') ?? '';
  throw new ServiceError(
    `the service answered something that this version does not understand (at ${printable(where) || 'the top'})`,
    { exit: EXIT.failed, status: 200, code: 'cli.unexpected-answer' },
  );
}

async function serviceUrl(
  { url: stated, config }: ServiceOptions,
  { env }: Pick<Terminal, 'env'>,
): Promise<string> {
  const named = env['INTERLOCK_URL'];
  if (stated !== undefined) return checkedUrl(stated, '--url');
  // A configuration that was asked for wins over the environment's habit.
  if (config === undefined && named !== undefined && named !== '') return checkedUrl(named, 'INTERLOCK_URL');
  const file = configPath(config, env);
  const text = await readFile(file, 'utf8').catch((): null => null);
  if (text === null) {
    throw new UsageError(
      `where is the service? Give --url or INTERLOCK_URL; there is no configuration ${file} to take it from`,
    );
  }
  const yaml = readStrictYaml(text);
  const parsed = yaml.ok ? ConfigurationFile.safeParse(yaml.yaml.value) : null;
  if (parsed?.success !== true) {
    throw new UsageError(`${file} has problems; give --url, or see them with \`interlock serve\``);
  }
  const { host, port, publicUrl } = parsed.data.server;
  if (publicUrl !== undefined) return checkedUrl(publicUrl, 'server.publicUrl');
  if (port === 0) throw new UsageError(`${file} leaves the port open (0); give --url`);
  return urlOf(host, port);
}

function urlOf(host: string, port: number): string {
  const reachable = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
  return `http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}`;
}

/** The red button's own door: as stated, else where the process on this machine is, else as configured. */
export async function buttonUrl(
  { button: stated, config }: ServiceOptions & { button?: string },
  { env }: Pick<Terminal, 'env'>,
): Promise<string> {
  const named = env['INTERLOCK_BUTTON_URL'];
  if (stated !== undefined) return checkedUrl(stated, '--button');
  if (config === undefined && named !== undefined && named !== '') {
    return checkedUrl(named, 'INTERLOCK_BUTTON_URL');
  }
  const file = configPath(config, env);
  const text = await readFile(file, 'utf8').catch((): null => null);
  const yaml = text === null ? null : readStrictYaml(text);
  const parsed = yaml?.ok === true ? ConfigurationFile.safeParse(yaml.yaml.value) : null;
  if (parsed?.success !== true) {
    throw new ServiceError('the red button has no address here; give --button', {
      exit: EXIT.failed,
      status: null,
      code: 'cli.no-button',
    });
  }
  const { button, server, dataDir } = parsed.data;
  const running = runningButton(buttonFiles(resolve(dirname(file), dataDir)));
  if (running !== null) return running.url;
  return urlOf(button.host ?? server.host, button.port);
}

export function checkedUrl(text: string, from: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  const isPlain =
    url !== null && url.username === '' && url.password === '' && url.search === '' && url.hash === '';
  if (!isPlain || !['http:', 'https:'].includes(url.protocol)) {
    throw new UsageError(`${from} must be an http or https URL without credentials or query`);
  }
  return url.href.replace(/\/+$/, '');
}

export async function bearerToken(
  { tokenFile }: ServiceOptions,
  { env }: Pick<Terminal, 'env'>,
): Promise<string> {
  const named = env['INTERLOCK_TOKEN'] ?? '';
  if (tokenFile === undefined && named === '') {
    throw new UsageError(
      'who is asking? Put the bearer token into INTERLOCK_TOKEN, or into a file named with --token-file',
    );
  }
  const token = (tokenFile === undefined ? named : await readFile(tokenFile, 'utf8')).trim();
  if (!/^[\x21-\x7e]{1,4096}$/.test(token)) {
    throw new UsageError(`${tokenFile ?? 'INTERLOCK_TOKEN'} does not hold one bearer token`);
  }
  return token;
}

const Problem = z.looseObject({
  title: z.string(),
  detail: z.string().optional(),
  instance: z.string().optional(),
  errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
});

function refused(response: Response, answer: unknown): ServiceError {
  const { status } = response;
  const problem = Problem.safeParse(answer);
  const exit: ExitCode = [403, 404, 409].includes(status) ? EXIT.negative : EXIT.failed;
  const message = problem.success
    ? problemText(problem.data, status, response.headers.get('retry-after'))
    : `the service answered ${status} without saying why; is there an Interlock at this address?`;
  return new ServiceError(message, { exit, status, code: 'cli.refused' });
}

export function problemText(
  problem: z.infer<typeof Problem>,
  status: number,
  retryAfter: string | null,
): string {
  const { title, detail, instance, errors = [] } = problem;
  const isRepeated = errors.some(({ path: at, message }) => detail === `${at}: ${message}`);
  return [
    `${printable(title)} (${status})`,
    ...(detail === undefined || isRepeated ? [] : [`  ${printable(detail)}`]),
    ...errors.map((error) => `  ${printable(error.path)}: ${printable(error.message)}`),
    ...(status === 401 ? ['  the token is not one that this service knows'] : []),
    ...(retryAfter !== null && /^\d{1,6}$/.test(retryAfter) ? [`  try again in ${retryAfter} s`] : []),
    ...(status >= 500 && instance !== undefined ? [`  quote ${printable(instance)} to the operator`] : []),
  ].join('\n');
}

function unreachable(url: string, error: unknown, mayHaveActed: boolean): ServiceError {
  const { cause } = error instanceof Error ? error : { cause: undefined };
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  const timedOut = error instanceof Error && error.name === 'TimeoutError';
  const why = timedOut ? 'no answer in time' : code === '' ? 'no connection, or a redirect' : code;
  return new ServiceError(
    `the service at ${url} cannot be reached (${why})${mayHaveActed ? '; whether it acted is not known' : ''}`,
    {
      exit: EXIT.failed,
      status: null,
      code: 'cli.unreachable',
    },
  );
}

function notInterlock(url: string, status: number): ServiceError {
  return new ServiceError(`${url} answered ${status} with something that is not JSON`, {
    exit: EXIT.failed,
    status,
    code: 'cli.unexpected-answer',
  });
}
