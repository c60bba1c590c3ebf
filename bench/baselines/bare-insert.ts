/**
 * The least that could accept a checkpoint: Fastify, one durable INSERT, 202. No signature, no state, no decision.
 * On the same PostgreSQL as the service beside it, with as many connections.
 */
import Fastify from 'fastify';
import pg from 'pg';

const pool = new pg.Pool({ connectionString: process.env['DATABASE_URL'], max: 16 });
await pool.query('CREATE TABLE bare_checkpoint (id bigserial PRIMARY KEY, body text NOT NULL)');

const app = Fastify();
app.post('/v1/checkpoints', async (request, reply) => {
  await pool.query('INSERT INTO bare_checkpoint (body) VALUES ($1)', [JSON.stringify(request.body)]);
  return reply.code(202).send({ accepted: true });
});
const address = await app.listen({ host: '127.0.0.1', port: 0 });
console.log(`listening on ${new URL(address).port}`);

process.once('SIGTERM', () => {
  app
    .close()
    .then(() => pool.end())
    .then(() => process.exit(0));
});
