/** Many connections at once, over real sockets: idle ones do not keep anybody out, and none with a request is closed. */
import { once } from 'node:events';
import type { Server, ServerResponse } from 'node:http';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { HTTP_LIMITS } from '../../src/http/limits.ts';
import { createNodeServer } from '../../src/http/node-server.ts';

const CONNECTIONS_MAX = 20;
const open: { sockets: Socket[]; servers: Server[] } = { sockets: [], servers: [] };

afterEach(() => {
  for (const socket of open.sockets.splice(0)) socket.destroy();
  for (const server of open.servers.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

/** Answers at once, and hands `/later` to the test. */
async function serve(): Promise<{ port: number; held: ServerResponse[] }> {
  const held: ServerResponse[] = [];
  const { server, recognise } = createNodeServer(
    (request, response) => {
      if (request.url === '/by-somebody-known') recognise(request.socket);
      if (request.url !== '/later') response.end('here');
      else held.push(response);
    },
    { ...HTTP_LIMITS, connectionsMax: CONNECTIONS_MAX },
  );
  open.servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new TypeError('no port');
  return { port: address.port, held };
}

async function dial(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  open.sockets.push(socket);
  await once(socket, 'connect');
  return socket;
}

async function ask(socket: Socket, path: string): Promise<string> {
  socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`);
  const [chunk] = await once(socket, 'data');
  return String(chunk);
}

describe('a crowd of connections', () => {
  it('lets a newcomer in by closing whoever has been quiet longest', async () => {
    const { port } = await serve();
    const idle: Socket[] = [];
    for (let i = 0; i < CONNECTIONS_MAX * 3; i += 1) idle.push(await dial(port));
    expect(await ask(await dial(port), '/now')).toMatch(/^HTTP\/1\.1 200/);
    await vi.waitFor(() => {
      expect(idle.filter(({ closed }) => closed).length).toBeGreaterThan(CONNECTIONS_MAX);
    });
    // The first to come went first.
    expect(idle[0]?.closed).toBe(true);
    expect(idle.at(-1)?.closed).toBe(false);
  });

  it('never closes one that waits for its answer, nor one that has just had one', async () => {
    const { port, held } = await serve();
    const waiting = await dial(port);
    const answer = ask(waiting, '/later');
    await vi.waitFor(() => expect(held).toHaveLength(1));
    const regular = await dial(port);
    for (let i = 0; i < CONNECTIONS_MAX * 3; i += 1) {
      await dial(port);
      // Whoever speaks now and then is never the one that was quiet longest.
      if (i % 10 === 0) expect(await ask(regular, '/now')).toMatch(/^HTTP\/1\.1 200/);
    }
    held[0]?.end('late');
    expect(await answer).toMatch(/^HTTP\/1\.1 200/);
    expect(regular.closed).toBe(false);
  });

  it('closes strangers, whatever they have just asked, before one on which somebody was recognised', async () => {
    const { port } = await serve();
    const known = await dial(port);
    expect(await ask(known, '/by-somebody-known')).toMatch(/^HTTP\/1\.1 200/);
    const talkative: Socket[] = [];
    for (let i = 0; i < CONNECTIONS_MAX * 3; i += 1) {
      const stranger = await dial(port);
      await ask(stranger, '/now');
      talkative.push(stranger);
    }
    await vi.waitFor(() => {
      expect(talkative.filter(({ closed }) => closed).length).toBeGreaterThan(CONNECTIONS_MAX);
    });
    expect(known.closed).toBe(false);
    expect(await ask(known, '/now')).toMatch(/^HTTP\/1\.1 200/);
  });

  it('closes the quietest of those it knows where there are no strangers', async () => {
    const { port } = await serve();
    const known: Socket[] = [];
    for (let i = 0; i < CONNECTIONS_MAX + 5; i += 1) {
      const socket = await dial(port);
      await ask(socket, '/by-somebody-known');
      known.push(socket);
    }
    await vi.waitFor(() => expect(known.slice(0, 5).every(({ closed }) => closed)).toBe(true));
    expect(known.at(-1)?.closed).toBe(false);
  });
});
