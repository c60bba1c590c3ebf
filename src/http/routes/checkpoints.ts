/** Checkpoints in: plain JSON or CloudEvents, signed or by token. The answer comes after the commit. */
import { isIP } from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { resolveCompute } from '../../domain/compute.ts';
import { classify, parseAddress } from '../../outbound/addresses.ts';
import { CLOUD_EVENTS_MEDIA_TYPE, readCheckpointEvent } from '../cloud-events.ts';
import { invalid } from '../refusal.ts';
import { type Route, route } from '../route.ts';
import { ComputeSchema, IdSchema, isFailed, receiptOf, refusalOf, TrainingStageIn } from './common.ts';
import type { Services } from './services.ts';

const METADATA_BYTES_MAX = 4096;
const REMOTE_SCHEMES = [
  's3',
  'gs',
  'az',
  'abfs',
  'abfss',
  'hdfs',
  'hf',
  'oci',
  'https',
  'http',
  'wandb',
  'mlflow',
];

const plainText = (max: number) =>
  z
    .string()
    .min(1)
    .max(max)
    .regex(/^[\x21-\x7e]+$/, 'must be printable ASCII without spaces');

const CheckpointBody = z
  .strictObject({
    runId: IdSchema,
    checkpointId: IdSchema,
    effectiveCompute: ComputeSchema.optional(),
    physicalFlop: ComputeSchema.optional(),
    efficiencyMultiplier: z.number().gt(0).max(1e12).optional(),
    parameters: ComputeSchema.optional(),
    tokens: ComputeSchema.optional(),
    weightsDigest: z
      .string()
      .regex(/^sha256:[0-9a-f]{64}$/, 'must be "sha256:" and 64 lower-case hexadecimal digits')
      .optional()
      .meta({ description: 'By which later runs may name these weights as a parent' }),
    parents: z.array(z.string().min(1).max(256)).min(1).max(16).optional().meta({
      description:
        'Weights of other runs that were merged in since the checkpoint before: runs, run/checkpoint or digests',
    }),
    trainingStage: TrainingStageIn.optional(),
    step: z.int().min(0).optional(),
    modelUri: plainText(2048),
    endpoint: plainText(2048).optional(),
    metadata: z
      .record(z.string(), z.json())
      .refine((value) => JSON.stringify(value).length <= METADATA_BYTES_MAX, 'must be at most 4 KiB')
      .optional()
      .meta({ description: 'Kept only as part of the digest of what was sent' }),
    evaluate: z
      .union([z.boolean(), z.literal('tripwire')])
      .optional()
      .meta({
        description:
          'Evaluate although not due, or its tripwires alone, which clear nothing; a due one always is evaluated',
      }),
  })
  .meta({
    id: 'CheckpointReport',
    description:
      'State compute as effectiveCompute, or physicalFlop with efficiencyMultiplier, or parameters with tokens (6ND); several must agree within 1 %',
  });

const CheckpointAnswer = z
  .object({
    runId: z.string(),
    checkpointId: z.string(),
    disposition: z.enum(['evaluate', 'recorded']),
    evaluations: z.array(z.object({ evaluationId: z.string(), name: z.string() })),
    statusUrl: z.string(),
    retainUntil: z.string().nullable().meta({
      description:
        'Keep the weights at least until then; heartbeats extend it. null: nothing of this checkpoint is evaluated',
    }),
  })
  .meta({ id: 'CheckpointAccepted' });

