/**
 * What stands at the other end of a URL may be an enemy's, and so may the DNS in between. Names are resolved by a
 * real server over UDP here, through the same lookup inside the connect that a halt goes through.
 */
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { InterlockError } from '../../src/errors.ts';
import {
  createOutbound,
  type Outbound,
  type OutboundOptions,
  type OutboundRequest,
} from '../../src/outbound/outbound.ts';
import { resolverOf } from '../../src/outbound/resolver.ts';
import { type DnsServer, startDnsServer, type Zone } from '../support/dns-server.ts';
import { type HttpTarget, startHttpTarget } from '../support/http-target.ts';
import { selfSigned } from '../support/self-signed.ts';

const CANARY = 'CANARY-9f2c-of-a-secret';
const never = new AbortController().signal;
const toClose: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  vi.unstubAllEnvs();
  await Promise.all(toClose.splice(0).map((close) => close()));
});

function make(options: Partial<OutboundOptions> = {}): Outbound {
  const outbound = createOutbound({ allow: ['loopback'], ...options });
  toClose.push(() => outbound.close());
  return outbound;
}

async function target(tls?: Parameters<typeof startHttpTarget>[0]): Promise<HttpTarget> {
  const started = await startHttpTarget(tls);
  toClose.push(() => started.close());
  return started;
}

async function dns(zone: Zone): Promise<DnsServer> {
  const started = await startDnsServer(zone);
  toClose.push(() => started.close());
  return started;
}

const send = (outbound: Outbound, url: string, more: Partial<OutboundRequest> = {}) =>
  outbound.request(
    {
      url,
      method: 'POST',
      headers: { authorization: `Bearer ${CANARY}`, 'webhook-signature': `v1,${CANARY}` },
      body: CANARY,
      timeoutMs: 3_000,
      ...more,
    },
    never,
  );

/** The code it failed with; nothing of what was sent may be in what it says. */
async function codeOf(sending: Promise<unknown>): Promise<string> {
  const error: unknown = await sending.then(
    () => new Error('it was answered'),
    (reason: unknown) => reason,
  );
  if (!(error instanceof InterlockError)) throw new Error(`no refusal: ${String(error)}`);
  expect(`${error.message} ${error.stack} ${String(error.cause)}`).not.toContain(CANARY);
  return error.code;
}

/** Answers each connection by hand, byte by byte if it likes. */
async function rawServer(answer: (socket: Socket) => void): Promise<string> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
    socket.once('data', () => answer(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  toClose.push(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, 'close');
  });
  return `http://127.0.0.1:${address.port}`;
}

describe('DNS rebinding, against a real resolver', () => {
  it.each<[string, string]>([
    ['X20 the metadata address', '169.254.169.254'],
    ['X20 the metadata address of another cloud', 'fd00:ec2::254'],
    ['X20 an address of the inside', '10.0.0.7'],
    ['X20 the unspecified address', '0.0.0.0'],
    ['X20 a mapped metadata address', '::ffff:169.254.169.254'],
    ['X20 the metadata address behind NAT64', '64:ff9b::a9fe:a9fe'],
    ['X20 the metadata address behind 6to4', '2002:a9fe:a9fe::1'],
  ])('%s in the second answer is not dialled', async (_what, second) => {
    const honest = await target();
    const server = await dns({ 'rebind.test': [['127.0.0.1'], [second]] });
    const outbound = make({ resolve: resolverOf([server.address]), allow: ['127.0.0.0/8', 'rebind.test'] });
    const url = `http://rebind.test:${honest.port}/halt`;
    expect((await send(outbound, url)).status).toBe(200);
    expect(await codeOf(send(outbound, url))).toBe('outbound.refused');
    expect(honest.received).toHaveLength(1);
    // A life of 0 seconds is believed: both families, asked again for each dial.
    expect([...server.asked].sort()).toEqual([
      'A rebind.test',
      'A rebind.test',
      'AAAA rebind.test',
      'AAAA rebind.test',
    ]);
  });

  it('X20 a public name that turns to loopback is not dialled, though its name is listed', async () => {
    const inside = await target();
    const server = await dns({ 'pager.test': [['8.8.8.8'], ['127.0.0.1']] });
    const resolve = resolverOf([server.address]);
    // The first answer is used up as a checker would that looks before the dial; the dial has the second.
    expect(await resolve('pager.test')).toEqual([{ address: '8.8.8.8', family: 4 }]);
    const outbound = make({ resolve, allow: ['pager.test'] });
    expect(await codeOf(send(outbound, `http://pager.test:${inside.port}/`))).toBe('outbound.refused');
    expect(inside.received).toHaveLength(0);
    expect(inside.openConnections()).toBe(0);
  });

  it.each<[string, readonly string[]]>([
    ['X22 public and loopback', ['8.8.8.8', '127.0.0.1']],
    ['X22 public and metadata', ['8.8.8.8', '169.254.169.254']],
    ['X22 public in one family, inside in the other', ['8.8.8.8', '::1']],
    ['X22 inside and metadata', ['127.0.0.1', 'fe80::1']],
  ])('%s in one answer is refused as a whole', async (_what, answer) => {
    const inside = await target();
    const server = await dns({ 'mixed.test': [answer] });
    const outbound = make({
      resolve: resolverOf([server.address]),
      allow: ['mixed.test', 'loopback', '127.0.0.0/8'],
    });
    expect(await codeOf(send(outbound, `http://mixed.test:${inside.port}/`))).toBe('outbound.refused');
    expect(inside.openConnections()).toBe(0);
  });

  it('X22 a name without address, an unknown name and a resolver that is not there are told apart from an answer', async () => {
    const server = await dns({ 'empty.test': [[]] });
    const allow = ['empty.test', 'unknown.test'];
    const outbound = make({ resolve: resolverOf([server.address]), allow });
    expect(await codeOf(send(outbound, 'http://empty.test/'))).toBe('outbound.refused');
    expect(await codeOf(send(outbound, 'http://unknown.test/'))).toBe('outbound.unreachable');
    const away = make({ resolve: resolverOf(['127.0.0.1:1']), allow });
    expect(await codeOf(send(away, 'http://empty.test/', { timeoutMs: 500 }))).toMatch(
      /^outbound\.(unreachable|timeout)$/,
    );
  });
});

