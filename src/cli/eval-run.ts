/**
 * `interlock eval run`: a policy's evaluations of one checkpoint on this machine, and what they come to.
 *
 * How teams try a policy on a laptop. What carries evaluations out and what decides are the service's own parts
 * (service/local-evaluation.ts); here are the arguments, what is said while it runs, and the answer.
 */
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { secretsNamed } from '../button/target-secrets.ts';
import type { InterlockConfiguration } from '../composition/configuration.ts';
import { ComputeSchema } from '../domain/compute.ts';
import type { Policy } from '../domain/policy/schema.ts';
import { evaluationName } from '../domain/run/checkpoint-views.ts';
import { currentAttempt, statusOf } from '../domain/run/evaluation.ts';
import type { RunEvent } from '../domain/run/events.ts';
import type { Verdict } from '../domain/run/finding-documents.ts';
import type { RunState } from '../domain/run/state.ts';
import { detectContainment } from '../evaluators/containment.ts';
import { readLog } from '../evaluators/formats/detect.ts';
import { evaluationLimits } from '../evaluators/limits.ts';
import { createEvaluators, type Evaluators } from '../evaluators/registry.ts';
import { openScorecard } from '../http/routes/documents.ts';
import { createOutbound } from '../outbound/outbound.ts';
import { evaluateLocally } from '../service/local-evaluation.ts';
import { checkPolicyFile, pin } from '../service/policies.ts';
import type { LoadedRun } from '../service/run-service.ts';
import { EXIT, type ExitCode, UsageError } from './exit.ts';
import { json, plural, printable } from './output.ts';
import { listed } from './policy-check.ts';
import { Scorecard } from './service-documents.ts';
import { levelLines, progressText } from './show-run.ts';
import type { Terminal } from './terminal.ts';

export interface EvalRunOptions {
  readonly policy: string;
  readonly checkpoint: string;
  readonly endpoint?: string;
  readonly only?: readonly string[];
  readonly compute?: string;
  readonly concurrency: number;
  readonly config?: string;
  readonly json?: true;
}

export async function evalRun(options: EvalRunOptions, terminal: Terminal): Promise<ExitCode> {
  const { check } = await checkPolicyFile(options.policy);
  if (!check.ok) {
    terminal.complain(
      `${options.policy}: refused, ${plural(check.problems.length, 'problem')}\n${listed(check.problems)}`,
    );
    return EXIT.failed;
  }
  const { digest } = pin(check.policy);
  const { policy, notRun } = selected(check.policy, options.only);
  const modelUri = await modelOf(options.checkpoint);
  const checkpointId = idOf(modelUri);
  const endpoint = endpointOf(options.endpoint);
  const effectiveCompute = computeOf(options.compute ?? policy.cadence.firstCheckpointBy);
  const scratch = await mkdtemp(join(tmpdir(), 'interlock-eval-'));
  const stop = new AbortController();
  const interrupted = (): void => stop.abort();
  for (const signal of SIGNALS) process.once(signal, interrupted);
  const story = createStory(terminal);
  try {
    const loaded = await evaluateLocally(
      {
        policy,
        checkpointId,
        modelUri,
        endpoint,
        effectiveCompute,
        evaluators: await evaluatorsHere(options, scratch, modelUri, terminal),
        concurrency: options.concurrency,
        clock: () => new Date(),
        logger: {
          info: () => undefined,
          warn: (_fields, message) => terminal.complain(`interlock: ${message}`),
        },
        onEvents: story.events,
        onProgress: story.progress,
      },
      stop.signal,
    );
    story.end();
    if (stop.signal.aborted) {
      terminal.complain(
        'interlock: stopped before the end; everything that it had started is ended, and nothing is concluded',
      );
      return EXIT.failed;
    }
    return answer(loaded, { checkpointId, digest, notRun, asJson: options.json === true }, terminal);
  } finally {
    for (const signal of SIGNALS) process.off(signal, interrupted);
    await rm(scratch, { recursive: true, force: true });
  }
}

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

// --- what is asked ---------------------------------------------------------------------------------------

interface Selected {
  readonly policy: Policy;
  readonly notRun: readonly string[];
}

function selected(policy: Policy, only: readonly string[] | undefined): Selected {
  if (only === undefined) return { policy, notRun: [] };
  const known = policy.evaluations.map(({ id }) => id);
  const unknown = only.find((id) => !known.includes(id));
  if (unknown !== undefined) {
    throw new UsageError(`--only ${unknown}: the policy has no such evaluation; it has ${known.join(', ')}`);
  }
  const evaluations = policy.evaluations.filter(({ id }) => only.includes(id));
  return { policy: { ...policy, evaluations }, notRun: known.filter((id) => !only.includes(id)) };
}

