/**
 * Outside evaluators: their grant, their own view of a run, and what they say under their own signature.
 *
 * What a party says is a signed message (Ed25519, `v1a`); its body is kept as evidence before anything is recorded, so that the
 * event, which names body and signature, can be checked by anybody who has both. Without a store for evidence nothing is taken.
 */
import { z } from 'zod';
import { EvaluatorUrlSchema } from '../../domain/executor.ts';
import { NativeResultSchema } from '../../domain/native-result.ts';
import { type Context, type Decision, isRejection } from '../../domain/run/context.ts';
import { currentAttempt, statusOf } from '../../domain/run/evaluation.ts';
import {
  evaluationsOf,
  grantOf,
  isVisible,
  submitOutsideFinding,
  submitOutsideResult,
} from '../../domain/run/outside.ts';
import {
  type OutsideGrant,
  OutsideGrantSchema,
  SeveritySchema,
  type SignedWord,
} from '../../domain/run/outside-documents.ts';
import type { RunState } from '../../domain/run/state.ts';
import { partyKey, submissionKey } from '../../domain/run/view.ts';
import { WEIGHTS_CHANGED } from '../../domain/run/weights.ts';
import { sha256 } from '../../service/digest.ts';
import { resultDigest } from '../../service/evaluation-work.ts';
import type { Executed, LoadedRun } from '../../service/run-service.ts';
import { forbidden, invalid, notFound, type Refusal, unavailable } from '../refusal.ts';
import { type RawCall, type Route, route } from '../route.ts';
import {
  ComputeOut,
  IdSchema,
  Instant,
  isFailed,
  isRefusal,
  OF_RUN,
  RunParams,
  receiptOf,
  refusalOf,
  runAfter,
  text,
} from './common.ts';
import type { Services } from './services.ts';

const BODY_BYTES_MAX = 256 * 1024;
const SUBMISSIONS_SHOWN = 200;

const GrantBody = z
  .strictObject({
    identity: IdSchema,
    checkpoints: z.enum(['all', 'due']).default('due'),
    endpoint: EvaluatorUrlSchema.max(2048)
      .optional()
      .meta({ description: "Where the party finds the model; left out, it is shown the weights' address" }),
    compute: z
      .boolean()
      .default(false)
      .meta({ description: 'Whether it is told the compute of checkpoints' }),
    expires: Instant.optional().meta({
      description: 'A past instant ends the grant; left out, it does not end',
    }),
  })
  .meta({ id: 'OutsideGrantRequest' });

const ResultBody = z
  .strictObject({
    evaluationId: IdSchema,
    attempt: z.int().min(1).max(10_000),
    result: NativeResultSchema,
  })
  .meta({
    id: 'OutsideResult',
    description: 'Of an evaluation that the policy gives the party; all of it is signed',
  });

const FindingBody = z
  .strictObject({
    runId: IdSchema.meta({ description: 'The run of the path: what is signed says what it is about' }),
    findingId: IdSchema,
    checkpointId: IdSchema.optional().meta({ description: 'Default: the newest that the party may see' }),
    category: IdSchema.optional(),
    severity: SeveritySchema,
    title: text(200),
    text: text(100_000).meta({ description: 'Kept as evidence, never in the ledger' }),
    evidenceUri: z
      .string()
      .regex(/^[a-z][a-z0-9+.-]*:\/\/[\x21-\x7e]{1,2000}$/, 'must be a URI')
      .optional(),
    hazardous: z.boolean().default(false).meta({
      description: 'The words are sealed, and the title with them. A hazardous category does the same',
    }),
  })
  .meta({ id: 'OutsideFindingReport' });

