/** What the service has to show at the end: its ledger as exported, its stored states, its keys, its own judgement. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { compactVerify, createLocalJWKSet, type JSONWebKeySet } from 'jose';
import { z } from 'zod';
import { openDatabase } from '../../../src/database/open-database.ts';
import {
  type HaltOrderClaims,
  haltOrderClaimsSchema,
  type PermitClaims,
  permitClaimsSchema,
} from '../../../src/signing/tokens.ts';
import { silentLogger } from '../embedded-database.ts';
import type { Api } from './api.ts';
import { interlock } from './service-process.ts';
import type { Workplace } from './workplace.ts';

export const EventSchema = z.object({
  stream: z.string(),
  version: z.int(),
  kind: z.string(),
  data: z.record(z.string(), z.unknown()),
  actor: z.string(),
  recordedAt: z.string(),
});
export type LedgerEvent = z.infer<typeof EventSchema>;

const LineSchema = z.union([z.object({ signedHead: z.string() }), EventSchema]);
export const StateSchema = z.object({
  series: z.array(
    z.object({
      evaluation: z.string(),
      variant: z.string(),
      points: z.array(z.object({ checkpointId: z.string() })),
    }),
  ),
});
const KeysSchema = z.object({ keys: z.array(z.record(z.string(), z.unknown())) });
const JudgementSchema = z.looseObject({ ok: z.boolean() });

export interface Evidence {
  readonly events: readonly LedgerEvent[];
  readonly states: ReadonlyMap<string, z.infer<typeof StateSchema>>;
  /** What `ledger verify` and `replay` say where they do not agree. */
  readonly objections: readonly string[];
  permit(token: string): Promise<PermitClaims>;
  order(token: string): Promise<HaltOrderClaims>;
}

export async function gatherEvidence(
  place: Workplace,
  stores: Readonly<Record<string, string>>,
  api: Api,
): Promise<Evidence> {
  const jwks = await api.persist({ path: '/.well-known/jwks.json' });
  const keys = createLocalJWKSet(keySet(jwks?.body));
  const file = join(place.directory, 'export.jsonl');
  const exported = await interlock(
    place.bin,
    ['ledger', 'export', '--out', file, '--config', place.configFile],
    {
      ...place.env,
      ...stores,
    },
  );
  const objections =
    exported.code === 0 ? [] : [`ledger export ended with ${exported.code}: ${exported.stderr}`];
  for (const command of [['ledger', 'verify'], ['replay']]) {
    const { code, stdout, stderr } = await interlock(
      place.bin,
      [...command, '--json', '--config', place.configFile],
      {
        ...place.env,
        ...stores,
      },
    );
    const agrees = code === 0 && JudgementSchema.parse(JSON.parse(stdout)).ok;
    if (!agrees)
      objections.push(`${command.join(' ')} ended with ${code}: ${(stdout + stderr).slice(0, 2_000)}`);
  }
  return {
    events: eventsOf(await readFile(file, 'utf8')),
    states: await readStates(place, stores),
    objections,
    permit: async (token) => permitClaimsSchema.parse(await verified(token, 'permit+jwt')),
    order: async (token) => haltOrderClaimsSchema.parse(await verified(token, 'halt+jwt')),
  };

  async function verified(token: string, typ: string): Promise<unknown> {
    const { payload, protectedHeader } = await compactVerify(token, keys, { algorithms: ['EdDSA'] });
    if (protectedHeader.typ !== typ) throw new Error(`the token's typ is ${protectedHeader.typ}`);
    return JSON.parse(new TextDecoder().decode(payload));
  }
}

function keySet(body: unknown): JSONWebKeySet {
  const { keys } = KeysSchema.parse(body);
  return { keys: keys.map((key) => ({ kty: 'OKP', ...key })) };
}

function eventsOf(text: string): LedgerEvent[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .flatMap((line) => {
      const parsed = LineSchema.parse(JSON.parse(line));
      return 'signedHead' in parsed ? [] : [parsed];
    });
}

async function readStates(
  place: Workplace,
  stores: Readonly<Record<string, string>>,
): Promise<Map<string, z.infer<typeof StateSchema>>> {
  const databaseUrl = stores['DATABASE_URL'];
  const database = await openDatabase({
    dataDir: place.dataDir,
    ...(databaseUrl === undefined ? {} : { databaseUrl }),
    logger: silentLogger,
    poolMax: 1,
  });
  try {
    const { rows } = await database.pool.query(
      `SELECT stream, state FROM stream_head WHERE stream LIKE 'run-%'`,
    );
    const parsed = z.array(z.object({ stream: z.string(), state: z.string() })).parse(rows);
    return new Map(parsed.map(({ stream, state }) => [stream, StateSchema.parse(JSON.parse(state))]));
  } finally {
    await database.close();
  }
}
