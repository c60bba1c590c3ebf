/**
 * After each round: holds what the world was told against the ledger, read past the service and past every proxy.
 *
 * The checks are the campaign's (test/support/campaign/checks.ts); here they run again and again on a ledger that
 * grows, so what was read, verified or found once is not read, verified or reported again.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { compactVerify, createLocalJWKSet } from 'jose';
import pg from 'pg';
import { headVerifier } from '../../src/cli/head-verifier.ts';
import { replayLive } from '../../src/ledger/replay.ts';
import { verifyLive } from '../../src/ledger/verify-live.ts';
import { createFolds } from '../../src/service/folds.ts';
import { publicJwksSchema } from '../../src/signing/keyring.ts';
import { haltOrderClaimsSchema, type PermitClaims, permitClaimsSchema } from '../../src/signing/tokens.ts';
import { checkHalts, checkKept } from '../support/campaign/checks.ts';
import { EventSchema, type Evidence, type LedgerEvent, StateSchema } from '../support/campaign/evidence.ts';
import { type Journal, snapshot } from '../support/campaign/journal.ts';
import type { Stage } from './stage.ts';

/** What was wrong, by the promise that it breaks. */
export interface Findings {
  /** Acknowledged and lost, changed or counted twice; or the ledger does not agree with itself. */
  readonly kept: readonly string[];
  /** A halt lost or undone, a permit against one. */
  readonly halts: readonly string[];
  /** Wrong answers, or a service that ended by itself. */
  readonly other: readonly string[];
}

export interface Judge {
  /** `replay`: also fold and judge every event again, which takes its time. */
  judge(options: { replay: boolean; settled?: boolean }): Promise<Findings>;
  events(): readonly LedgerEvent[];
  /** Reads on, and answers what is new. */
  readOn(): Promise<readonly LedgerEvent[]>;
  close(): Promise<void>;
}

const ENTERED_WITHIN_MS = 15_000;
const LOOKS_MAX = 10;
const HOLDS_HALTS = /permit|halt|red button/i;

export function createJudge(stage: Stage): Judge {
  const { cluster, scene } = stage;
  const events: LedgerEvent[] = [];
  const known = new Map<string, PermitClaims>();
  const reported = new Set<string>();
  let seq = 0;
  const pool = new pg.Pool({ connectionString: cluster.url, max: 2, connectionTimeoutMillis: 5_000 });
  pool.on('error', () => {});

  const readOn = () => looked(readOnce);
  async function readOnce(): Promise<readonly LedgerEvent[]> {
    const from = events.length;
    const { rows } = await pool.query<{ seq: string; envelope: string }>(
      'SELECT seq, envelope FROM ledger_event WHERE seq > $1 ORDER BY seq',
      [seq],
    );
    for (const row of rows) {
      seq = Number(row.seq);
      events.push(EventSchema.parse(JSON.parse(row.envelope)));
    }
    return events.slice(from);
  }

  /** A press that the ledger was too slow for is entered soon after: until it is, there is nothing to judge. */
  async function entered({ presses }: Journal): Promise<void> {
    const until = performance.now() + ENTERED_WITHIN_MS;
    for (;;) {
      await readOn();
      const text = new Set(events.flatMap(({ data }) => [data['haltId'], data['orderId']]));
      if (presses.every(({ haltId }) => text.has(haltId)) || performance.now() > until) return;
      await delay(100);
    }
  }

  async function keySet() {
    for (;;) {
      const answer = await scene.api.persist({ path: '/.well-known/jwks.json' });
      const keys = publicJwksSchema.safeParse(answer?.body);
      if (keys.success) return keys.data;
      await delay(100);
    }
  }

  async function evidence(replay: boolean): Promise<Evidence> {
    const jwks = await keySet();
    const keys = createLocalJWKSet({ keys: jwks.keys.map((key) => ({ ...key })) });
    const verified = async (token: string, typ: string): Promise<unknown> => {
      const { payload, protectedHeader } = await compactVerify(token, keys, { algorithms: ['EdDSA'] });
      if (protectedHeader.typ !== typ) throw new Error(`the token's typ is ${protectedHeader.typ}`);
      return JSON.parse(new TextDecoder().decode(payload));
    };
    const objections: string[] = [];
    const { ok, problems } = await verifyLive(pool, { verifyHeadJws: headVerifier(jwks, undefined) });
    if (!ok) objections.push(`ledger verify: ${JSON.stringify(problems).slice(0, 1_000)}`);
    if (replay) {
      const replayed = await replayLive(pool, createFolds());
      if (!replayed.ok) objections.push(`replay: ${JSON.stringify(replayed.mismatches).slice(0, 1_000)}`);
    }
    const { rows } = await pool.query<{ stream: string; state: string }>(
      `SELECT stream, state FROM stream_head WHERE stream LIKE 'run-%'`,
    );
    return {
      events,
      states: new Map(rows.map(({ stream, state }) => [stream, StateSchema.parse(JSON.parse(state))])),
      objections,
      async permit(token) {
        const claims = known.get(token) ?? permitClaimsSchema.parse(await verified(token, 'permit+jwt'));
        known.set(token, claims);
        return claims;
      },
      order: async (token) => haltOrderClaimsSchema.parse(await verified(token, 'halt+jwt')),
    };
  }

  /** Each thing once, in the round in which it was first seen. */
  const fresh = (found: readonly string[]): string[] => {
    const news = found.filter((text) => !reported.has(text));
    for (const text of news) reported.add(text);
    return news;
  };

  return {
    readOn,
    events: () => events,
    async judge({ replay, settled = false }) {
      // First what was acknowledged, then the ledger: whatever is acknowledged by now must be in it.
      const seen = {
        journal: snapshot(scene.journal),
        halts: [...scene.outside.halts],
        alerts: new Set(scene.outside.alerts),
      };
      await entered(seen.journal);
      const found = await looked(() => evidence(replay));
      const told = fresh(scene.journal.violations);
      return {
        kept: fresh(checkKept(seen, found)),
        halts: [
          ...fresh(await checkHalts(seen, found, { settled })),
          ...told.filter((text) => HOLDS_HALTS.test(text)),
        ],
        other: told.filter((text) => !HOLDS_HALTS.test(text)),
      };
    },
    close: () => pool.end(),
  };
}

/** Connections of the judge die with the servers that are killed: another look, on another connection. */
async function looked<T>(look: () => Promise<T>): Promise<T> {
  for (let i = 1; ; i += 1) {
    try {
      return await look();
    } catch (error) {
      if (i === LOOKS_MAX) throw error;
      await delay(500);
    }
  }
}
