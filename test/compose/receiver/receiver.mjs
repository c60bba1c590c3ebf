/**
 * A webhook target on the compose network: keeps every POST as it came, GET gives them all.
 * It believes everything; the test outside checks signatures over the very bytes.
 */
import { createServer } from 'node:http';

const posts = [];
const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  if (request.method === 'POST') {
    posts.push({ rawHeaders: request.rawHeaders, body: Buffer.concat(chunks).toString('base64') });
  }
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify(request.method === 'GET' ? posts : {}));
});
server.listen(9000);
process.on('SIGTERM', () => process.exit(0));
