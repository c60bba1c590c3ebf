/** Evidence as the configuration states it: the store, the keeper, and what removes old evidence. Null where none is kept. */
import { join } from 'node:path';
import type { Logger } from 'pino';
import { type Environment, resolveEnv } from '../config/environment.ts';
import { durationMs } from '../domain/duration.ts';
import { InterlockError } from '../errors.ts';
import type { EvidenceStore } from '../evidence/evidence-store.ts';
import { createFolderStore } from '../evidence/folder.ts';
import { createS3Store } from '../evidence/s3.ts';
import type { Outbound } from '../outbound/outbound.ts';
import { createEvidence, type Evidence, type EvidenceDeps } from '../service/evidence.ts';
import { startRetention } from '../service/evidence-retention.ts';
import type { InterlockConfiguration } from './configuration.ts';
import type { Step } from './steps.ts';

export function openEvidence({
  config,
  env,
  outbound,
  runs,
  ledger,
  clock,
  logger,
  stops,
}: {
  readonly config: Pick<InterlockConfiguration, 'evidence' | 'roles' | 'dataDir'>;
  readonly env: Environment;
  readonly outbound: Outbound;
  readonly runs: EvidenceDeps['runs'];
  readonly ledger: EvidenceDeps['ledger'];
  readonly clock: () => Date;
  readonly logger: Pick<Logger, 'info' | 'warn'>;
  readonly stops: Step[];
}): Evidence | null {
  const { evidence } = config;
  if (evidence === null) return null;
  const store = openStoreOf(evidence, { env, outbound, clock });
  if (evidence.retention !== undefined && config.roles.includes('scheduler')) {
    const retention = startRetention({ store, retentionMs: durationMs(evidence.retention), clock, logger });
    stops.push(['evidence retention', () => retention.stop()]);
  }
  const kept = createEvidence({
    store,
    runs,
    ledger,
    scratch: join(config.dataDir, 'evidence-parts'),
    sealingKey: evidence.sealing?.publicKey ?? null,
    privateKeyFile: evidence.sealing?.privateKeyFile ?? null,
    clock,
    logger,
  });
  // Stopped after everything that keeps something, before the ledger and the way out.
  stops.push(['evidence on its way', () => kept.close()]);
  return kept;
}

function openStoreOf(
  { directory, s3 }: NonNullable<InterlockConfiguration['evidence']>,
  { env, outbound, clock }: { env: Environment; outbound: Outbound; clock: () => Date },
): EvidenceStore {
  if (s3 === undefined) return createFolderStore(directory ?? '');
  // At start, where somebody reads it: later each log that is lost by it would be a warning.
  const refusal = outbound.refusal(s3.endpoint);
  if (refusal !== null) throw unusable('endpoint', `${refusal} (outbound.allow)`);
  for (const field of ['accessKey', 'secretKey'] as const) {
    const found = resolveEnv(s3[field], env);
    if (!found.ok) throw unusable(field, found.message);
  }
  const secret = (reference: string): string => {
    const resolved = resolveEnv(reference, env);
    if (!resolved.ok)
      throw new InterlockError(resolved.message, { code: 'evidence.unavailable', retryable: true });
    return resolved.value;
  };
  const { accessKey, secretKey, ...at } = s3;
  return createS3Store({
    ...at,
    accessKey: () => secret(accessKey),
    secretKey: () => secret(secretKey),
    outbound,
    clock,
  });
}

const unusable = (field: string, why: string): InterlockError =>
  new InterlockError(`evidence.s3.${field}: ${why}`, { code: 'config.invalid' });