describe('addresses', () => {
  it.each([
    'http://169.254.169.254/latest/meta-data/',
    'http://169.254.169.254./',
    'http://169.254.43518/', // the last part as 16 bits
    'http://2852039166/', // decimal
    'http://0xa9fea9fe/', // hexadecimal
    'http://0xA9.0xFE.0xA9.0xFE/',
    'http://0251.0376.0251.0376/', // octal
    'http://025177524776/',
    'http://[::ffff:169.254.169.254]/',
    'http://[::ffff:a9fe:a9fe]/',
    'http://[0:0:0:0:0:ffff:a9fe:a9fe]/',
    'http://[::169.254.169.254]/', // IPv4-compatible
    'http://[64:ff9b::169.254.169.254]/', // NAT64
    'http://[64:ff9b::a9fe:a9fe]/',
    'http://[64:ff9b:1::a9fe:a9fe]/', // NAT64, local use
    'http://[2002:a9fe:a9fe::]/', // 6to4
    'http://[2001:0:a9fe:a9fe::]/', // Teredo
    'http://[::ffff:0:a9fe:a9fe]/', // stateless translation
    'http://[fe80::1]/',
    'http://[fe80::1%25eth0]/',
    'http://[fe80::1%eth0]/',
    'http://[fd00:ec2::254]/',
    'http://\uff11\uff16\uff19.254.169.254/', // full-width digits
    'http://\u2460\u2465\u2468.254.169.254/', // circled digits
    'http://169\u3002254\u3002169\u3002254/', // ideographic full stops
    'http://169%2e254%2e169%2e254/',
    'http://0.0.0.0/',
    'http://0/',
    'http://[::]/',
    'http://224.0.0.1/',
    'http://255.255.255.255/',
    'http://100.100.100.200/',
    'http://168.63.129.16/',
  ])('X21 refuses %s even where everything is allowed, and says nothing of it', async (url) => {
    const resolve = vi.fn();
    const outbound = make({
      resolve,
      allow: ['0.0.0.0/0', '::/0', '10.0.0.0/8', 'loopback', 'fe80.test'],
    });
    expect(await codeOf(send(outbound, url))).toBe('outbound.refused');
    expect(outbound.refusal(url)).not.toBeNull();
    expect(resolve).not.toHaveBeenCalled();
  });

  it.each([
    'http://127.0.0.1./',
    'http://127.1/',
    'http://0x7f.1/',
    'http://2130706433/',
    'http://017700000001/',
    'http://[::1]/',
    'http://[::ffff:127.0.0.1]/',
    'http://localhost/',
    'http://localhost./',
    'http://\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3/',
    'http://10.0.0.1/',
    'http://192.168.0.1/',
    'http://[fd12::1]/',
  ])('X21 refuses %s where only public hosts are listed', async (url) => {
    const outbound = make({ allow: ['halts.example', '0.0.0.0/0', '::/0'] });
    expect(await codeOf(send(outbound, url, { timeoutMs: 500 }))).toMatch(
      url.includes('localhost.') ? /^outbound\./ : /^outbound\.refused$/,
    );
  });

  it.each([
    'http://evil.example@halts.example.evil.test/',
    'http://halts.example.evil.test/',
    'http://halts\u3002example.evil.test/',
    'http://halts.examp\u0142e/', // a look-alike
    'http://h\u0430lts.example/', // a Cyrillic letter
    'http://halts.example\u200b.test/',
    'http://halts.example:81/',
    'https://halts.example:80/',
    'http://evil.test\\@halts.example/',
    'http://xn--hlts-53d.example/',
  ])('X21 does not take %s for http://halts.example', async (url) => {
    const resolve = vi.fn();
    const outbound = make({ resolve, allow: ['http://halts.example'] });
    const sent = codeOf(send(outbound, url));
    expect(await sent).toMatch(/^outbound\.refused$/);
    expect(resolve).not.toHaveBeenCalled();
  });
});