export const checkpointRoutes = ({ intake, modelRoots }: Services): Route[] => [
  route({
    method: 'POST',
    path: '/v1/checkpoints',
    summary: 'Report a checkpoint',
    description:
      'Answered after it is durable. The same again is answered 200; the same id with other content 409.',
    tags: ['checkpoints'],
    mediaTypes: [CLOUD_EVENTS_MEDIA_TYPE],
    unwrap: readCheckpointEvent,
    body: CheckpointBody,
    responses: { 202: CheckpointAnswer, 200: CheckpointAnswer },
    handler: async (call) => {
      const { body, identity } = call;
      const stated = resolveCompute(body);
      const errors = [
        ...(stated.ok ? [] : [{ path: stated.path, message: stated.message }]),
        ...problem('modelUri', modelUriProblem(body.modelUri, modelRoots)),
        ...problem('endpoint', body.endpoint === undefined ? null : endpointProblem(body.endpoint)),
      ];
      if (!stated.ok || errors.length > 0) return invalid(errors);
      const { runId, checkpointId } = body;
      const executed = await intake.reportCheckpoint(
        {
          runId,
          checkpointId,
          effectiveCompute: stated.effectiveCompute,
          step: body.step ?? null,
          modelUri: body.modelUri,
          endpoint: body.endpoint ?? null,
          metadata: body.metadata ?? null,
          evaluate: body.evaluate !== undefined && body.evaluate !== false,
          ...(body.evaluate === 'tripwire' ? { tripwiresOnly: true as const } : {}),
          ...(body.weightsDigest === undefined ? {} : { weightsDigest: body.weightsDigest }),
          ...(body.trainingStage === undefined ? {} : { trainingStage: body.trainingStage }),
          ...(body.parents === undefined ? {} : { parents: body.parents }),
          ...(body.efficiencyMultiplier === undefined
            ? {}
            : { efficiencyMultiplier: body.efficiencyMultiplier }),
          ...(body.evaluate === false ? { declined: true as const } : {}),
        },
        identity,
        receiptOf(call),
      );
      if (isFailed(executed)) return refusalOf(executed, { '': 'runId' });
      const answer = await intake.checkpointAnswer(runId, checkpointId, executed);
      return { status: executed.outcome === 'recorded' ? 202 : 200, body: answer };
    },
  }),
];

const problem = (at: string, message: string | null) => (message === null ? [] : [{ path: at, message }]);

/** Where weights may lie: a known remote store, or a local path under models.roots. Nothing is fetched here. */
export function modelUriProblem(uri: string, roots: readonly string[]): string | null {
  if (uri.startsWith('-')) return 'must not begin with a dash';
  if (/(^|[\\/])\.\.([\\/]|$)/.test(decoded(uri))) return 'must not hold ".." segments';
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(uri)?.[1]?.toLowerCase();
  if (scheme === 'file' || uri.startsWith('/')) return localPathProblem(uri, roots);
  if (
    scheme === undefined ||
    !REMOTE_SCHEMES.includes(scheme) ||
    !uri.slice(scheme.length).startsWith('://')
  ) {
    return `must be an absolute local path, file:// or one of ${REMOTE_SCHEMES.map((each) => `${each}://`).join(' ')}`;
  }
  return scheme === 'http' || scheme === 'https' ? hostProblem(uri) : null;
}

function decoded(uri: string): string {
  try {
    return decodeURIComponent(uri);
  } catch {
    return uri;
  }
}

function localPathProblem(uri: string, roots: readonly string[]): string | null {
  let file = uri;
  if (/^file:/i.test(uri)) {
    try {
      file = fileURLToPath(uri);
    } catch {
      return 'is not a local file URL';
    }
  }
  const under = roots.some((root) => {
    const relative = path.relative(root, file);
    return relative !== '..' && !relative.startsWith(`..${path.sep}`) && !path.isAbsolute(relative);
  });
  return under ? null : 'a local path must lie under models.roots of the configuration';
}

function hostProblem(uri: string): string | null {
  if (!URL.canParse(uri)) return 'is not a URL';
  const { hostname, username, password } = new URL(uri);
  if (username !== '' || password !== '') return 'must not hold credentials';
  const host = hostname.replace(/^\[|\]$/g, '');
  const address = isIP(host) === 0 ? null : parseAddress(host);
  const refused = address !== null && classify(address) === 'forbidden';
  return refused || /^metadata(\.|$)/i.test(host) ? 'names a link-local or metadata address' : null;
}

function endpointProblem(url: string): string | null {
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) return 'must be an http or https URL';
  return hostProblem(url);
}