/** A path of this machine is named whole, and what it links to. */
async function modelOf(checkpoint: string): Promise<string> {
  const isFile = /^file:/i.test(checkpoint);
  if (!isFile && /^[a-z][a-z0-9+.-]*:/i.test(checkpoint)) return checkpoint;
  const file = isFile ? pathOf(checkpoint) : resolve(checkpoint);
  return realpath(file).catch(() => {
    throw new UsageError(`--checkpoint ${checkpoint}: there is no such file or directory`);
  });
}

function pathOf(url: string): string {
  try {
    return fileURLToPath(url);
  } catch {
    throw new UsageError(`--checkpoint ${url}: is no file of this machine`);
  }
}

/** As a trainer would name it: the last part of where it lies. */
function idOf(modelUri: string): string {
  const last = modelUri.split(/[/?#]/).findLast((part) => part !== '') ?? '';
  const id = last
    .replace(/[^A-Za-z0-9._-]/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 128);
  return id === '' ? 'checkpoint' : id;
}

/** As it would be taken with a checkpoint; only that here any address of this machine may answer. */
function endpointOf(text: string | undefined): string | null {
  if (text === undefined) return null;
  const url = /^[\x21-\x7e]{1,2048}$/.test(text) && URL.canParse(text) ? new URL(text) : null;
  if (url !== null && /^https?:$/.test(url.protocol) && url.username === '' && url.password === '')
    return text;
  throw new UsageError(`--endpoint: must be an http or https URL without credentials, up to 2048 characters`);
}

function computeOf(text: string) {
  const read = ComputeSchema.safeParse(text);
  if (!read.success) throw new UsageError(`--compute ${text}: must be a positive number of FLOP up to 1e40`);
  return read.data;
}

async function evaluatorsHere(
  options: EvalRunOptions,
  scratch: string,
  modelUri: string,
  terminal: Terminal,
): Promise<Evaluators> {
  const config = await configOf(options, terminal);
  const { env } = terminal;
  const outbound = createOutbound({ allow: config?.outbound.allow ?? ['loopback'] });
  // Named by whoever sits here: no root has to allow it.
  const modelRoots = [...(config?.models.roots ?? []), ...(modelUri.startsWith('/') ? [modelUri] : [])];
  const baseEnvironment = { PATH: env['PATH'], HOME: env['HOME'], LANG: env['LANG'] };
  const environmentVariable = (name: string): string | undefined => env[name];
  const evaluators = createEvaluators({
    command: {
      modelRoots,
      baseEnvironment,
      environmentVariable,
      jobsDirectory: join(scratch, 'jobs'),
      attemptsDirectory: join(scratch, 'attempts'),
      readLog,
      baseDirectory: dirname(resolve(options.policy)),
      containment: await detectContainment({
        mode: config?.evaluators.containment ?? 'auto',
        limits: evaluationLimits(config?.evaluators.limits ?? {}),
      }),
    },
    slurm: {
      readLog,
      cluster: config?.evaluators.slurm ?? null,
      modelRoots,
      baseEnvironment,
      environmentVariable,
    },
    http: {
      outbound,
      now: () => new Date(),
      secrets: (reference) => (reference === undefined ? [] : secretsNamed(env, reference)),
    },
  });
  return {
    ...evaluators,
    run(executor, request, signal, more) {
      const needsService =
        executor.kind === 'outside'
          ? 'is carried out by an outside party: needs the service'
          : executor.kind === 'http' && executor.mode === 'callback'
            ? 'answers by callback: needs the service'
            : null;
      return needsService === null
        ? evaluators.run(executor, request, signal, more)
        : Promise.resolve({ kind: 'failed', reason: 'not-configured', detail: needsService });
    },
  };
}

async function configOf(
  { config }: EvalRunOptions,
  terminal: Terminal,
): Promise<InterlockConfiguration | null> {
  if (config === undefined) return null;
  // Only here: it loads far more than an evaluation needs.
  const { loadConfig } = await import('./configuration.ts');
  return loadConfig(config, terminal);
}

// --- what is said while it runs --------------------------------------------------------------------------

const PLAIN_LINE_MS = 10_000;

/** One line per step on standard error; between them how far it is, drawn over itself on a terminal. */
function createStory({ complain, redraw }: Terminal) {
  const names = new Map<string, string>();
  let isDrawn = false;
  let saidMs = Number.NEGATIVE_INFINITY;
  const say = (line: string): void => {
    if (isDrawn) redraw?.('');
    isDrawn = false;
    complain(line);
  };
  const nameOf = (evaluationId: string): string => printable(names.get(evaluationId) ?? evaluationId);
  return {
    events(events: readonly RunEvent[], state: RunState): void {
      for (const { evaluations } of state.checkpoints) {
        for (const each of evaluations) names.set(each.evaluationId, evaluationName(each));
      }
      for (const event of events) {
        const line = lineOf(event, nameOf);
        if (line !== null) say(line);
      }
    },
    progress({
      evaluationId,
      ...figures
    }: Parameters<Parameters<typeof evaluateLocally>[0]['onProgress']>[0]): void {
      const line = `${nameOf(evaluationId)}: ${progressText(figures)}`;
      if (redraw !== undefined) {
        redraw(line);
        isDrawn = true;
      } else if (performance.now() - saidMs >= PLAIN_LINE_MS) {
        saidMs = performance.now();
        complain(line);
      }
    },
    end(): void {
      if (isDrawn) redraw?.('');
    },
  };
}

function lineOf(event: RunEvent, nameOf: (evaluationId: string) => string): string | null {
  switch (event.kind) {
    case 'EvaluationStarted':
      return `${nameOf(event.data.evaluationId)}: attempt ${event.data.attempt} runs`;
    case 'EvaluationReported': {
      const { reading, evaluationId } = event.data;
      return `${nameOf(evaluationId)}: ${reading.conclusive ? `score ${figure(reading.score)}` : `inconclusive: ${reading.reasons.map(printable).join(', ')}`}`;
    }
    case 'EvaluationAttemptFailed': {
      const { evaluationId, reason, detail, nextAttemptAt } = event.data;
      const again = nextAttemptAt === null ? '' : '; tries again';
      return `${nameOf(evaluationId)}: failed: ${printable(reason)}${detail === null ? '' : ` (${printable(detail)})`}${again}`;
    }
    case 'EvaluationRequeued':
      return `${nameOf(event.data.evaluationId)}: again, ${event.data.purpose}`;
    case 'EvaluationsCancelled':
      return `cancelled: ${event.data.evaluationIds.map(nameOf).join(', ')} (${printable(event.data.reason)})`;
    default:
      return null;
  }
}

const figure = (value: number | null): string =>
  value === null ? '?' : String(Number(value.toPrecision(4)));

// --- what it comes to ------------------------------------------------------------------------------------

interface Answer {
  readonly checkpointId: string;
  readonly digest: string;
  readonly notRun: readonly string[];
  readonly asJson: boolean;
}

function answer(
  loaded: LoadedRun,
  { checkpointId, digest, notRun, asJson }: Answer,
  terminal: Terminal,
): ExitCode {
  const { state, policy } = loaded;
  const open = openScorecard(loaded, checkpointId, new Date());
  if (open === null) throw new TypeError('the checkpoint is gone');
  // Not closed: something required is still missing, and that is no pass.
  const verdict: Verdict =
    open.state === 'closed' ? (open.verdict ?? 'hold') : open.verdict === 'halt' ? 'halt' : 'hold';
  const evaluations = state.checkpoints
    .filter((each) => each.checkpointId === checkpointId)
    .flatMap((each) => each.evaluations)
    .map((each) => ({
      name: evaluationName(each),
      status: statusOf(each),
      attempts: each.attempts.length,
      reading: each.attempts.findLast(({ reading }) => reading !== null)?.reading ?? null,
      reason: currentAttempt(each).reason ?? null,
    }));
  if (asJson) {
    terminal.print(
      json({ policy: policy.policy, digest, checkpointId, verdict, scorecard: open, evaluations, notRun }),
    );
    return verdict === 'proceed' ? EXIT.ok : EXIT.negative;
  }
  const { style } = terminal;
  for (const line of levelLines(Scorecard.parse(open), style)) terminal.print(line);
  for (const { name, status, reading, reason } of evaluations) {
    const why = reading === null || reading.conclusive ? reason : reading.reasons.join(', ');
    const score =
      reading === null
        ? ''
        : `, score ${figure(reading.score)}${reading.n === null ? '' : ` of ${reading.n}`}`;
    terminal.print(
      `  ${printable(name)}: ${status}${score}${why === null || status === 'completed' ? '' : `, ${printable(why)}`}`,
    );
  }
  if (notRun.length > 0)
    terminal.print(`  not run: ${notRun.map(printable).join(', ')}; the verdict is of the others alone`);
  const paint = verdict === 'proceed' ? style.green : verdict === 'hold' ? style.yellow : style.red;
  terminal.print(`  verdict   ${paint(verdict)} under ${printable(policy.policy)}`);
  return verdict === 'proceed' ? EXIT.ok : EXIT.negative;
}
