/**
 * Bytes as no client library would send them, to a whole service: each is answered once, or the connection ends; a
 * refused one moves nothing, is counted, and is not the beginning of another request.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { HTTP_LIMITS } from '../../src/http/limits.ts';
import { Problem } from '../../src/http/problem.ts';
import { type HostileScene, startHostileScene } from '../support/hostile-scene.ts';
import { soon } from '../support/run-driver.ts';

let scene: HostileScene;
let port = 0;
const sockets = new Set<Socket>();
/** Those that take their ten seconds, begun at once so that they take them together. */
const slow = new Map<string, Promise<{ answer: string; afterMs: number }>>();

beforeAll(async () => {
  scene = await startHostileScene();
  port = Number(new URL(scene.interlock.url).port);
  slow.set('A03', timed([head('POST /v1/checkpoints', 'Content-Length: 400')], '{'));
  slow.set('A04', timed(['GET /healthz HTTP/1.1\r\nHost: x\r\nx-a: '], 'a'));
  slow.set('A11', timed([], null));
});

afterAll(async () => {
  for (const socket of sockets) socket.destroy();
  await scene?.close();
});

function open(allowHalfOpen = false): { socket: Socket; answer: () => string; closed: Promise<unknown> } {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen });
  sockets.add(socket);
  let answer = '';
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    answer += chunk;
  });
  // A server that has answered and closed may reset what is still being sent: the answer is what counts.
  socket.on('error', () => undefined);
  return { socket, answer: () => answer, closed: new Promise((done) => socket.once('close', done)) };
}

async function timed(chunks: string[], drip: string | null): Promise<{ answer: string; afterMs: number }> {
  const from = performance.now();
  const { socket, answer, closed } = open();
  for (const chunk of chunks) socket.write(chunk);
  const timer = drip === null ? null : setInterval(() => socket.write(drip), 500);
  await closed;
  if (timer !== null) clearInterval(timer);
  return { answer: answer(), afterMs: performance.now() - from };
}

/** All that comes back until the server closes. */
async function exchange(...chunks: (string | Buffer)[]): Promise<string> {
  const { socket, answer, closed } = open();
  for (const chunk of chunks) socket.write(chunk);
  await closed;
  return answer();
}

function head(request: string, ...lines: string[]): string {
  return [
    `${request} HTTP/1.1`,
    'Host: x',
    `Authorization: Bearer ${scene.interlock.tokens['trainer']}`,
    'Content-Type: application/json',
    ...lines,
    '',
    '',
  ].join('\r\n');
}

const report = (checkpointId: string): string =>
  JSON.stringify({
    runId: scene.quiet.runId,
    checkpointId,
    effectiveCompute: '1.5e21',
    modelUri: 's3://b/c',
  });

/** The one answer, a problem document unless it is not meant to be. */
function problemIn(answer: string, status: number): void {
  expect(answer.match(/HTTP\/1\.1 \d{3} /g), answer.slice(0, 400)).toEqual([`HTTP/1.1 ${status} `]);
  expect(answer).toMatch(/content-type: application\/problem\+json/i);
  const body = answer.slice(answer.indexOf('\r\n\r\n') + 4);
  expect(Problem.parse(JSON.parse(body)).status).toBe(status);
}

const POST = 'POST /v1/checkpoints';
const chunked = (...chunks: string[]): string[] => [head(POST, 'Transfer-Encoding: chunked'), ...chunks];
const big = (): string => 'x'.repeat(HTTP_LIMITS.bodyLimitBytes + 1);

