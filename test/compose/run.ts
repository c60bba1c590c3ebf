/**
 * `npm run test:compose`: the compose file as an operator would use it, from the build to a delivered halt.
 *
 * Builds the image, starts everything on free loopback ports under a project name of its own, waits for healthy,
 * registers a run, reports a signed checkpoint, posts a result at High, and waits for the signed halt at a webhook
 * target on the compose network. Then the service is started again, must still know the halt, and its ledger must
 * verify. Takes down what it started, volumes too, whatever happened.
 * Without a Docker daemon it says so and ends 0: there is nothing to test then. INTERLOCK_REQUIRE_DOCKER=1 ends 1.
 */
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { createInterlockClient, verifyWebhook, WebhookSecret } from '../../clients/typescript/index.ts';
import { createTokenVerifier } from '../../clients/typescript/tokens.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const project = `interlock-test-${randomBytes(3).toString('hex')}`;
const HEALTHY_WITHIN_MS = 120_000;
const HALT_WITHIN_MS = 15_000;
/** Private networks, one of which the compose network will be; an operator names theirs. */
const TARGETS = 'receiver:9000,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16';
const RUN = 'compose-run';

const startedAt = performance.now();
const say = (text: string) =>
  console.log(`${((performance.now() - startedAt) / 1000).toFixed(1).padStart(6)} s  ${text}`);

class Failure extends Error {}

const Credentials = z.object({
  tokens: z.object({ trainer: z.string(), evaluator: z.string(), auditor: z.string() }),
  webhookSecrets: z.object({ trainer: z.string() }),
});
const Posts = z.array(z.object({ rawHeaders: z.array(z.string()), body: z.base64() }));
const HaltPosted = z.object({
  type: z.literal('halt.ordered'),
  data: z.object({
    runId: z.string(),
    haltId: z.string(),
    action: z.string(),
    reason: z.string(),
    order: z.string(),
  }),
});
const Halts = z.object({ items: z.array(z.object({ haltId: z.string() })) });
const Readiness = z.object({ status: z.string().optional() }).loose();

const works = (command: string, args: readonly string[]) =>
  spawnSync(command, args, { stdio: 'ignore', timeout: 20_000 }).status === 0;

async function freePort(): Promise<number> {
  const probe = createServer();
  probe.listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const address = probe.address();
  probe.close();
  await once(probe, 'close');
  if (address === null || typeof address === 'string') throw new Failure('no free port');
  return address.port;
}

async function until<T>(what: string, withinMs: number, ask: () => Promise<T | null>): Promise<T> {
  const deadlineMs = performance.now() + withinMs;
  for (;;) {
    const answer = await ask().catch(() => null);
    if (answer !== null) return answer;
    if (performance.now() > deadlineMs) throw new Failure(`${what}: not within ${withinMs / 1000} s`);
    await delay(250);
  }
}

function composeCommand(): readonly string[] {
  if (works('docker-compose', ['version'])) return ['docker-compose'];
  if (works('docker', ['compose', 'version'])) return ['docker', 'compose'];
  throw new Failure('a Docker daemon answers, but neither docker-compose nor docker compose is installed');
}

