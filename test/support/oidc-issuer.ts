/** A small OpenID provider: discovery, keys that rotate, tokens as asked for, and outages. */
import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { CompactSign, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose';

export interface TestIssuer {
  readonly url: string;
  /** Requests for keys so far. */
  readonly asked: () => number;
  /** A token as `alg`, with claims over the defaults; undefined leaves a claim out. */
  token(claims?: Record<string, unknown>, header?: Record<string, unknown>): Promise<string>;
  /** Signed as it is, whatever the payload. */
  raw(payload: Uint8Array, header?: Record<string, unknown>): Promise<string>;
  rotate(): Promise<void>;
  publicKey(): JWK;
  /** 'up', or how it fails. */
  answer: 'up' | 'down' | 'garbage' | 'empty' | 'other-issuer';
  stop(): Promise<void>;
  start(): Promise<void>;
}

export async function startIssuer(
  o: { alg?: string; audience?: string; now?: () => Date; tls?: { key: string; cert: string } } = {},
): Promise<TestIssuer> {
  const { alg = 'ES256', audience = 'interlock', now = () => new Date() } = o;
  let asked = 0;
  let serial = 0;
  const make = async () => {
    const pair = await generateKeyPair(alg, { extractable: true });
    serial += 1;
    return { ...pair, jwk: { ...(await exportJWK(pair.publicKey)), kid: `key-${serial}`, alg, use: 'sig' } };
  };
  let key = await make();
  const handler = (
    request: { url?: string | undefined },
    response: import('node:http').ServerResponse,
  ): void => {
    const json = (body: unknown): void =>
      void response.setHeader('content-type', 'application/json').end(JSON.stringify(body));
    if (issuer.answer === 'down') response.writeHead(503).end();
    else if (issuer.answer === 'garbage') response.end('<html>not today</html>');
    else if (request.url === '/.well-known/openid-configuration') {
      json({
        issuer: issuer.answer === 'other-issuer' ? 'https://evil.example' : issuer.url,
        jwks_uri: `${issuer.url}/keys`,
      });
    } else if (request.url === '/keys') {
      asked += 1;
      json({
        keys: issuer.answer === 'empty' ? [] : [{ kty: 'oct', k: 'c2VjcmV0', kid: 'shared' }, key.jwk],
      });
    } else response.writeHead(404).end();
  };
  const server = o.tls === undefined ? createServer(handler) : createSecureServer(o.tls, handler);
  let port = 0;
  const listen = (): Promise<void> =>
    new Promise((resolve) => {
      server.listen(port, '127.0.0.1', () => {
        port = (server.address() as AddressInfo).port;
        resolve();
      });
    });
  await listen();
  const issuer: TestIssuer = {
    url: o.tls === undefined ? `http://127.0.0.1:${port}` : `https://localhost:${port}`,
    answer: 'up',
    asked: () => asked,
    publicKey: () => key.jwk,
    async token(claims = {}, header = {}) {
      const iat = Math.floor(now().getTime() / 1000);
      const all = { iss: issuer.url, aud: audience, sub: 'p1', iat, exp: iat + 600, ...claims };
      const kept = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
      return new SignJWT(kept)
        .setProtectedHeader({ alg, kid: key.jwk.kid, typ: 'JWT', ...header })
        .sign(key.privateKey);
    },
    raw: (payload, header = {}) =>
      new CompactSign(payload).setProtectedHeader({ alg, kid: key.jwk.kid, ...header }).sign(key.privateKey),
    async rotate() {
      key = await make();
    },
    start: listen,
    stop: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
  return issuer;
}
