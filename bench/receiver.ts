/** A webhook receiver in this process that knows when each path was called. */
import { createServer } from 'node:http';

export interface Receiver {
  readonly url: string;
  /** Resolves with the instant (performance.now) at which this path is first called from now on. */
  arrival(path: string): Promise<number>;
  close(): Promise<void>;
}

export async function startReceiver(): Promise<Receiver> {
  const waiting = new Map<string, (atMs: number) => void>();
  const server = createServer((request, response) => {
    const path = request.url ?? '';
    waiting.get(path)?.(performance.now());
    waiting.delete(path);
    request.resume();
    response.end('{}');
  });
  await new Promise<void>((resolve) =>
    server.listen({ port: 0, host: '127.0.0.1', backlog: 4_096 }, resolve),
  );
  const address = server.address();
  if (address === null || typeof address === 'string') throw new TypeError('no port');
  return {
    url: `http://127.0.0.1:${address.port}`,
    arrival: (path) => new Promise((resolve) => waiting.set(path, resolve)),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