describe('answers', () => {
  it.each([301, 302, 303, 307, 308])(
    'X23 does not follow a %i, and its credentials go nowhere',
    async (status) => {
      const [first, elsewhere] = [await target(), await target()];
      first.behave({ kind: 'status', status, headers: { location: `${elsewhere.url}/x` } });
      expect((await send(make(), `${first.url}/`)).status).toBe(status);
      expect(elsewhere.received).toHaveLength(0);
    },
  );

  it('X24 keeps no more of a gzip bomb than its packed bytes, and no more of a large answer than the cap', async () => {
    const bomb = gzipSync(Buffer.alloc(20_000_000));
    const url = await rawServer((socket) =>
      socket.end(
        Buffer.concat([
          Buffer.from(
            `HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: ${bomb.length}\r\n\r\n`,
            'latin1',
          ),
          bomb,
        ]),
      ),
    );
    expect((await send(make(), url)).body.equals(bomb)).toBe(true);
    const endless = await rawServer((socket) => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      const more = (): void => {
        while (!socket.destroyed && socket.write(Buffer.alloc(65_536))) {
          // Until the other side takes no more.
        }
      };
      socket.on('drain', more);
      more();
    });
    const before = process.memoryUsage().rss;
    expect(await codeOf(send(make(), endless))).toBe('outbound.too-large');
    expect(process.memoryUsage().rss - before).toBeLessThan(100 * 1024 * 1024);
  });

  it('X24 ends a slow drip of head or body at the deadline', async () => {
    for (const head of ['HTTP/1.1 200 OK\r\nx-a: ', 'HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n']) {
      const url = await rawServer((socket) => {
        socket.write(head);
        const timer = setInterval(() => socket.write('a'), 20);
        socket.on('close', () => clearInterval(timer));
      });
      const from = performance.now();
      expect(await codeOf(send(make(), url, { timeoutMs: 300 }))).toBe('outbound.timeout');
      expect(performance.now() - from).toBeLessThan(2_000);
    }
  });

  it.each<[string, string, RegExp]>([
    [
      'X24 a hundred thousand headers',
      `HTTP/1.1 200 OK\r\n${'a: b\r\n'.repeat(100_000)}\r\n`,
      /too-large|unreachable/,
    ],
    ['X24 one header of 1 MB', `HTTP/1.1 200 OK\r\na: ${'b'.repeat(1_000_000)}\r\n\r\n`, /too-large/],
    [
      'X24 an endless row of interim answers',
      'HTTP/1.1 100 Continue\r\n\r\n'.repeat(50_000),
      /timeout|unreachable/,
    ],
    ['X24 a negative length', 'HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n', /unreachable/],
    ['X24 two lengths', 'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab', /unreachable/],
    ['X24 a chunk of nonsense', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n', /unreachable/],
    ['X24 an answer that is cut', 'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc', /unreachable/],
    [
      'X24 an upgrade nobody asked for',
      'HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n',
      /unreachable|timeout/,
    ],
    ['X24 an answer of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', /unreachable/],
    ['X24 a status of four digits', 'HTTP/1.1 2000 OK\r\n\r\n', /unreachable/],
  ])('%s is a failure and no more', async (_what, answer, code) => {
    const url = await rawServer((socket) => socket.end(answer));
    expect(await codeOf(send(make(), url, { timeoutMs: 1_000 }))).toMatch(code);
  });

  it.each([200, 204])('X24 a second answer behind the first one (%i) is nobody’s', async (status) => {
    const url = await rawServer((socket) =>
      socket.end(
        `HTTP/1.1 ${status} OK\r\n${status === 204 ? '' : 'content-length: 2\r\n'}\r\n${status === 204 ? '' : 'ok'}HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged`,
      ),
    );
    const outcome = await send(make(), url).then(
      ({ body }) => body.toString(),
      (error: unknown) => (error instanceof InterlockError ? error.code : String(error)),
    );
    expect(outcome).not.toContain('forged');
  });
});

