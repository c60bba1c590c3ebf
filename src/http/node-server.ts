/**
 * Node's HTTP server with our limits, and a shutdown that no peer can hold up.
 *
 * Once `server.close()` has been called Node no longer looks for requests that are over their time,
 * and a connection that never sent one is not "idle" to it: one silent peer would delay the end by the
 * socket time-out. So while closing, connections with no request in hand are closed here, and all that
 * is left after the grace is cut.
 * When there are as many connections as there may be, one makes room for the next: ten thousand idle sockets must not
 * keep one press of the red button out. Of strangers the one that has been quiet longest; where there are none, of those
 * that somebody was recognised on. A connection with a request in hand is never closed for that.
 * One server per process and address; with Fastify's own, `localhost` would open a second that has
 * neither these limits nor the handler for broken requests.
 */
import { createServer, type RequestListener, type Server } from 'node:http';
import type { Socket } from 'node:net';
import type { HttpLimits } from './limits.ts';

export interface NodeServer {
  server: Server;
  /** Somebody we know speaks on it: it makes room after all strangers. */
  recognise(socket: Socket): void;
  /** To be called before `server.close()`. */
  beginClosing(): void;
}

const LOOK_EACH_MS = 50;
/** A peer that has just connected may be about to press the red button. */
const SILENT_GRACE_MS = 250;
/** Closing takes a moment; in it there are a few more. Beyond them Node refuses. */
const CLOSING_AT_ONCE = 256;

interface Connection {
  requests: number;
  quietSince: number;
}

export function createNodeServer(handler: RequestListener, limits: HttpLimits): NodeServer {
  /** Each in the order in which they fell quiet. */
  const strangers = new Map<Socket, Connection>();
  const recognised = new Map<Socket, Connection>();
  const tierOf = (socket: Socket): Map<Socket, Connection> =>
    recognised.has(socket) ? recognised : strangers;
  const server = createServer(
    {
      headersTimeout: limits.headersTimeoutMs,
      requestTimeout: limits.requestTimeoutMs,
      keepAliveTimeout: limits.keepAliveTimeoutMs,
      connectionsCheckingInterval: limits.connectionsCheckIntervalMs,
      maxHeaderSize: limits.headerBytesMax,
      insecureHTTPParser: false,
      // Checked by us: Node's own refusal is an empty one.
      requireHostHeader: false,
    },
    handler,
  );
  server.maxRequestsPerSocket = limits.requestsPerSocketMax;
  server.maxConnections = limits.connectionsMax + CLOSING_AT_ONCE;
  server.setTimeout(limits.connectionTimeoutMs);

  function makeRoom(): void {
    for (const tier of [strangers, recognised]) {
      for (const [socket, { requests }] of tier) {
        if (requests > 0) continue;
        tier.delete(socket);
        socket.destroy();
        return;
      }
    }
  }

  server.on('connection', (socket) => {
    if (strangers.size + recognised.size >= limits.connectionsMax) makeRoom();
    strangers.set(socket, { requests: 0, quietSince: performance.now() });
    socket.once('close', () => tierOf(socket).delete(socket));
  });
  server.prependListener('request', (request, response) => {
    const connection = tierOf(request.socket).get(request.socket);
    if (connection === undefined) return;
    connection.requests += 1;
    response.once('close', () => {
      connection.requests -= 1;
      connection.quietSince = performance.now();
      const tier = tierOf(request.socket);
      if (!tier.delete(request.socket)) return;
      tier.set(request.socket, connection);
    });
  });

  return {
    server,
    recognise(socket) {
      const connection = strangers.get(socket);
      if (connection === undefined) return;
      strangers.delete(socket);
      recognised.set(socket, connection);
    },
    beginClosing() {
      const startedAt = performance.now();
      const timer = setInterval(() => {
        const now = performance.now();
        if (now - startedAt > limits.closeGraceMs) server.closeAllConnections();
        for (const [socket, { requests, quietSince }] of [...strangers, ...recognised]) {
          if (requests === 0 && now - quietSince > SILENT_GRACE_MS) socket.destroy();
        }
        if (!server.listening && strangers.size + recognised.size === 0) clearInterval(timer);
      }, LOOK_EACH_MS);
      timer.unref();
    },
  };
}
