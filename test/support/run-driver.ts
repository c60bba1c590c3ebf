/** What a test says to a running Interlock, with every answer read through the schema that the API states. */
import { randomBytes } from 'node:crypto';
import { expect, vi } from 'vitest';
import { z } from 'zod';
import {
  HaltDocument,
  ProposalDocument,
  RunDocument,
  ScorecardDocument,
} from '../../src/http/routes/documents.ts';
import { exportBytes } from '../../src/ledger/export.ts';
import { replayLive } from '../../src/ledger/replay.ts';
import { verifyExport } from '../../src/ledger/verify-export.ts';
import { verifyLive } from '../../src/ledger/verify-live.ts';
import { createFolds } from '../../src/service/folds.ts';
import { publicJwksSchema } from '../../src/signing/keyring.ts';
import { createTokenVerifier, type TokenVerifier } from '../../src/signing/tokens.ts';
import { HeartbeatReply } from './heartbeat-reply.ts';
import type { Sent, SignOptions, TestInterlock } from './interlock.ts';

const Accepted = z.object({
  disposition: z.enum(['evaluate', 'recorded']),
  evaluations: z.array(z.object({ evaluationId: z.string(), name: z.string() })),
});
const Events = z.object({
  items: z.array(
    z.object({
      seq: z.number(),
      kind: z.string(),
      actor: z.string(),
      data: z.record(z.string(), z.json()),
      recordedAt: z.string(),
      version: z.number(),
    }),
  ),
  nextCursor: z.string().nullable(),
});
export type LedgerEvent = z.infer<typeof Events>['items'][number];
export const Halts = z.object({
  halts: z.array(HaltDocument),
  failed: z.array(z.object({ runId: z.string(), reason: z.string() })),
});

/** The answer's body, if it has this status; else everything a person needs to see why not. */
export function answered<S extends z.ZodType>(sent: Sent, status: number, schema: S): z.output<S> {
  expect(sent.status, sent.text).toBe(status);
  return schema.parse(sent.body);
}

export const runName = (): string => `run-${randomBytes(5).toString('hex')}`;

/** Long enough for a busy machine of two cores; a test that is right never waits for it. */
export const SOON = { timeout: 20_000, interval: 40 };
export const soon = <T>(look: () => T | Promise<T>, options = SOON): Promise<T> =>
  vi.waitFor(async () => look(), options);

export interface RunDriver {
  readonly runId: string;
  register(body?: Record<string, unknown>, as?: string): Promise<Sent>;
  checkpoint(body: Record<string, unknown>, options?: SignOptions): Promise<Sent>;
  /** Signed, accepted; gives each evaluation's id by its name. */
  report(
    checkpointId: string,
    effectiveCompute: string,
    modelUri: string,
    options?: SignOptions,
  ): Promise<Record<string, string>>;
  beat(effectiveCompute: string, nonce?: string): Promise<z.output<typeof HeartbeatReply>>;
  show(): Promise<z.output<typeof RunDocument>>;
  scorecard(checkpointId?: string): Promise<z.output<typeof ScorecardDocument>>;
  result(evaluationId: string, attempt: number, body: unknown): Promise<Sent>;
  events(): Promise<LedgerEvent[]>;
  kinds(): Promise<string[]>;
  /** Waits until the run has an event of this kind (the nth), and gives it. */
  event(kind: string, nth?: number): Promise<LedgerEvent>;
  press(by?: string): Promise<z.output<typeof HaltDocument>>;
  resume(
    haltId: string | null,
    approvals: readonly string[],
    terms?: Readonly<Record<string, unknown>>,
  ): Promise<Extract<z.output<typeof ProposalDocument>, { kind: 'resume' }>>;
}