describe('framing', () => {
  it.each<[string, () => (string | Buffer)[], number]>([
    [
      'A01 a length and chunks',
      () => [head(POST, 'Content-Length: 5', 'Transfer-Encoding: chunked'), '0\r\n\r\n'],
      400,
    ],
    [
      'A01 chunks and a length',
      () => [head(POST, 'Transfer-Encoding: chunked', 'Content-Length: 5'), '0\r\n\r\n'],
      400,
    ],
    ['A01 an encoding that hides', () => [head(POST, 'Transfer-Encoding: xchunked'), '0\r\n\r\n'], 400],
    ['A01 chunked twice', () => [head(POST, 'Transfer-Encoding: chunked, chunked'), '0\r\n\r\n'], 400],
    [
      'A01 chunked with gzip',
      () => [head(POST, 'Transfer-Encoding: gzip, chunked', 'Connection: close'), '0\r\n\r\n'],
      400,
    ],
    ['A02 two lengths', () => [head(POST, 'Content-Length: 2', 'Content-Length: 3'), '{}'], 400],
    ['A02 two lengths in one', () => [head(POST, 'Content-Length: 2, 2'), '{}'], 400],
    ['A02 a negative length', () => [head(POST, 'Content-Length: -1')], 400],
    ['A02 a length in hexadecimal', () => [head(POST, 'Content-Length: 0x2'), '{}'], 400],
    ['A02 a length with a plus', () => [head(POST, 'Content-Length: +2'), '{}'], 400],
    ['A02 a length beyond numbers', () => [head(POST, `Content-Length: ${'9'.repeat(30)}`), '{}'], 400],
    [
      'A05 a length over the limit',
      () => [head(POST, `Content-Length: ${HTTP_LIMITS.bodyLimitBytes + 1}`)],
      413,
    ],
    ['A05 chunks over the limit', () => chunked(`${big().length.toString(16)}\r\n${big()}\r\n`), 413],
    [
      'A06 headers over the limit',
      () => [head(POST, `X-Large: ${'x'.repeat(HTTP_LIMITS.headerBytesMax)}`)],
      431,
    ],
    [
      'A07 text',
      () => [
        head(POST, 'Content-Length: 2', 'Connection: close').replace('application/json', 'text/plain'),
        '{}',
      ],
      415,
    ],
    [
      'A08 a space in front',
      () => [
        head(POST, 'Content-Length: 2', 'Connection: close').replace(
          'Type: application/json',
          'Type: x/y application/json',
        ),
        '{}',
      ],
      415,
    ],
    [
      'A08 a tab and more',
      () => [
        head(POST, 'Content-Length: 2', 'Connection: close').replace(
          'application/json',
          'application/json\ta',
        ),
        '{}',
      ],
      415,
    ],
    [
      'A08 two media types',
      () => [
        head(POST, 'Content-Length: 2', 'Connection: close', 'Content-Type: text/plain').replace(
          'application/json',
          'application/json, text/plain',
        ),
        '{}',
      ],
      415,
    ],
    [
      'A08 an empty media type',
      () => [head(POST, 'Content-Length: 2', 'Connection: close').replace('application/json', ''), '{}'],
      415,
    ],
    [
      'A09 gzip',
      () => [head(POST, 'Content-Length: 2', 'Connection: close', 'Content-Encoding: gzip'), '{}'],
      415,
    ],
    [
      'A09 identity, and anything else said of the coding',
      () => [head(POST, 'Content-Length: 2', 'Connection: close', 'Content-Encoding: identity, br'), '{}'],
      415,
    ],
    [
      'A10 GET with a body',
      () => [head('GET /v1/runs', 'Content-Length: 2', 'Connection: close'), '{}'],
      400,
    ],
    [
      'A10 GET with chunks',
      () => [head('GET /v1/runs', 'Transfer-Encoding: chunked', 'Connection: close'), '2\r\n{}\r\n0\r\n\r\n'],
      400,
    ],
    ['A10 PUT', () => [head('PUT /v1/checkpoints', 'Content-Length: 2', 'Connection: close'), '{}'], 405],
    ['A10 TRACE', () => [head('TRACE /v1/checkpoints', 'Connection: close')], 405],
    ['A10 a method of nobody', () => [head('HALT /v1/halt', 'Connection: close')], 400],
    ['A10 a method in lower case', () => [head('post /v1/checkpoints', 'Connection: close')], 400],
    [
      'A10 another method in a header',
      () => [head('GET /v1/halt', 'X-HTTP-Method-Override: POST', 'Connection: close')],
      405,
    ],
    [
      'X02 a folded header',
      () => [head(POST, 'X-A: b', ' c', 'Content-Length: 2', 'Connection: close'), '{}'],
      400,
    ],
    ['X02 a folded length', () => [head(POST, 'Content-Length:', ' 2', 'Connection: close'), '{}'], 400],
    ['X03 line feeds alone', () => ['GET /healthz HTTP/1.1\nHost: x\n\n'], 400],
    ['X03 carriage returns alone', () => ['GET /healthz HTTP/1.1\rHost: x\r\r'], 400],
    [
      'X03 a carriage return in a value',
      () => ['GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: b\rc\r\n\r\n'],
      400,
    ],
    [
      'X04 a request target of another site is our own path',
      () => ['GET http://evil.example/v1/runs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'],
      401,
    ],
    ['X04 an authority', () => ['CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n'], 400],
    ['X04 an asterisk', () => ['OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'], 404],
    [
      'X04 two slashes',
      () => ['GET //evil.example/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'],
      404,
    ],
    ['X04 steps up', () => ['GET /v1/../healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'], 404],
    ['X04 a space in the target', () => ['GET /healthz evil HTTP/1.1\r\nHost: x\r\n\r\n'], 400],
    [
      'X04 percent and nothing',
      () => ['GET /v1/runs/% HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'],
      400,
    ],
    ['X05 no Host', () => ['GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n'], 400],
    [
      'X05 two Hosts',
      () => ['GET /healthz HTTP/1.1\r\nHost: a\r\nHost: a\r\nConnection: close\r\n\r\n'],
      400,
    ],
    ['X06 a chunk of no size', () => chunked('zz\r\n{}\r\n0\r\n\r\n'), 400],
    ['X06 a chunk of negative size', () => chunked('-2\r\n{}\r\n0\r\n\r\n'), 400],
    ['X06 a chunk in hexadecimal with its prefix', () => chunked('0x2\r\n{}\r\n0\r\n\r\n'), 400],
    ['X06 a chunk beyond numbers', () => chunked(`${'f'.repeat(20)}\r\n{}\r\n`), 400],
    ['X06 a chunk longer than it says', () => chunked('1\r\n{}\r\n0\r\n\r\n'), 400],
    ['X06 a line feed behind a size', () => chunked('2\n{}\r\n0\r\n\r\n'), 400],
    [
      'X06 a megabyte of chunk extensions',
      () => chunked(`2;${'a'.repeat(1_000_000)}\r\n{}\r\n0\r\n\r\n`),
      413,
    ],
    ['X07 a NUL in a header', () => ['GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: a\0b\r\n\r\n'], 400],
    ['X07 a space before the colon', () => ['GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n'], 400],
    ['X07 a name of other letters', () => ['GET /healthz HTTP/1.1\r\nHost: x\r\nX(A): a\r\n\r\n'], 400],
    ['X07 no name', () => ['GET /healthz HTTP/1.1\r\nHost: x\r\n: a\r\n\r\n'], 400],
    [
      'X07 two thousand headers',
      () => [
        `GET /healthz HTTP/1.1\r\nHost: x\r\n${Array.from({ length: 2_000 }, (_, i) => `a${i}: b`).join('\r\n')}\r\n\r\n`,
      ],
      431,
    ],
    ['X08 the preface of HTTP/2', () => ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'], 400],
    ['X08 HTTP/0.9', () => ['GET /healthz\r\n\r\n'], 400],
    ['X08 HTTP/3.0', () => ['GET /healthz HTTP/3.0\r\nHost: x\r\n\r\n'], 400],
    ['X08 a TLS greeting', () => [Buffer.from('16030100a5010000a10303', 'hex'), Buffer.alloc(160, 1)], 400],
    ['X08 a mail', () => ['EHLO evil.example\r\nMAIL FROM:<a@b>\r\n'], 400],
    ['X08 a query of Redis', () => ['*1\r\n$8\r\nFLUSHALL\r\n'], 400],
    [
      'X10 another expectation',
      () => [head(POST, 'Expect: 200-ok', 'Content-Length: 2', 'Connection: close'), '{}'],
      417,
    ],
  ])('%s is refused once, moves nothing and is counted', async (_what, chunks, status) => {
    const answer = await scene.unmoved(1, () => exchange(...chunks()));
    problemIn(answer, status);
  });

  it('A05 exactly the limit is not too large', async () => {
    const body = '{'.padEnd(HTTP_LIMITS.bodyLimitBytes, ' ');
    problemIn(await exchange(head(POST, `Content-Length: ${body.length}`, 'Connection: close'), body), 400);
  });

  it('X06 chunks with small extensions and a trailer are one body, and the trailer is no header', async () => {
    const text = report(`trailed-${Date.now()}`);
    const answer = await exchange(
      head(POST, 'Transfer-Encoding: chunked', 'Connection: close'),
      `${text.length.toString(16)};a=b\r\n${text}\r\n0\r\nAuthorization: Bearer x\r\nX-HTTP-Method-Override: PUT\r\n\r\n`,
    );
    expect(answer).toMatch(/^HTTP\/1\.1 202 /);
  });

  it('X09 an upgrade is answered as what it is: a request like any other', async () => {
    for (const protocol of ['websocket', 'h2c', 'TLS/1.3']) {
      const answer = await exchange(
        `GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: ${protocol}\r\nSec-WebSocket-Key: AAAA\r\nHTTP2-Settings: AAAA\r\n\r\n`,
      );
      expect(answer).toMatch(/^HTTP\/1\.1 200 /);
      expect(answer).not.toMatch(/101 |upgrade:/i);
    }
  });

  it('X10 a client that asks before it sends too much is not told to go on', async () => {
    const declared = 10 * 1024 * 1024;
    const answer = await scene.unmoved(1, () =>
      exchange(head(POST, 'Expect: 100-continue', `Content-Length: ${declared}`)),
    );
    expect(answer).toMatch(/HTTP\/1\.1 413 /);
  });

  it('X04 our own address in the absolute form is our own path', async () => {
    const answer = await exchange('GET http://x/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    expect(answer).toMatch(/^HTTP\/1\.1 (200|404) /);
  });
});

describe('connections', () => {
  it('X01 a hundred requests behind a refused one on the same connection are not begun', async () => {
    const smuggled = (i: number): string => {
      const text = report(`smuggled-${i}`);
      return `${head(POST, `Content-Length: ${text.length}`)}${text}`;
    };
    const bad = head(POST, 'Content-Length: 5', 'Transfer-Encoding: chunked');
    const answer = await scene.unmoved(1, () =>
      exchange(`${bad}0\r\n\r\n${Array.from({ length: 100 }, (_, i) => smuggled(i)).join('')}`),
    );
    problemIn(answer, 400);
  });

  it('X01 requests in one piece are answered one by one, in order, a refused one among them', async () => {
    const get = (path: string, ...lines: string[]) =>
      `GET ${path} HTTP/1.1\r\nHost: x\r\n${lines.join('')}\r\n`;
    const answer = await exchange(
      get('/healthz') + get('/nothing') + get('/v1/runs') + get('/healthz', 'Connection: close\r\n'),
    );
    expect(answer.match(/HTTP\/1\.1 \d{3}/g)).toEqual([
      'HTTP/1.1 200',
      'HTTP/1.1 404',
      'HTTP/1.1 401',
      'HTTP/1.1 200',
    ]);
  });

  it('X11 a client that has said all it has to say still gets its answer', async () => {
    const { socket, answer, closed } = open(true);
    socket.end('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
    await closed;
    expect(answer()).toMatch(/^HTTP\/1\.1 200 /);
  });

  it('A12 a client that leaves after the commit finds its report kept, and the retry gets the same answer', async () => {
    const checkpointId = 'left-early';
    const text = report(checkpointId);
    const { socket, closed } = open();
    socket.write(`${head(POST, `Content-Length: ${text.length}`)}${text}`);
    // Gone as soon as the bytes are: whether before or after the commit is the service's affair.
    await once(socket, 'connect');
    await soon(async () => {
      const events = await scene.quiet.events();
      expect(events.some(({ data }) => data['checkpointId'] === checkpointId)).toBe(true);
    });
    socket.resetAndDestroy();
    await closed;
    const again = await scene.interlock.call('POST', '/v1/checkpoints', { as: 'trainer', raw: text });
    expect(again.status, again.text).toBe(200);
    expect(again.body).toMatchObject({ checkpointId, disposition: 'recorded' });
    const third = await scene.interlock.call('POST', '/v1/checkpoints', { as: 'trainer', raw: text });
    expect(third.body).toEqual(again.body);
    const kinds = (await scene.quiet.events()).filter(({ data }) => data['checkpointId'] === checkpointId);
    expect(kinds).toHaveLength(1);
  });

  it('A03 A04 A11 what does not come in time is ended, and others are served meanwhile', async () => {
    const others = vi.fn();
    for (let i = 0; i < 20; i += 1) {
      const from = performance.now();
      expect((await scene.interlock.call('GET', '/healthz')).status).toBe(200);
      others(performance.now() - from);
    }
    expect(others).toHaveBeenCalledTimes(20);
    for (const [id, ending] of slow) {
      const { answer, afterMs } = await ending;
      expect(afterMs, id).toBeLessThan(25_000);
      if (id === 'A11') expect(answer).toMatch(/^(HTTP\/1\.1 408 [\s\S]*)?$/);
      else problemIn(answer, 408);
    }
    await scene.alive();
  });
});
