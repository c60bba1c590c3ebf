/** Evidence: logs by their digest, and the release of sealed ones by two people. */
import { z } from 'zod';
import { EvidenceReleaseSchema } from '../../domain/run/evidence-documents.ts';
import type { RunState } from '../../domain/run/state.ts';
import type { EvidenceRow } from '../../service/evidence.ts';
import { conflict, forbidden, notFound, type Refusal } from '../refusal.ts';
import { type RawCall, type Route, rawResponse, route } from '../route.ts';
import { IdSchema, isFailed, isRefusal, receiptOf, refusalOf, text } from './common.ts';
import type { Services } from './services.ts';

/** Of one answer; larger logs are read in several. */
const READ_BYTES_MAX = 32 * 1024 * 1024;

const EvidenceParams = z.strictObject({
  digest: z.string().regex(/^[0-9a-f]{64}$/, 'must be the SHA-256 of the log, 64 hexadecimal digits'),
});
const SignedBody = z
  .strictObject({ group: IdSchema, justification: text(4000) })
  .meta({ id: 'EvidenceReleaseRequest' });
const ReleaseAnswer = z.object({ release: EvidenceReleaseSchema }).meta({ id: 'EvidenceReleaseAnswer' });

export const evidenceRoutes = ({ evidence, runs }: Services): Route[] => {
  const none = (): Refusal =>
    notFound('no evidence is kept here: `evidence` is not configured', 'path.digest');

  /** The run under whose policy a sealed log is released; its newest keeper. */
  async function sealedRow(digest: string): Promise<EvidenceRow | Refusal> {
    if (evidence === null) return none();
    const rows = await evidence.rows(digest);
    const row = rows.find(({ sealed }) => sealed);
    if (row !== undefined) return row;
    return rows.length === 0
      ? notFound(`no evidence of digest ${digest} is kept`, 'path.digest')
      : conflict('not-sealed', 'it is not sealed and can be read without a release', false, 'path.digest');
  }

  const releaseOf = (state: RunState, digest: string) =>
    state.evidence?.releases.findLast((each) => each.digest === digest) ?? null;

  type Signing = Pick<RawCall, 'webhook' | 'rawBody'> & {
    readonly params: z.output<typeof EvidenceParams>;
    readonly body: z.output<typeof SignedBody>;
    readonly identity: { readonly id: string; readonly groups: readonly string[] };
  };

  async function sign(call: Signing, type: 'AskRelease' | 'ApproveRelease') {
    const { params, body, identity } = call;
    const row = await sealedRow(params.digest);
    if (isRefusal(row)) return row;
    const executed = await runs.execute(
      row.runId,
      { type, digest: params.digest, ...body, groups: identity.groups, by: identity.id },
      { actor: identity.id, receipt: receiptOf(call) },
    );
    if (isFailed(executed)) return refusalOf(executed, { '': 'path.digest', digest: 'path.digest' });
    const state = 'state' in executed ? executed.state : (await runs.load(row.runId))?.state;
    const release = state === undefined ? null : releaseOf(state, params.digest);
    if (release === null) return notFound('the release has ended', 'path.digest');
    const status = executed.outcome === 'recorded' ? (201 as const) : (200 as const);
    return { status, body: { release } };
  }

  return [
    route({
      method: 'GET',
      path: '/v1/evidence/:digest',
      summary: 'The log of an evaluation, by the digest that the ledger names',
      description:
        'Checked against its digest before the first byte. A sealed one takes a release in force, and the reading is recorded; without a private key here it comes sealed (`interlock-evidence: sealed`). At most 32 MiB an answer: `interlock-evidence-bytes` says how many there are.',
      tags: ['evidence'],
      params: EvidenceParams,
      query: z.strictObject({
        offset: z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER).default(0),
        length: z.coerce.number().int().min(1).max(READ_BYTES_MAX).default(READ_BYTES_MAX),
      }),
      responses: { 200: rawResponse('application/octet-stream', 'Bytes of the log') },
      handler: async ({ params, query, identity }) => {
        if (evidence === null) return none();
        const read = await evidence.read(params.digest, identity.id, query);
        if (read.kind === 'refused') {
          return read.code === 'not-found'
            ? notFound(read.message, 'path.digest')
            : forbidden(read.message, 'path.digest');
        }
        const headers = {
          'interlock-evidence': read.sealed ? 'sealed' : 'plain',
          'interlock-evidence-bytes': String(read.total),
          'content-disposition': `attachment; filename="${params.digest}${read.sealed ? '.sealed' : ''}"`,
        };
        return { status: 200, body: read.body, headers };
      },
    }),
    route({
      method: 'POST',
      path: '/v1/evidence/:digest/release',
      summary: 'Ask for the release of a sealed log',
      description:
        'Of the groups that the policy names. Another person approves it; nothing can be read before.',
      tags: ['evidence'],
      params: EvidenceParams,
      body: SignedBody,
      responses: { 201: ReleaseAnswer, 200: ReleaseAnswer },
      handler: (call) => sign(call, 'AskRelease'),
    }),
    route({
      method: 'POST',
      path: '/v1/evidence/:digest/release/approval',
      summary: "Approve another person's request to release a sealed log",
      description: 'From here on it can be read until `endsAt`, and each reading is recorded.',
      tags: ['evidence'],
      params: EvidenceParams,
      body: SignedBody,
      responses: { 201: ReleaseAnswer, 200: ReleaseAnswer },
      handler: (call) => sign(call, 'ApproveRelease'),
    }),
  ];
};
