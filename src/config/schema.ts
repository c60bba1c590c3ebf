/**
 * interlock.yaml: what may stand in it, with the defaults. Unknown keys are refused everywhere.
 *
 * Secrets and addresses of stores come from the environment (`env:NAME`, or DATABASE_URL,
 * DATABASE_DIRECT_URL and REDIS_URL themselves); what people argue about stands in the file.
 * Not here: policies (domain/policy) and what each alert channel needs (alerts/).
 */
import { z } from 'zod';
import { DurationSchema } from '../domain/duration.ts';
import { ResourceLabelSchema } from '../domain/policy/scheduling-schema.ts';
import { EvidenceConfigSchema } from './evidence.ts';
import { IDENTITY_ID } from './identities.ts';
import { IsolationConfigSchema } from './isolation.ts';
import { ModeSchema, ShadowTimeSchema } from './mode.ts';
import { OidcProvider } from './oidc.ts';
import { OrchestratorsConfigSchema } from './orchestrators.ts';
import { AbsolutePath } from './system-names.ts';

/** So that a worker does not keep queues, and connections, by the dozen. */
export const WORKER_LABELS_MAX = 4;

export const SERVICE_ROLES = ['api', 'worker', 'scheduler', 'button'] as const;
export type ServiceRole = (typeof SERVICE_ROLES)[number];

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;

const path = z.string().min(1).max(4096);
const name = z.string().regex(IDENTITY_ID, 'must be letters, digits, ".", "_" or "-", at most 128');

const publicUrl = z.string().refine((text) => {
  if (!URL.canParse(text)) return false;
  const url = new URL(text);
  const isPlain = url.username === '' && url.password === '' && url.hash === '' && url.search === '';
  return isPlain && (url.protocol === 'https:' || url.protocol === 'http:');
}, 'must be an http or https URL without credentials, query or fragment');

/** `env:NAME`, or the URL itself where it holds no password. */
const storeUrl = (schemes: readonly string[]) =>
  z
    .string()
    .refine(
      (text) => text.startsWith('env:') || isStoreUrl(text, schemes),
      `must be env:NAME or a URL that begins with ${schemes.map((s) => `${s}//`).join(' or ')}`,
    )
    .refine(
      (text) => !URL.canParse(text) || new URL(text).password === '',
      'has a password in the file; write env:NAME',
    );

const UNITS = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 } as const;

/** `8GiB`, `512MiB`, or a number of bytes; bytes from here on. */
const byteCount = (min: number) =>
  z
    .union([
      z.number(),
      z
        .string()
        .regex(
          /^[0-9]{1,6}(\.[0-9]{1,3})?(KiB|MiB|GiB|TiB)$/,
          'must be bytes, or a size such as 512MiB or 8GiB',
        )
        .transform((text) => {
          const unit = Object.entries(UNITS).find(([name]) => text.endsWith(name));
          return Math.round(Number.parseFloat(text) * (unit?.[1] ?? Number.NaN));
        }),
    ])
    .pipe(
      z
        .int()
        .min(min)
        .max(2 ** 50),
    );

export const DATABASE_SCHEMES = ['postgres:', 'postgresql:'] as const;
export const REDIS_SCHEMES = ['redis:', 'rediss:'] as const;

export function isStoreUrl(text: string, schemes: readonly string[]): boolean {
  return URL.canParse(text) && schemes.includes(new URL(text).protocol);
}

/** A budget per identity (for `open` and `stranger` per address), in this process. */
const rate = (perSecond: number, burst: number) =>
  z
    .strictObject({
      perSecond: z.number().positive().max(1_000_000).default(perSecond),
      burst: z.int().min(1).max(10_000_000).default(burst),
    })
    .prefault({});