const View = z
  .object({
    runId: z.string(),
    grant: z.object({ checkpoints: z.enum(['all', 'due']), expiresAt: z.string().nullable() }),
    checkpoints: z.array(
      z.object({
        checkpointId: z.string(),
        model: z.string().meta({ description: 'Where the party finds it' }),
        weightsDigest: z.string().nullable(),
        effectiveCompute: ComputeOut.nullable().meta({ description: 'null: the party is not told' }),
        reportedAt: z.string(),
        evaluations: z
          .array(
            z.object({
              evaluationId: z.string(),
              evaluation: z.string(),
              variant: z.string(),
              attempt: z.number(),
              status: z.string(),
            }),
          )
          .meta({ description: "The party's own" }),
      }),
    ),
    submissions: z.array(
      z.object({
        kind: z.enum(['result', 'finding']),
        evaluationId: z.string().optional(),
        attempt: z.number().optional(),
        findingId: z.string().optional(),
        checkpointId: z.string().optional(),
        category: z.string().nullable().optional(),
        severity: SeveritySchema.optional(),
        title: z.string().nullable().optional(),
        bodyDigest: z.string(),
        messageId: z.string(),
        at: z.string(),
      }),
    ),
  })
  .meta({ id: 'OutsideView', description: 'What an outside evaluator may see of a run: its own' });

const Taken = z.object({ runId: z.string(), bodyDigest: z.string() }).meta({
  id: 'OutsideSubmission',
  description: 'Recorded; the digest names the signed body among the evidence',
});

/** Whatever a party says goes the same way. */
const SUBMISSION = {
  tags: ['outside'],
  params: RunParams,
  bodyLimitBytes: BODY_BYTES_MAX,
  responses: { 201: Taken, 200: Taken },
} as const;

type Party = { readonly id: string };