export function drive(
  interlock: TestInterlock,
  target: Record<string, unknown> | null = null,
  runId = runName(),
): RunDriver {
  const { call, signed } = interlock;
  const path = (rest = ''): string => `/v1/runs/${runId}${rest}`;
  async function approve(
    { proposalId, digest }: z.output<typeof ProposalDocument>,
    approvals: readonly string[],
  ): Promise<void> {
    for (const group of approvals) {
      const signOff = { proposalId, digest, decision: 'approve', group, justification: 'agreed' };
      const sent = await call('POST', path('/sign-offs'), { as: group, body: signOff });
      expect(sent.status, sent.text).toBe(200);
    }
  }

  const driver: RunDriver = {
    runId,
    register: (body = {}, as = 'trainer') =>
      call('POST', '/v1/runs', {
        as,
        body: { runId, ...(target === null ? {} : { targets: [target] }), ...body },
      }),
    checkpoint: (body, options) => signed('/v1/checkpoints', { runId, ...body }, options),
    async report(checkpointId, effectiveCompute, modelUri, options) {
      const sent = await driver.checkpoint({ checkpointId, effectiveCompute, modelUri }, options);
      const { evaluations } = answered(sent, 202, Accepted);
      return Object.fromEntries(evaluations.map(({ name, evaluationId }) => [name, evaluationId]));
    },
    async beat(effectiveCompute, nonce) {
      const body = { effectiveCompute, ...(nonce === undefined ? {} : { nonce }) };
      return answered(await call('POST', path('/heartbeat'), { as: 'trainer', body }), 200, HeartbeatReply);
    },
    show: async () => answered(await call('GET', path(), { as: 'auditor' }), 200, RunDocument),
    scorecard: async (checkpointId = 'latest') =>
      answered(
        await call('GET', path(`/scorecards/${checkpointId}`), { as: 'auditor' }),
        200,
        ScorecardDocument,
      ),
    result: (evaluationId, attempt, body) =>
      call('POST', `/v1/evaluations/${evaluationId}/result?attempt=${attempt}`, { as: 'evaluator', body }),
    async events() {
      const all: LedgerEvent[] = [];
      for (let cursor = ''; ; ) {
        const page = await call('GET', path(`/events?limit=200${cursor}`), { as: 'auditor' });
        const { items, nextCursor } = answered(page, 200, Events);
        all.push(...items);
        if (nextCursor === null) return all;
        cursor = `&cursor=${nextCursor}`;
      }
    },
    kinds: async () => (await driver.events()).map(({ kind }) => kind),
    event: (kind, nth = 1) =>
      soon(async () => {
        const events = await driver.events();
        const found = events.filter((each) => each.kind === kind)[nth - 1];
        if (found !== undefined) return found;
        throw new Error(`no ${kind} number ${nth}; there is ${events.map((each) => each.kind).join(' ')}`);
      }),
    async press(by = 'leadership') {
      const sent = await call('POST', path('/halt'), { as: by, body: { reason: 'a person says so' } });
      const [halt] = answered(sent, 202, Halts).halts;
      if (halt === undefined) throw new Error('no halt in the answer');
      return halt;
    },
    async resume(haltId, approvals, terms = {}) {
      const { openHalt } = await driver.show();
      if (openHalt?.action === 'quarantine' && openHalt.quarantine?.released === undefined) {
        const release = { kind: 'release', rationale: 'locked away' };
        const sent = await call('POST', path('/proposals'), { as: 'operator', body: release });
        await approve(answered(sent, 201, ProposalDocument), approvals);
      }
      const body = { kind: 'resume', ...(haltId === null ? {} : { haltId }), terms, rationale: 'mitigated' };
      const proposal = answered(
        await call('POST', path('/proposals'), { as: 'operator', body }),
        201,
        ProposalDocument,
      );
      await approve(proposal, approvals);
      const sent = await call('GET', path(`/proposals/${proposal.proposalId}`), { as: 'auditor' });
      const read = answered(sent, 200, ProposalDocument);
      if (read.kind !== 'resume') throw new Error(`a ${read.kind} was signed`);
      return read;
    },
  };
  return driver;
}

/** Pressed and in the ledger: on a busy machine the button may be faster than it, and says so. */
export async function pressed(run: RunDriver) {
  await run.press();
  return soon(async () => {
    const { openHalt } = await run.show();
    if (openHalt === null) throw new Error('the halt is not in the ledger yet');
    return openHalt;
  });
}

/** As a trainer has it: the key set once fetched, everything else offline. */
export async function offlineVerifier(interlock: TestInterlock): Promise<TokenVerifier> {
  const jwks = answered(await interlock.call('GET', '/.well-known/jwks.json'), 200, publicJwksSchema);
  return createTokenVerifier({ jwks: () => jwks, issuer: interlock.config.issuer });
}

/** The whole ledger: chain and signed heads live and by export, every state and verdict by replay. */
export async function expectSoundLedger(interlock: TestInterlock): Promise<void> {
  const verifier = await offlineVerifier(interlock);
  const head = await interlock.call('GET', '/v1/ledger/head', { as: 'auditor' });
  expect(head.status, head.text).toBe(200);
  const verifyHeadJws = async (jws: string) => {
    const verified = await verifier.verifyHead(jws);
    if (!verified.ok) throw new Error(verified.reason);
    return verified.claims;
  };
  await interlock.withStore(async ({ database: { pool } }) => {
    expect(await verifyLive(pool, { verifyHeadJws })).toMatchObject({ ok: true, problems: [] });
    expect(await verifyExport(exportBytes(pool), { verifyHeadJws })).toMatchObject({
      ok: true,
      problems: [],
    });
    expect(await replayLive(pool, createFolds())).toMatchObject({ ok: true, mismatches: [] });
  });
}
