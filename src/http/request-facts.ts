/** What can be told of a request from its headers alone. */
import { randomUUID } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import { HTTP_LIMITS } from './limits.ts';

const CORRELATION_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{7,63}$/;

/** A caller may join its own trace by a plain id; anything else is replaced, not repaired. */
export function correlationIdOf(header: string | string[] | undefined): string {
  return typeof header === 'string' && CORRELATION_ID.test(header) ? header : randomUUID();
}

export function hasOneHost({ raw }: FastifyRequest): boolean {
  const hosts = raw.rawHeaders.filter((name, at) => at % 2 === 0 && name.toLowerCase() === 'host').length;
  return hosts === 1 || (hosts === 0 && raw.httpVersion === '1.0');
}

export function hasShortBody({ headers }: FastifyRequest): boolean {
  return Number(headers['content-length']) <= HTTP_LIMITS.bodyLimitBytes;
}

export function hasBody(request: FastifyRequest): boolean {
  const length = request.headers['content-length'];
  return request.headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0');
}
