/**
 * Node's HTTP server with our limits, and a shutdown that no peer can hold up.
 *
 * Once `server.close()` has been called Node no longer looks for requests that are over their time,
 * and a connection that never sent one is not "idle" to it: one silent peer would delay the end by the
 * socket time-out. So while closing, connections with no request in hand are closed here, and all that
 * is left after the grace is cut.
 * When there are as many connections as there may be, the one that has been quiet longest makes room for the next:
 * ten thousand idle sockets must not keep one press of the red button out. A connection with a request in hand is
 * never closed for that.
 * One server per process and address; with Fastify's own, `localhost` would open a second that has
 * neither these limits nor the handler for broken requests.
 */
import { createServer, type RequestListener, type Server } from 'node:http';
import type { Socket } from 'node:net';
import type { HttpLimits } from './limits.ts';

export interface NodeServer {
  server: Server;
  /** To be called before `server.close()`. */
  beginClosing(): void;
}

const LOOK_EACH_MS = 50;
/** A peer that has just connected may be about to press the red button. */
const SILENT_GRACE_MS = 250;
/** Closing takes a moment; in it there are a few more. Beyond them Node refuses. */
const CLOSING_AT_ONCE = 256;

export function createNodeServer(handler: RequestListener, limits: HttpLimits): NodeServer {
  const connections = new Map<Socket, { requests: number; quietSince: number }>();
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

  /** Quiet ones stand in the order in which they fell quiet. */
  function makeRoom(): void {
    for (const [socket, { requests }] of connections) {
      if (requests > 0) continue;
      connections.delete(socket);
      socket.destroy();
      return;
    }
  }

  server.on('connection', (socket) => {
    if (connections.size >= limits.connectionsMax) makeRoom();
    connections.set(socket, { requests: 0, quietSince: performance.now() });
    socket.once('close', () => connections.delete(socket));
  });
  server.prependListener('request', (request, response) => {
    const connection = connections.get(request.socket);
    if (connection === undefined) return;
    connection.requests += 1;
    response.once('close', () => {
      connection.requests -= 1;
      connection.quietSince = performance.now();
      if (!connections.delete(request.socket)) return;
      connections.set(request.socket, connection);
    });
  });

  return {
    server,
    beginClosing() {
      const startedAt = performance.now();
      const timer = setInterval(() => {
        const now = performance.now();
        if (now - startedAt > limits.closeGraceMs) server.closeAllConnections();
        for (const [socket, { requests, quietSince }] of connections) {
          if (requests === 0 && now - quietSince > SILENT_GRACE_MS) socket.destroy();
        }
        if (!server.listening && connections.size === 0) clearInterval(timer);
      }, LOOK_EACH_MS);
      timer.unref();
    },
  };
}