export const outsideRoutes = (services: Services): Route[] => {
  const { runs, ledger, evidence, weights, clock, partyKeys } = services;

  /** So that others than Interlock can tell who said it. */
  const unsigned = ({ webhook }: Pick<RawCall, 'webhook'>): Refusal | null =>
    webhook === null
      ? forbidden('this must be signed with the key of the party (v1a), not shown a token')
      : null;

  /** A run without a grant in force is as good as none: the answer does not say whether there is one. */
  async function granted(
    runId: string,
    { id }: Party,
  ): Promise<{ loaded: LoadedRun; grant: OutsideGrant } | Refusal> {
    const loaded = await runs.load(runId);
    const grant = loaded === null ? null : grantOf(loaded.state, id, clock());
    if (loaded === null || grant === null)
      return notFound(`there is no run ${runId} that you may see`, 'path.run');
    return { loaded, grant };
  }

  function signedBy(call: Pick<RawCall, 'headers' | 'rawBody' | 'webhook'>, party: Party): SignedWord {
    const header = (name: string): string => z.string().parse(call.headers[name]);
    return {
      messageId: header('webhook-id'),
      timestamp: header('webhook-timestamp'),
      signature: header('webhook-signature'),
      publicKeys: [...(partyKeys(party.id) ?? [])],
      bodyDigest: sha256(call.rawBody),
    };
  }

  /**
   * What the domain would refuse is refused before its words are kept: nobody fills a store, or the stream of a run, with them. The
   * decision that counts is made again, of the state as it is then.
   */
  const refusedAs = (decision: Decision): Refusal | null =>
    isRejection(decision) ? refusalOf({ outcome: 'rejected', rejection: decision.rejected }, OF_RUN) : null;
  const contextOf = ({ policy }: LoadedRun): Context => ({
    now: clock(),
    policy,
    digest: sha256,
    progress: null,
  });

  /** Before anything is recorded of them: what the ledger names must be there. */
  async function keepWords(
    rawBody: Buffer,
    about: {
      runId: string;
      evaluationId: string | null;
      attempt: number | null;
      by: string;
      hazardous?: boolean;
    },
  ): Promise<Refusal | null> {
    async function* stream(): AsyncGenerator<Uint8Array> {
      yield rawBody;
    }
    const kept = evidence === null ? null : await evidence.keep({ stream }, about);
    if (kept !== null) return null;
    return unavailable(
      'evidence-unavailable',
      'What was sent could not be kept as evidence; nothing was recorded.',
      60,
    );
  }

  async function priorOf(runId: string, party: string, findingId: string): Promise<string | null> {
    const row = await ledger.view('outside', submissionKey(runId, party, `finding/${findingId}`));
    const prior = z.object({ bodyDigest: z.string() }).safeParse(row?.doc);
    return prior.success ? prior.data.bodyDigest : null;
  }

  return [
    route({
      method: 'POST',
      path: '/v1/runs/:run/outside-evaluators',
      summary: 'Let an outside evaluator see a run and be heard about it',
      description: 'Another grant for the same party takes the place of the one before.',
      tags: ['outside'],
      params: RunParams,
      body: GrantBody,
      responses: { 201: OutsideGrantSchema, 200: OutsideGrantSchema },
      handler: async (call) => {
        const { params, body, identity } = call;
        if (partyKeys(body.identity) === null) {
          return invalid([{ path: 'identity', message: 'is no identity with the role outside-evaluator' }]);
        }
        const executed = await runs.execute(
          params.run,
          {
            type: 'GrantOutside',
            party: body.identity,
            checkpoints: body.checkpoints,
            endpoint: body.endpoint ?? null,
            compute: body.compute,
            expiresAt: body.expires === undefined ? null : new Date(body.expires).toISOString(),
            by: identity.id,
          },
          { actor: identity.id, receipt: receiptOf(call) },
        );
        if (isFailed(executed)) return refusalOf(executed, OF_RUN);
        const loaded = await runAfter(executed, runs, params.run);
        if (isRefusal(loaded)) return loaded;
        const grant = grantNamed(loaded.state, body.identity);
        if (grant === null) return notFound('there is no such grant', 'identity');
        return { status: executed.outcome === 'recorded' ? 201 : 200, body: grant };
      },
    }),
    route({
      method: 'GET',
      path: '/v1/runs/:run/outside',
      summary: "An outside evaluator's own view of a run",
      description:
        'Checkpoints that its grant lets it see, evaluations that the policy gives it, and what it has said.',
      tags: ['outside'],
      params: RunParams,
      responses: { 200: View },
      handler: async ({ params, identity }) => {
        const found = await granted(params.run, identity);
        if (isRefusal(found)) return found;
        const rows = await ledger.views({
          kind: 'outside',
          runId: partyKey(params.run, identity.id),
          limit: SUBMISSIONS_SHOWN,
          order: 'desc',
        });
        const submissions = rows.map(({ doc }) => View.shape.submissions.element.parse(doc));
        return { status: 200, body: { ...viewOf(found.loaded, found.grant), submissions } };
      },
    }),
    route({
      method: 'POST',
      path: '/v1/runs/:run/outside-results',
      summary: 'Report the result of an evaluation that the policy gives the party',
      description:
        'Signed with the key of the party. It counts as every result does: late ones may only worsen a level.',
      ...SUBMISSION,
      body: ResultBody,
      handler: async (call) => {
        const { params, body, identity } = call;
        const found = unsigned(call) ?? (await granted(params.run, identity));
        if (isRefusal(found)) return found;
        const { evaluationId, attempt, result } = body;
        const signed = signedBy(call, identity);
        const command = {
          type: 'SubmitOutsideResult' as const,
          party: identity.id,
          ...{ evaluationId, attempt, result, resultDigest: resultDigest(result), signed },
        };
        const refused = refusedAs(submitOutsideResult(found.loaded.state, command, contextOf(found.loaded)));
        if (refused !== null) return refused;
        const about = { runId: params.run, evaluationId, attempt, by: identity.id };
        const unkept = await keepWords(call.rawBody, about);
        if (unkept !== null) return unkept;
        const look = (await weights?.lookSoon(params.run, evaluationId)) ?? null;
        const isDoubted = look !== null && !look.ok && look.reason !== WEIGHTS_CHANGED;
        const executed = await runs.execute(
          params.run,
          { ...command, doubt: isDoubted ? look.reason : undefined },
          { actor: identity.id, receipt: receiptOf(call), urgent: true },
        );
        return takenAs(executed, params.run, signed);
      },
    }),
    route({
      method: 'POST',
      path: '/v1/runs/:run/outside-findings',
      summary: 'Report what no evaluation asked for',
      description:
        'Signed with the key of the party. What follows is up to the rules `outside-finding` of the policy; severity high and critical page people in any case.',
      ...SUBMISSION,
      body: FindingBody,
      handler: async (call) => {
        const { params, body, identity } = call;
        const found = unsigned(call) ?? (await granted(params.run, identity));
        if (isRefusal(found)) return found;
        const { runId, findingId, checkpointId = null, category = null, severity } = body;
        if (runId !== params.run) {
          return invalid([{ path: 'runId', message: `must be the run of the path, ${params.run}` }]);
        }
        const by = identity.id;
        const hazardous = body.hazardous || isOfHazardousCategory(found.loaded, category);
        const signed = signedBy(call, identity);
        const build = async () => ({
          type: 'SubmitOutsideFinding' as const,
          party: by,
          ...{ findingId, checkpointId, category, severity, signed },
          title: hazardous ? null : body.title,
          evidenceUri: body.evidenceUri ?? null,
          priorDigest: await priorOf(params.run, by, findingId),
        });
        const { state } = found.loaded;
        const refused = refusedAs(submitOutsideFinding(state, await build(), contextOf(found.loaded)));
        if (refused !== null) return refused;
        const unkept = await keepWords(call.rawBody, {
          runId: params.run,
          evaluationId: null,
          attempt: null,
          by,
          hazardous,
        });
        if (unkept !== null) return unkept;
        const executed = await runs.execute(params.run, build, {
          actor: by,
          receipt: receiptOf(call),
          urgent: true,
        });
        return takenAs(executed, params.run, signed);
      },
    }),
  ];
};