describe('TLS', () => {
  const day = 86_400_000;
  const resolve = async () => [{ address: '127.0.0.1', family: 4 }];

  it.each(['0', '1'])('X25 is verified with NODE_TLS_REJECT_UNAUTHORIZED=%s', async (setting) => {
    vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', setting);
    const certificate = selfSigned({ notAfter: new Date(Date.now() + day) });
    const stale = selfSigned({ notAfter: new Date(Date.now() - day) });
    const other = selfSigned({ notAfter: new Date(Date.now() + day) });
    const [secure, expired] = [await target(certificate), await target(stale)];
    const trusting = { tlsCa: [certificate.cert, stale.cert] };
    const url = (host: string, { port }: HttpTarget) => `https://${host}:${port}/`;
    expect((await send(make(trusting), url('127.0.0.1', secure))).status).toBe(200);
    const refusals = {
      'self-signed': () => send(make(), url('127.0.0.1', secure)),
      'of another authority': () => send(make({ tlsCa: [other.cert] }), url('127.0.0.1', secure)),
      expired: () => send(make(trusting), url('127.0.0.1', expired)),
      'for another host': () =>
        send(make({ ...trusting, allow: ['a.test', 'loopback'], resolve }), url('a.test', secure)),
    };
    for (const [what, sending] of Object.entries(refusals)) {
      expect(await codeOf(sending()), what).toBe('outbound.unreachable');
    }
    expect(secure.received).toHaveLength(1);
    expect(expired.received).toHaveLength(0);
  });

  it('X25 a plain server behind https, and https behind http, are failures', async () => {
    const plain = await target();
    expect(await codeOf(send(make(), `https://127.0.0.1:${plain.port}/`))).toBe('outbound.unreachable');
    const secure = await target(selfSigned({ notAfter: new Date(Date.now() + day) }));
    expect(await codeOf(send(make(), `http://127.0.0.1:${secure.port}/`))).toBe('outbound.unreachable');
  });
});

describe('the environment', () => {
  it('X26 names no proxy that is used, whatever is set', async () => {
    const [proxy, honest] = [await target(), await target()];
    for (const name of ['HTTP_PROXY', 'http_proxy', 'HTTPS_PROXY', 'https_proxy', 'ALL_PROXY', 'all_proxy']) {
      vi.stubEnv(name, proxy.url);
    }
    vi.stubEnv('NO_PROXY', '');
    vi.stubEnv('NODE_USE_ENV_PROXY', '1');
    expect((await send(make(), `${honest.url}/`)).status).toBe(200);
    expect(proxy.received).toHaveLength(0);
  });

  it.each([
    `http://user:${CANARY}@127.0.0.1/`,
    `http://${CANARY}@127.0.0.1/`,
    `http://:${CANARY}@127.0.0.1/`,
  ])('X27 a URL with credentials is refused without a word of them', async (url) => {
    const outbound = make();
    expect(await codeOf(send(outbound, url))).toBe('outbound.refused');
    expect(outbound.refusal(url)).not.toContain(CANARY);
  });

  it('X27 a failure says nothing of path, query, headers or body', async () => {
    const outbound = make();
    for (const url of [`http://127.0.0.1:1/${CANARY}?key=${CANARY}`, `http://[::1]:1/${CANARY}`]) {
      expect(await codeOf(send(outbound, url, { timeoutMs: 1_000 }))).toMatch(/^outbound\./);
    }
    expect(outbound.refusal(`ftp://127.0.0.1/${CANARY}`)).not.toContain(CANARY);
    expect(outbound.refusal(`http://not-listed.example/${CANARY}`)).not.toContain(CANARY);
  });
});
