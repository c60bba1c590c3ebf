/** What the tests of the conformance vectors share: the files, and a stand-in that answers what a vector says. */
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import { z } from 'zod';

const directory = new URL('../../clients/conformance/', import.meta.url);
export const read = (name: string): string => readFileSync(new URL(name, directory), 'utf8');
export const vectors = <S extends z.ZodType>(name: string, schema: S): z.output<S> =>
  schema.parse(JSON.parse(read(name)));

export interface Answer {
  status: number;
  text: string;
  retryAfter?: string;
}

/** A server on loopback; null cuts the connection. */
export async function serve(answer: (request: IncomingMessage, body: Buffer) => Answer | null) {
  const httpServer = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const said = answer(request, Buffer.concat(chunks));
      if (said === null) return void request.socket.destroy();
      const headers = said.retryAfter === undefined ? {} : { 'retry-after': said.retryAfter };
      response.writeHead(said.status, { connection: 'close', location: '/elsewhere', ...headers });
      response.end(said.text);
    });
  });
  await new Promise<void>((resolve) => httpServer.listen(0, '127.0.0.1', resolve));
  const { port } = z.object({ port: z.number() }).parse(httpServer.address());
  return {
    url: `http://127.0.0.1:${port}`,
    close: () =>
      new Promise<void>((resolve) => {
        httpServer.close(() => resolve());
        httpServer.closeAllConnections();
      }),
  };
}
