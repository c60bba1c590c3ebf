/**
 * Node's HTTP server with our limits, and a shutdown that no peer can hold up.
 *
 * Once `server.close()` has been called Node no longer looks for requests that are over their time,
 * and a connection that never sent one is not "idle" to it: one silent peer would delay the end by the
 * socket time-out. So while closing, connections with no request in hand are closed here, and all that
 * is left after the grace is cut.
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
  server.maxConnections = limits.connectionsMax;
  server.setTimeout(limits.connectionTimeoutMs);

  server.on('connection', (socket) => {
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
