/**
 * What slurmrestd answers, v0.0.37 to v0.0.44, in one reading.
 *
 * Shapes differ by version: a state is a text or an array, a number is a number or `{set, infinite, number}`, and an
 * error stands in `errors` or, under HTTP 200, in `status[].error`. Nothing of an answer's text is handed on.
 */
import { z } from 'zod';
import type { Effect, Found } from './access.ts';
import { acceleratorsOfGres, acceleratorsOfTres, jobSchema, type SlurmJob } from './job.ts';

const numberSchema = z
  .union([z.number(), z.object({ set: z.boolean(), infinite: z.boolean(), number: z.number() }), z.null()])
  .transform((value) => {
    if (value === null || typeof value === 'number') return value;
    return value.set && !value.infinite ? value.number : null;
  });

const statesSchema = z
  .union([z.string(), z.array(z.string())])
  .transform((value) => (typeof value === 'string' ? [value] : value));

const restJobSchema = z
  .object({
    job_id: z.number(),
    array_job_id: numberSchema.optional(),
    het_job_id: numberSchema.optional(),
    user_name: z.string(),
    user_id: z.number().optional(),
    job_state: statesSchema,
    submit_time: numberSchema,
    start_time: numberSchema.optional(),
    end_time: numberSchema.optional(),
    restart_cnt: numberSchema,
    priority: numberSchema.optional(),
    hold: z.boolean().optional(),
    node_count: numberSchema.optional(),
    tres_alloc_str: z.string().optional(),
    gres_detail: z.array(z.string()).optional(),
  })
  .transform((job) => ({
    jobId: job.job_id,
    arrayJobId: job.array_job_id || null,
    hetJobId: job.het_job_id || null,
    user: job.user_name,
    userId: job.user_id ?? null,
    states: job.job_state,
    submittedAtS: job.submit_time ?? 0,
    startedAtS: job.start_time || null,
    endedAtS: job.end_time || null,
    restarts: job.restart_cnt ?? 0,
    held: job.hold === true || job.priority === 0,
    nodes: job.node_count ?? 0,
    accelerators: acceleratorsOfTres(job.tres_alloc_str ?? '') ?? acceleratorsOfGres(job.gres_detail ?? []),
  }))
  .pipe(jobSchema);

const code = z.number().nullish();
const replySchema = z.object({
  errors: z.array(z.object({ error_number: code })).nullish(),
  status: z.array(z.object({ error: z.object({ code }).nullish() })).nullish(),
  jobs: z.array(z.unknown()).nullish(),
});
type Reply = z.infer<typeof replySchema>;

const NO_SUCH_JOB = 2017;
const ALREADY_ENDED = 2021;
const BUSY = 2020;
const ACCESS_DENIED = 2002;
/** No or bad token; 22.05 answers -1 to a look and 5005 to the rest, later versions 1007. */
const NOT_LET_IN = new Set([-1, 1007, 5005]);
const NO_CONTROLLER = new Set([1800, 5004]);

export interface HttpAnswer {
  readonly status: number;
  readonly body: Buffer;
}

/** Null where it is no answer of slurmrestd's: HTML of a proxy, text, something cut off. */
function parse({ body }: HttpAnswer): Reply | null {
  try {
    return replySchema.parse(JSON.parse(body.toString('utf8')));
  } catch {
    return null;
  }
}

/** Also what a version of the API that is not there answers: text, where an unknown job has JSON. */
export function isUnknownPath(answer: HttpAnswer): boolean {
  return answer.status === 404 && parse(answer) === null;
}

function codesOf({ errors, status }: Reply): number[] {
  const inErrors = (errors ?? []).map(({ error_number }) => error_number ?? 0);
  const inStatus = (status ?? []).map(({ error }) => error?.code ?? 0).filter((each) => each !== 0);
  return [...inErrors, ...inStatus];
}

function failure({ status }: HttpAnswer, codes: readonly number[]): string {
  const [first] = codes;
  if (status === 401 || codes.some((each) => NOT_LET_IN.has(each))) {
    return `Slurm did not accept the token (HTTP ${status}${first === undefined ? '' : `, error ${first}`})`;
  }
  if (codes.some((each) => NO_CONTROLLER.has(each))) return `slurmctld does not answer (error ${first})`;
  return first === undefined ? `HTTP ${status}` : `HTTP ${status}, error ${first}`;
}

export function readJobs(answer: HttpAnswer, wanted: (entry: unknown) => boolean = () => true): Found {
  const reply = parse(answer);
  if (reply === null) return { kind: 'failed', detail: `HTTP ${answer.status} and no answer of Slurm's` };
  const codes = codesOf(reply);
  if (codes.includes(NO_SUCH_JOB)) return { kind: 'absent' };
  if (codes.length > 0 || answer.status !== 200) return { kind: 'failed', detail: failure(answer, codes) };
  if (reply.jobs === null || reply.jobs === undefined) {
    return { kind: 'failed', detail: `HTTP ${answer.status} without jobs` };
  }
  const jobs: SlurmJob[] = [];
  for (const entry of reply.jobs.filter(wanted)) {
    const parsed = restJobSchema.safeParse(entry);
    // One that cannot be read may be the one that runs.
    if (!parsed.success) return { kind: 'failed', detail: 'a job that cannot be read' };
    jobs.push(parsed.data);
  }
  return { kind: 'found', jobs };
}

const namedSchema = z.object({ name: z.string(), user_name: z.string() });

export function isCalled(name: string, user: string): (entry: unknown) => boolean {
  return (entry) => {
    const parsed = namedSchema.safeParse(entry);
    return !parsed.success || (parsed.data.name === name && parsed.data.user_name === user);
  };
}

export function readEffect(answer: HttpAnswer): Effect {
  const reply = parse(answer);
  if (reply === null) return { kind: 'failed', detail: `HTTP ${answer.status} and no answer of Slurm's` };
  const codes = codesOf(reply);
  if (codes.includes(ACCESS_DENIED)) return { kind: 'denied', detail: 'Slurm denies the right to (2002)' };
  // Not an end: 22.05 says so of a task of an array that runs.
  const left = codes.filter((each) => each !== ALREADY_ENDED && each !== BUSY);
  if (left.length > 0) return { kind: 'failed', detail: failure(answer, left) };
  if (codes.includes(BUSY)) return { kind: 'busy' };
  if (codes.length > 0) return { kind: 'ended' };
  return answer.status === 200 ? { kind: 'taken' } : { kind: 'failed', detail: failure(answer, codes) };
}