async function main(): Promise<void> {
  if (!works('docker', ['version', '--format', '{{.Server.Version}}'])) {
    const required = process.env['INTERLOCK_REQUIRE_DOCKER'] === '1';
    console.log('skipped: no Docker daemon answers, so the compose file cannot be tried here');
    console.log(required ? '0 passed, 1 failed, 0 skipped' : '0 passed, 0 failed, 1 skipped');
    process.exitCode = required ? 1 : 0;
    return;
  }
  const [command = '', ...first] = composeCommand();
  const ports = { service: await freePort(), receiver: await freePort() };
  const env = {
    ...process.env,
    COMPOSE_DOCKER_CLI_BUILD: '0',
    POSTGRES_PASSWORD: randomBytes(24).toString('hex'),
    INTERLOCK_PORT: String(ports.service),
    RECEIVER_PORT: String(ports.receiver),
    INTERLOCK_INIT_OUTBOUND_ALLOW: TARGETS,
  };
  const base = [...first, '-p', project, '-f', 'docker-compose.yml', '-f', 'test/compose/receiver.yml'];

  async function compose(...args: string[]): Promise<string> {
    const child = spawn(command, [...base, ...args], { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] });
    const output: Buffer[] = [];
    const all: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => void output.push(chunk));
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => void all.push(chunk));
    }
    const [code] = await once(child, 'close');
    if (code !== 0) {
      console.error(Buffer.concat(all).toString().split('\n').slice(-40).join('\n'));
      throw new Failure(`docker-compose ${args[0]} ended with ${code}`);
    }
    return Buffer.concat(output).toString();
  }

  const url = `http://127.0.0.1:${ports.service}`;
  async function get(path: string, token?: string): Promise<unknown> {
    const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const response = await fetch(`${url}${path}`, { headers, signal: AbortSignal.timeout(5_000) });
    if (!response.ok) throw new Failure(`GET ${path}: ${response.status}`);
    return response.json();
  }
  const healthy = () =>
    until('the service is healthy and ready', HEALTHY_WITHIN_MS, async () => {
      const id = (await compose('ps', '-q', 'interlock')).trim();
      const health = spawnSync('docker', ['inspect', '-f', '{{.State.Health.Status}}', id], {
        encoding: 'utf8',
      });
      return health.stdout.trim() === 'healthy' ? Readiness.parse(await get('/readyz')) : null;
    });

  let failed = true;
  try {
    say('building the image');
    await compose('build');
    say(`starting ${project}`);
    await compose('up', '-d');
    await healthy();
    say('healthy and ready');

    const { tokens, webhookSecrets } = Credentials.parse(
      JSON.parse(await compose('exec', '-T', 'interlock', 'cat', '/config/credentials.json')),
    );
    const trainer = createInterlockClient({
      url,
      token: tokens.trainer,
      webhookSecret: webhookSecrets.trainer,
    });
    await trainer.register({ runId: RUN, targets: [{ kind: 'webhook', url: 'http://receiver:9000/halt' }] });
    const { evaluations } = await trainer.reportCheckpoint({
      runId: RUN,
      checkpointId: 'step-1000',
      effectiveCompute: '1e21',
      step: 1000,
      modelUri: 's3://models/compose-run/step-1000',
    });
    say(`a signed checkpoint is accepted; ${evaluations.length} evaluations are due`);

    const ctf = evaluations.find(({ name }) => name.startsWith('ctf') && !name.startsWith('ctf-mitigated'));
    if (ctf === undefined) throw new Failure('the policy asks for no ctf evaluation');
    const reported = await fetch(`${url}/v1/evaluations/${ctf.evaluationId}/result?attempt=1`, {
      method: 'POST',
      headers: { authorization: `Bearer ${tokens.evaluator}`, 'content-type': 'application/json' },
      body: JSON.stringify({ status: 'success', score: 0.6, n: 200 }),
    });
    if (!reported.ok)
      throw new Failure(`the result was refused: ${reported.status} ${await reported.text()}`);
    const evidenceAt = performance.now();

    const post = await until('the halt at the webhook target', HALT_WITHIN_MS, async () => {
      const response = await fetch(`http://127.0.0.1:${ports.receiver}/`);
      return Posts.parse(await response.json())[0] ?? null;
    });
    say(
      `the halt is at the webhook target, ${Math.round(performance.now() - evidenceAt)} ms after the result`,
    );

    const body = Buffer.from(post.body, 'base64');
    const secret = new WebhookSecret(webhookSecrets.trainer);
    if (!verifyWebhook([secret], post.rawHeaders, body, new Date()))
      throw new Failure('its signature is wrong');
    const halt = HaltPosted.parse(JSON.parse(body.toString()));
    if (halt.data.runId !== RUN) throw new Failure(`it is about ${halt.data.runId}`);
    await verifyOrder(halt.data.order, halt.data.haltId);
    say(`its signatures hold: ${halt.data.action}, ${halt.data.reason}`);

    await compose('restart', 'interlock');
    await healthy();
    const halts = Halts.parse(await get(`/v1/runs/${RUN}/halts`, tokens.auditor));
    if (halts.items[0]?.haltId !== halt.data.haltId)
      throw new Failure('the halt is forgotten after a restart');
    await compose('exec', '-T', 'interlock', 'interlock', 'ledger', 'verify');
    say('started again: the halt stands, and the ledger verifies');
    failed = false;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    say(`FAILED: ${error.message}`);
    console.error(await compose('logs', '--no-color', '--tail=60').catch(() => '(no logs)'));
  } finally {
    await compose('down', '--volumes', '--timeout', '35').catch((error: unknown) => {
      failed = true;
      say(`taking it down failed: ${String(error)}`);
    });
    say('taken down');
  }
  console.log(failed ? '0 passed, 1 failed, 0 skipped' : '1 passed, 0 failed, 0 skipped');
  process.exitCode = failed ? 1 : 0;

  async function verifyOrder(order: string, haltId: string): Promise<void> {
    const verifier = await createTokenVerifier({ runId: RUN, jwks: await get('/.well-known/jwks.json') });
    const verified = await verifier.haltOrder(order);
    if (!verified.ok || verified.value.haltId !== haltId)
      throw new Failure('the signed order does not verify');
  }
}

await main();