export const ConfigurationFile = z.strictObject({
  mode: ModeSchema,
  shadow: ShadowTimeSchema,
  server: z
    .strictObject({
      host: z.string().min(1).max(255).default('127.0.0.1'),
      port: z.int().min(0).max(65_535).default(8080),
      publicUrl: publicUrl.optional(),
    })
    .prefault({}),
  issuer: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._:/-]{0,255}$/, 'must be a plain name or URL')
    .default('interlock'),
  dataDir: path.default('data'),
  database: z
    .strictObject({
      url: storeUrl(DATABASE_SCHEMES).optional(),
      directUrl: storeUrl(DATABASE_SCHEMES).optional(),
    })
    .prefault({}),
  redis: z.strictObject({ url: storeUrl(REDIS_SCHEMES).optional() }).prefault({}),
  identities: path.default('identities.yaml'),
  oidc: z.array(OidcProvider).max(8).default([]),
  signingKey: path.default('signing-key.json'),
  policies: z.strictObject({
    directory: path.default('policies'),
    default: name,
    byLabel: z
      .record(
        z
          .string()
          .regex(
            /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}=[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/,
            'must be "label=value"',
          ),
        name,
      )
      .default({}),
  }),
  /** A directory where the database is not: signed heads are kept there, and compared with at start. */
  ledger: z.strictObject({ anchors: path.optional() }).prefault({}),
  models: z
    .strictObject({
      roots: z.array(path).default([]),
      /** Whether weights in a local path are read and digested before anything evaluates them. */
      digest: z.enum(['local', 'off']).default('local'),
    })
    .prefault({}),
  evidence: EvidenceConfigSchema,
  outbound: z.strictObject({ allow: z.array(z.string().min(1).max(255)).default([]) }).prefault({}),
  orchestrators: OrchestratorsConfigSchema,
  isolation: IsolationConfigSchema,
  alerts: z.array(z.looseObject({ name, kind: z.string().min(1) })).default([]),
  /** The red button's own door; the host is by default that of the service. */
  button: z
    .strictObject({
      host: z.string().min(1).max(255).optional(),
      port: z.int().min(0).max(65_535).default(8112),
    })
    .prefault({}),
  roles: z
    .array(z.enum(SERVICE_ROLES))
    .min(1)
    .default([...SERVICE_ROLES]),
  evaluators: z
    .strictObject({
      concurrency: z.int().min(1).max(64).default(2),
      dispatches: z.int().min(1).max(256).default(8),
      /** Where executors of kind slurm submit; `jobs` is seen by Interlock and every node under the same path. */
      slurm: z
        .strictObject({
          directory: AbsolutePath.default('/usr/bin'),
          conf: AbsolutePath.optional(),
          jobs: AbsolutePath,
        })
        .optional(),
      containment: z.enum(['auto', 'cgroup', 'namespace', 'marks']).default('auto'),
      limits: z
        .strictObject({
          memory: byteCount(2 ** 20).optional(),
          processes: z.int().min(1).max(4_194_304).optional(),
          openFiles: z.int().min(16).max(1_048_576).optional(),
          fileSize: byteCount(1).optional(),
          cpus: z.number().min(0.01).max(4096).optional(),
          cpuTime: DurationSchema.optional(),
        })
        .prefault({}),
    })
    .prefault({}),
  /** Labels of this process's workers, and how much of each runs here at once. */
  workers: z
    .strictObject({
      labels: z
        .record(ResourceLabelSchema, z.int().min(1).max(64))
        .refine(
          (labels) => Object.keys(labels).length <= WORKER_LABELS_MAX,
          `must be at most ${WORKER_LABELS_MAX} labels: each set of them is a queue`,
        )
        .default({}),
    })
    .prefault({}),
  limits: z
    .strictObject({
      heartbeat: rate(2_000, 10_000),
      intake: rate(2_000, 10_000),
      read: rate(500, 2_000),
      open: rate(50, 200),
      stranger: rate(50, 500),
      streamsPerIdentity: z.int().min(1).max(1_000).default(8),
      streamsTotal: z.int().min(1).max(10_000).default(256),
    })
    .prefault({}),
  logLevel: z.enum(LOG_LEVELS).default('info'),
});
export type ConfigurationFile = z.output<typeof ConfigurationFile>;
