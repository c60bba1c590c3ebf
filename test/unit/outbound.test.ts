import type { AddressInfo } from 'node:net';
import { connect, createServer } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { InterlockError } from '../../src/errors.ts';
import type {
  Outbound,
  OutboundOptions,
  OutboundRequest,
  OutboundResponse,
} from '../../src/outbound/outbound.ts';
import { createOutbound } from '../../src/outbound/outbound.ts';
import type { HttpTarget } from '../support/http-target.ts';
import { startHttpTarget } from '../support/http-target.ts';
import { selfSigned } from '../support/self-signed.ts';

const SECRET = 'T0PSECRETPATH';

describe('the outbound client', () => {
  let target: HttpTarget;
  const open: Outbound[] = [];
  beforeEach(async () => {
    target = await startHttpTarget();
  });
  afterEach(async () => {
    await Promise.all(open.splice(0).map((outbound) => outbound.close()));
    await target.close();
    vi.unstubAllEnvs();
  });

  const make = (options: Partial<OutboundOptions> = {}): Outbound => {
    const outbound = createOutbound({ allow: ['loopback'], ...options });
    open.push(outbound);
    return outbound;
  };
  const send = (
    outbound: Outbound,
    more: Partial<OutboundRequest> = {},
    signal: AbortSignal = new AbortController().signal,
  ): Promise<OutboundResponse> => {
    const url = `${target.url}/${SECRET}?key=${SECRET}`;
    return outbound.request(
      { url, method: 'POST', body: `{"s":"${SECRET}"}`, timeoutMs: 5_000, ...more },
      signal,
    );
  };
  /** The error of a request that must fail, having looked into every corner of it for the secret. */
  const failure = async (sending: Promise<unknown>): Promise<InterlockError> => {
    const error: unknown = await sending.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    if (!(error instanceof InterlockError))
      throw new Error(`expected an InterlockError, got ${String(error)}`);
    expect(`${error.message} ${error.stack} ${String(error.cause)}`).not.toContain(SECRET);
    return error;
  };

  test('sends what it is given and returns status, headers and body', async () => {
    target.behave({ kind: 'status', status: 418, body: 'short and stout', headers: { 'x-a': '1' } });
    const response = await send(make(), { headers: { 'content-type': 'application/json' } });
    expect(response).toMatchObject({
      status: 418,
      headers: { 'x-a': '1' },
      body: Buffer.from('short and stout'),
    });
    expect(target.received).toHaveLength(1);
    expect(target.received[0]).toMatchObject({ method: 'POST', url: `/${SECRET}?key=${SECRET}` });
    expect(target.received[0]?.headers).toMatchObject({
      'content-type': 'application/json',
      connection: 'close',
    });
    expect(target.received[0]?.body.toString()).toBe(`{"s":"${SECRET}"}`);
  });

  test('returns a redirect as it is and does not follow it', async () => {
    const elsewhere = await startHttpTarget();
    target.behave({ kind: 'status', status: 307, headers: { location: `${elsewhere.url}/` } });
    expect((await send(make())).status).toBe(307);
    expect(elsewhere.received).toHaveLength(0);
    await elsewhere.close();
  });

  test('does not unpack a compressed answer', async () => {
    const packed = gzipSync('x'.repeat(1_000_000)).toString('latin1');
    target.behave({ kind: 'status', status: 200, body: packed, headers: { 'content-encoding': 'gzip' } });
    expect((await send(make())).body.length).toBeLessThan(5_000);
  });

  test.each(['http://example.test/', 'http://10.0.0.1/', 'http://169.254.169.254/', 'http://[fe80::1]/'])(
    'refuses %s before anything is resolved or sent',
    async (url) => {
      const resolve = vi.fn();
      const outbound = make({ resolve });
      expect(await failure(send(outbound, { url }))).toMatchObject({
        code: 'outbound.refused',
        retryable: false,
      });
      expect(resolve).not.toHaveBeenCalled();
      expect(outbound.refusal(url)).toMatch(/is refused/);
    },
  );

  test.each([
    'ftp://127.0.0.1/',
    'file:///etc/passwd',
    'javascript:1',
    'not a url',
    '',
    `http://u:${SECRET}@127.0.0.1/`,
  ])('refuses %j as a URL', async (url) =>
    expect(await failure(send(make(), { url }))).toMatchObject({ code: 'outbound.refused' }),
  );

  test('checks the address of a name at connect time, and dials the address it checked', async () => {
    const answers = [[{ address: '127.0.0.1', family: 4 }], [{ address: '169.254.169.254', family: 4 }]];
    const resolve = vi.fn(async () => answers.shift() ?? []);
    const outbound = make({ allow: ['rebinding.test', 'loopback'], resolve });
    const url = `http://rebinding.test:${target.port}/`;
    expect((await send(outbound, { url })).status).toBe(200);
    expect(target.received[0]?.headers.host).toBe(`rebinding.test:${target.port}`);
    // DNS changed its mind: the next dial asks again and is refused, though a retry may be answered differently.
    expect(await failure(send(outbound, { url }))).toMatchObject({
      code: 'outbound.refused',
      retryable: true,
    });
    expect(resolve).toHaveBeenCalledTimes(2);
    expect(target.received).toHaveLength(1);
  });

  test.each<[string, { address: string; family: number }[]]>([
    [
      'internal and public addresses',
      [
        { address: '127.0.0.1', family: 4 },
        { address: '8.8.8.8', family: 4 },
      ],
    ],
    ['a mapped metadata address', [{ address: '::ffff:169.254.169.254', family: 6 }]],
    ['nothing', []],
    ['nonsense', [{ address: 'localhost', family: 4 }]],
  ])('refuses a name that resolves to %s', async (_name, answer) => {
    const outbound = make({ allow: ['a.test', 'loopback'], resolve: async () => answer });
    const url = `http://a.test:${target.port}/`;
    expect(await failure(send(outbound, { url }))).toMatchObject({ code: 'outbound.refused' });
    expect(target.received).toHaveLength(0);
  });

  test('says unreachable when the name does not resolve, nobody listens, or the connection breaks', async () => {
    const resolve = () => Promise.reject(Object.assign(new Error(`no ${SECRET}`), { code: 'ENOTFOUND' }));
    const unknown = await failure(send(make({ allow: ['a.test'], resolve }), { url: 'https://a.test/' }));
    expect(unknown).toMatchObject({ code: 'outbound.unreachable', retryable: true });
    expect(unknown.message).toContain('ENOTFOUND');

    const silent = createServer().listen(0, '127.0.0.1');
    await vi.waitUntil(() => silent.listening);
    const { port } = silent.address() as AddressInfo;
    silent.close();
    const nobody = await failure(send(make(), { url: `http://127.0.0.1:${port}/` }));
    expect(nobody).toMatchObject({ code: 'outbound.unreachable', retryable: true });
    expect(nobody.message).toContain('ECONNREFUSED');

    target.behave({ kind: 'reset' });
    expect(await failure(send(make()))).toMatchObject({ code: 'outbound.unreachable', retryable: true });
  });

  test.each([{ kind: 'hang' }, { kind: 'drip' }] as const)(
    'ends by the deadline when the other side does $kind',
    async (how) => {
      target.behave(how);
      const error = await failure(send(make(), { timeoutMs: 150 }));
      expect(error).toMatchObject({ code: 'outbound.timeout', retryable: true });
      await vi.waitUntil(() => target.openConnections() === 0);
    },
  );

  test('ends by the deadline when the name never resolves', async () => {
    const outbound = make({ allow: ['a.test'], resolve: () => new Promise(() => undefined) });
    expect(await failure(send(outbound, { url: 'http://a.test/', timeoutMs: 100 }))).toMatchObject({
      code: 'outbound.timeout',
    });
  });

  test('the caller may give up before, while waiting, and while reading', async () => {
    const before = await failure(send(make(), {}, AbortSignal.abort()));
    expect(before).toMatchObject({ code: 'outbound.cancelled' });
    expect(target.received).toHaveLength(0);
    for (const kind of ['hang', 'drip'] as const) {
      target.behave({ kind });
      const controller = new AbortController();
      const sending = failure(send(make(), {}, controller.signal));
      await target.nthRequest(target.received.length + 1);
      controller.abort(new Error(SECRET));
      expect(await sending).toMatchObject({ code: 'outbound.cancelled' });
      await vi.waitUntil(() => target.openConnections() === 0);
    }
  });

  test('closing breaks off what is under way and refuses what comes after', async () => {
    target.behave({ kind: 'hang' });
    const outbound = make();
    const sending = failure(send(outbound));
    await target.nthRequest(1);
    await outbound.close();
    expect(await sending).toMatchObject({ code: 'outbound.cancelled' });
    expect(await failure(send(outbound))).toMatchObject({ code: 'outbound.cancelled' });
  });

  test('caps the answer, by default at 64 KiB', async () => {
    target.behave({ kind: 'oversized', bytes: 65_536 });
    expect((await send(make())).body.length).toBe(65_536);
    target.behave({ kind: 'oversized', bytes: 65_537 });
    expect(await failure(send(make()))).toMatchObject({ code: 'outbound.too-large', retryable: false });
    expect((await send(make(), { maxResponseBytes: 65_537 })).body.length).toBe(65_537);
    target.behave({ kind: 'status', status: 200, headers: { 'x-long': 'x'.repeat(40_000) } });
    expect(await failure(send(make()))).toMatchObject({ code: 'outbound.too-large' });
  });

  test('refuses a header that would break out of its line', async () => {
    const headers = { 'x-a': `1\r\nx-b: ${SECRET}` };
    expect(await failure(send(make(), { headers }))).toMatchObject({ code: 'outbound.refused' });
    expect(target.received).toHaveLength(0);
  });

  test('verifies TLS even where the environment switches that off', async () => {
    vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0');
    const fresh = selfSigned({ notAfter: new Date(Date.now() + 86_400_000) });
    const secure = await startHttpTarget(fresh);
    const url = `${secure.url}/`;
    const stranger = await failure(send(make(), { url }));
    expect(stranger).toMatchObject({ code: 'outbound.unreachable' });
    expect(stranger.message).toMatch(/SELF_SIGNED|UNABLE_TO_VERIFY/);
    expect((await send(make({ tlsCa: [fresh.cert] }), { url })).status).toBe(200);
    const resolve = async () => [{ address: '127.0.0.1', family: 4 }];
    const misnamed = make({ allow: ['other.test', 'loopback'], tlsCa: [fresh.cert], resolve });
    const wrongName = await failure(send(misnamed, { url: `https://other.test:${secure.port}/` }));
    expect(wrongName.message).toContain('ERR_TLS_CERT_ALTNAME_INVALID');
    await secure.close();

    const stale = selfSigned({ notAfter: new Date(Date.now() - 86_400_000) });
    const expired = await startHttpTarget(stale);
    const late = await failure(send(make({ tlsCa: [stale.cert] }), { url: `${expired.url}/` }));
    expect(late.message).toContain('CERT_HAS_EXPIRED');
    await expired.close();
  });

  test('ignores proxy variables', async () => {
    const proxy = await startHttpTarget();
    for (const name of ['HTTP_PROXY', 'http_proxy', 'HTTPS_PROXY', 'ALL_PROXY']) vi.stubEnv(name, proxy.url);
    vi.stubEnv('NODE_USE_ENV_PROXY', '1');
    await send(make());
    expect(target.received).toHaveLength(1);
    expect(proxy.received).toHaveLength(0);
    await proxy.close();
  });

  test('survives an answer that is not HTTP', async () => {
    const babbler = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.end('SSH-2.0-OpenSSH_9.2\r\n');
    }).listen(0, '127.0.0.1');
    await vi.waitUntil(() => babbler.listening);
    const { port } = babbler.address() as AddressInfo;
    expect(await failure(send(make(), { url: `http://127.0.0.1:${port}/` }))).toMatchObject({
      code: 'outbound.unreachable',
    });
    // The port is still there for others: only our connection ended.
    const probe = connect(port, '127.0.0.1');
    await new Promise((resolve) => probe.once('connect', resolve));
    probe.destroy();
    babbler.close();
  });
});
