/**
 * A stand-in for the service, for the client's tests: real HTTP on loopback, real signatures by the
 * service's own signing code, and a script that each test changes as it goes.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { type GuardEvent, PermitGuard, type PermitGuardOptions } from '../../clients/typescript/index.ts';
import { createKeyringFile, loadKeyring } from '../../src/signing/keyring.ts';
import { generateWebhookSecret, verifyWebhook, WebhookSecret } from '../../src/signing/standard-webhooks.ts';
import { createTokenSigner, type HaltOrderClaims, type PermitClaims } from '../../src/signing/tokens.ts';

export const runId = 'run-1';
export const token = 'trainer-token';

export function temporaryDirectory(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'interlock-client-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** The guards that a test opens below a directory, each with what it told, and closed together. */
export function guardsIn(directory: string) {
  const open: PermitGuard[] = [];
  return {
    async open(options: Partial<PermitGuardOptions> & Pick<PermitGuardOptions, 'client'>) {
      const events: GuardEvent[] = [];
      const guard = await PermitGuard.open({
        runId,
        stateDirectory: join(directory, 'state'),
        onEvent: (event) => events.push(event),
        ...options,
      });
      open.push(guard);
      return { guard, events };
    },
    async close() {
      await Promise.all(open.map((guard) => guard.close()));
    },
  };
}

export async function newSigner(directory: string, name = 'keys.json') {
  const file = join(directory, name);
  await createKeyringFile(file);
  const keyring = await loadKeyring(file);
  const signer = createTokenSigner({ keyring, issuer: 'http://interlock.test' });
  const nowS = () => Math.floor(Date.now() / 1000);
  return {
    jwks: keyring.jwks(),
    permit: (claims: Partial<PermitClaims> = {}) =>
      signer.signPermit({
        sub: runId,
        iat: nowS(),
        exp: (claims.iat ?? nowS()) + 60,
        epoch: 1,
        seq: 1,
        ceiling: '1000',
        nonce: null,
        clearedHalts: [],
        ...claims,
      }),
    halt: (claims: Partial<HaltOrderClaims> = {}) =>
      signer.signHaltOrder({
        sub: runId,
        iat: nowS(),
        haltId: 'halt_a',
        action: 'halt',
        epoch: 2,
        ...claims,
      }),
  };
}

const beatSchema = z.strictObject({
  effectiveCompute: z.string(),
  step: z.int().optional(),
  nonce: z.string(),
  instance: z.string(),
  supersedes: z.string().optional(),
  halts: z.array(z.string()).optional(),
  leaving: z.literal(true).optional(),
});
const checkpointSchema = z.strictObject({
  runId: z.string(),
  checkpointId: z.string(),
  effectiveCompute: z.string(),
  step: z.int(),
  modelUri: z.string(),
});
const ackSchema = z.strictObject({ state: z.enum(['received', 'stopped']), at: z.iso.datetime() });

export type Checkpoint = z.infer<typeof checkpointSchema>;

export interface Script {
  /** Statuses to answer with before anything else, one per request. */
  failures: number[];
  /** Cuts the connection without an answer. */
  away: boolean;
  directive: { action: string; haltId?: string; order?: string; reason?: string };
  permit: Partial<PermitClaims> | null;
  kept: { retain: string[]; retainUntil?: Record<string, string> };
  onCheckpoint: (checkpoint: Checkpoint) => void | Promise<void>;
}

export async function startInterlock(directory: string) {
  const signer = await newSigner(directory, `keys-${Math.random().toString(36).slice(2)}.json`);
  const webhookSecret = generateWebhookSecret();
  const script: Script = {
    failures: [],
    away: false,
    directive: { action: 'continue' },
    permit: {},
    kept: { retain: [] },
    onCheckpoint: () => undefined,
  };
  const seen = {
    beats: [] as z.infer<typeof beatSchema>[],
    checkpoints: [] as { webhookId: string; body: Checkpoint }[],
    attempts: [] as { path: string; webhookId: string | undefined }[],
    acks: [] as { haltId: string; state: string }[],
    registrations: [] as unknown[],
  };
  let seq = 0;

  const answer = async (request: IncomingMessage, body: Buffer): Promise<[number, unknown]> => {
    const path = request.url ?? '';
    const header = request.headers['webhook-id'];
    const webhookId = typeof header === 'string' ? header : undefined;
    seen.attempts.push({ path, webhookId });
    if (path === '/.well-known/jwks.json') return [200, signer.jwks];
    const failure = script.failures.shift();
    if (failure !== undefined) return [failure, { type: 'urn:interlock:problem:test.scripted' }];

    if (path === '/v1/checkpoints') {
      const { rawHeaders } = request;
      const secrets = [WebhookSecret.parse(webhookSecret)];
      if (!verifyWebhook({ rawHeaders, body, secrets, now: new Date() }).ok) return [401, {}];
      const checkpoint = checkpointSchema.parse(JSON.parse(body.toString('utf8')));
      seen.checkpoints.push({ webhookId: webhookId ?? '', body: checkpoint });
      await script.onCheckpoint(checkpoint);
      const evaluations = [{ evaluationId: 'ev_1', name: 'decipher' }];
      return [202, { ...checkpoint, disposition: 'evaluate', evaluations, statusUrl: '/' }];
    }

    if (request.headers.authorization !== `Bearer ${token}`) return [401, {}];
    const json: unknown = JSON.parse(body.toString('utf8'));
    if (path === '/v1/runs') {
      seen.registrations.push(json);
      return [201, { run: { runId }, permit: await signer.permit() }];
    }
    if (path === `/v1/runs/${runId}/heartbeat`) {
      const beat = beatSchema.parse(json);
      seen.beats.push(beat);
      seq += 1;
      const permit =
        script.permit === null ? null : await signer.permit({ seq, nonce: beat.nonce, ...script.permit });
      return [200, { directive: script.directive, permit, nextCheckpointAt: '2000', ...script.kept }];
    }
    const acked = /^\/v1\/halts\/([^/]+)\/ack$/.exec(path);
    if (acked !== null) {
      seen.acks.push({ haltId: acked[1] ?? '', state: ackSchema.parse(json).state });
      return [200, {}];
    }
    return [404, {}];
  };

  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(Buffer.from(chunk));
    if (script.away) return void request.socket.destroy();
    const [status, reply] = await answer(request, Buffer.concat(chunks)).catch((error: unknown) => [
      500,
      { error: String(error) },
    ]);
    response.writeHead(Number(status), { 'content-type': 'application/json' });
    response.end(JSON.stringify(reply));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new TypeError('no port');
  return {
    url: `http://127.0.0.1:${address.port}`,
    webhookSecret,
    signer,
    script,
    seen,
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