function takenAs(executed: Executed, runId: string, { bodyDigest }: SignedWord) {
  if (isFailed(executed)) return refusalOf(executed, OF_RUN);
  const status = executed.outcome === 'recorded' ? (201 as const) : (200 as const);
  return { status, body: { runId, bodyDigest } };
}

const grantNamed = ({ outside }: RunState, party: string): OutsideGrant | null =>
  outside?.grants.find((each) => each.party === party) ?? null;

function isOfHazardousCategory({ policy }: LoadedRun, category: string | null): boolean {
  const named = policy.categories.filter(({ id }) => category === null || id === category);
  return category !== null && named.some(({ hazardous }) => hazardous === true);
}

function viewOf(
  { state, policy }: LoadedRun,
  grant: OutsideGrant,
): Omit<z.input<typeof View>, 'submissions'> {
  const own = evaluationsOf(policy, grant.party);
  return {
    runId: state.runId,
    grant: { checkpoints: grant.checkpoints, expiresAt: grant.expiresAt },
    checkpoints: state.checkpoints
      .filter((checkpoint) => isVisible(checkpoint, grant))
      .map(
        ({ checkpointId, modelUri, weightsDigest, weights, effectiveCompute, reportedAt, evaluations }) => ({
          checkpointId,
          model: grant.endpoint ?? modelUri,
          weightsDigest: weights?.digest ?? weightsDigest ?? null,
          effectiveCompute: grant.compute ? effectiveCompute : null,
          reportedAt,
          evaluations: evaluations
            .filter(({ evaluation }) => own.includes(evaluation))
            .map((each) => ({
              evaluationId: each.evaluationId,
              evaluation: each.evaluation,
              variant: each.variant,
              attempt: currentAttempt(each).attempt,
              status: statusOf(each),
            })),
        }),
      ),
  };
}
