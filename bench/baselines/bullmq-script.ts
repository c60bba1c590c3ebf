/**
 * What one would write in an afternoon: Fastify takes the checkpoint, verifies its HMAC, stores it, puts a job on
 * BullMQ and answers 202; a worker in the same process takes the job, "evaluates" and stores the verdict.
 *
 * It keeps no history that could be verified, decides nothing twice the same way, and loses the job when the
 * process dies between the INSERT and the add. It is here to show what those things cost.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { createPostgresBackend, createRedisBackend, Queue, Worker } from 'bullmq';
import Fastify from 'fastify';
import { Redis } from 'ioredis';
import pg from 'pg';

const pool = new pg.Pool({ connectionString: process.env['DATABASE_URL'], max: 16 });
await pool.query(`CREATE TABLE script_checkpoint (
  run_id text, checkpoint_id text, body text NOT NULL, verdict text, PRIMARY KEY (run_id, checkpoint_id))`);

const redisUrl = process.env['REDIS_URL'];
const NAME = 'evaluate';
async function evaluate(job: { data: { runId: string; checkpointId: string } }): Promise<void> {
  const { runId, checkpointId } = job.data;
  await pool.query('UPDATE script_checkpoint SET verdict = $3 WHERE run_id = $1 AND checkpoint_id = $2', [
    runId,
    checkpointId,
    'proceed',
  ]);
}
const { queue, worker } = await (async () => {
  const settings = { concurrency: 2 };
  if (redisUrl !== undefined) {
    const connection = new Redis(redisUrl, { maxRetriesPerRequest: null });
    return {
      queue: new Queue(NAME, { connection }, createRedisBackend),
      worker: new Worker(NAME, evaluate, { connection, ...settings }, createRedisBackend),
    };
  }
  const connection = {
    connectionString: process.env['DATABASE_URL'] ?? '',
    schema: 'bullmq',
    migrate: true,
    max: 8,
  };
  return {
    queue: new Queue(NAME, { connection }, createPostgresBackend),
    worker: new Worker(NAME, evaluate, { connection, ...settings }, createPostgresBackend),
  };
})();
worker.on('error', () => {});

const key = Buffer.from((process.env['SECRET'] ?? 'whsec_AAAA').slice('whsec_'.length), 'base64');
const app = Fastify();
app.removeAllContentTypeParsers();
app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) =>
  done(null, body),
);
app.post('/v1/checkpoints', async (request, reply) => {
  const raw = request.body;
  if (!Buffer.isBuffer(raw)) return reply.code(400).send();
  const {
    'webhook-id': id,
    'webhook-timestamp': timestamp,
    'webhook-signature': signature,
  } = request.headers;
  const expected = createHmac('sha256', key).update(`${id}.${timestamp}.`).update(raw).digest();
  const offered = Buffer.from(String(signature).slice('v1,'.length), 'base64');
  if (offered.length !== expected.length || !timingSafeEqual(offered, expected))
    return reply.code(401).send();
  const { runId, checkpointId } = JSON.parse(raw.toString('utf8'));
  await pool.query('INSERT INTO script_checkpoint VALUES ($1, $2, $3) ON CONFLICT DO NOTHING', [
    runId,
    checkpointId,
    raw.toString('utf8'),
  ]);
  const jobId = `${runId}-${checkpointId}`;
  await queue.add(NAME, { runId, checkpointId }, { jobId, removeOnComplete: true, removeOnFail: true });
  return reply.code(202).send({ accepted: true });
});
const address = await app.listen({ host: '127.0.0.1', port: 0 });
console.log(`listening on ${new URL(address).port}`);
process.once('SIGTERM', () => process.exit(0));
