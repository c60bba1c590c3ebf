/**
 * Answers written by hand, for what never became a request: bytes that are no HTTP, and what Node would settle alone.
 *
 * Each is a problem document with the headers of every other answer, is counted, and ends its connection.
 */
import { randomUUID } from 'node:crypto';
import { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { PROBLEM_MEDIA_TYPE } from './problem.ts';
import { SECURITY_HEADERS } from './security-headers.ts';

const BROKEN_HEADERS = Object.entries(SECURITY_HEADERS)
  .map(([name, value]) => `${name}: ${value}\r\n`)
  .join('');

/** What Node could not even parse as HTTP; there is no request, so the answer is written by hand. */
export function answerBrokenRequest(
  error: NodeJS.ErrnoException,
  socket: Socket,
  count: (code: string, status: number) => void,
): void {
  // In the middle of an answer there is no room for another; Node's own handler looks at the same field.
  const answering: unknown = Reflect.get(socket, '_httpMessage');
  const isMidAnswer = answering instanceof ServerResponse && answering.headersSent;
  if (error.code === 'ECONNRESET' || !socket.writable || isMidAnswer) {
    socket.destroy();
    return;
  }
  answerByHand(socket, BROKEN[error.code ?? ''] ?? NOT_HTTP, count);
}

type ByHand = readonly [status: number, phrase: string, code: string, title: string];
export const NOT_HTTP: ByHand = [400, 'Bad Request', 'malformed-http', 'The request is not valid HTTP'];
export const EXPECTATION_FAILED: ByHand = [
  417,
  'Expectation Failed',
  'expectation-failed',
  'Nothing but 100-continue can be expected',
];
const BROKEN: Readonly<Record<string, ByHand>> = {
  HPE_HEADER_OVERFLOW: [
    431,
    'Request Header Fields Too Large',
    'headers-too-large',
    'The headers are too large',
  ],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: [413, 'Content Too Large', 'body-too-large', 'The body is too large'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'Request Timeout', 'request-timeout', 'The request did not arrive in time'],
};

export function answerByHand(
  socket: Duplex | null,
  [status, phrase, code, title]: ByHand,
  count: (code: string, status: number) => void,
): void {
  count(code, status);
  const body = JSON.stringify({
    type: `urn:interlock:problem:${code}`,
    title,
    status,
    instance: `urn:interlock:request:${randomUUID()}`,
  });
  socket?.end(
    `HTTP/1.1 ${status} ${phrase}\r\nconnection: close\r\n${BROKEN_HEADERS}content-type: ${PROBLEM_MEDIA_TYPE}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}
