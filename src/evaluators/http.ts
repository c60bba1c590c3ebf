/**
 * The `http` executor: one attempt is one signed request to an evaluation service.
 *
 * `sync`: the answer is the result. `callback`: a 2xx says that the service took it; the result comes by POST to
 * the callback URL, and until it does the evaluation is open, with its deadline in the domain.
 * Without a URL nobody is called: such an evaluator watches the run and posts by itself.
 * Guarantees: the webhook id is the same for the same attempt, so a repeated dispatch can be recognised; the
 * answer's body goes nowhere but into the result.
 * Fails toward inconclusive: redirects, HTML, errors, silence and oversize are failures with a fixed code.
 * Not here: which addresses may be called (outbound), signatures (signing).
 */
import { durationMs } from '../domain/duration.ts';
import type { HttpExecutor } from '../domain/executor.ts';
import { InterlockError } from '../errors.ts';
import type { Outbound } from '../outbound/outbound.ts';
import { signWebhook, type WebhookSecret } from '../signing/standard-webhooks.ts';
import {
  type EvaluationRequest,
  type Evaluator,
  type EvaluatorOutcome,
  type FailureReason,
  failed,
} from './evaluator.ts';
import { parseResult, RESULT_LIMIT_BYTES } from './result-text.ts';

export interface HttpDeps {
  outbound: Pick<Outbound, 'request'>;
  /** The secrets behind `env:NAME`, several during a rotation; empty where it is not set. */
  secrets: (reference: string | undefined) => readonly WebhookSecret[];
  now: () => Date;
}

/** A service that only has to say "taken" says it at once. */
const DISPATCH_TIMEOUT_MS = 30_000;

export function toCallOffPayload(
  { evaluationId, attempt, runId, checkpointId, evaluation, variant }: EvaluationRequest,
  at: Date,
) {
  return {
    type: 'evaluation.cancelled',
    timestamp: at.toISOString(),
    data: { evaluationId, attempt, runId, checkpointId, evaluation, variant },
  };
}

export function toPayload(request: EvaluationRequest, at: Date) {
  const { evaluationId, attempt, runId, checkpointId, evaluation, variant } = request;
  const { modelUri, endpoint, effectiveCompute, topUp, callbackUrl } = request;
  return {
    type: 'evaluation.requested',
    timestamp: at.toISOString(),
    data: {
      evaluationId,
      attempt,
      runId,
      checkpointId,
      evaluation,
      variant,
      ...(request.axes === undefined ? {} : { axes: request.axes }),
      modelUri,
      ...(endpoint === undefined ? {} : { endpoint }),
      effectiveCompute,
      ...(topUp === undefined ? {} : { topUp }),
      callbackUrl,
    },
  };
}

export function createHttpEvaluator(executor: HttpExecutor, deps: HttpDeps): Evaluator {
  const callback = executor.mode === 'callback';
  const timeoutMs = durationMs(executor.timeout);
  return {
    async run(request, signal) {
      if (signal.aborted) return failed('cancelled');
      const { url } = executor;
      if (url === undefined) return { kind: 'dispatched' };
      const secrets = deps.secrets(executor.secret);
      if (secrets.length === 0) {
        return failed(
          'not-configured',
          executor.secret === undefined ? 'no secret' : `${executor.secret} is not set`,
        );
      }
      const timestamp = deps.now();
      const body = Buffer.from(JSON.stringify(toPayload(request, timestamp)));
      const id = `${request.evaluationId}_${request.attempt}`;
      try {
        const answer = await deps.outbound.request(
          signedPost(
            url,
            { id, timestamp, body, secrets },
            callback ? Math.min(timeoutMs, DISPATCH_TIMEOUT_MS) : timeoutMs,
          ),
          signal,
        );
        return callback ? readDispatch(answer.status) : readAnswer(answer);
      } catch (error) {
        if (signal.aborted) return failed('cancelled');
        return failureOf(error);
      }
    },
    async callOff(request, signal) {
      const { callOff: url, secret } = executor;
      if (url === undefined) return { kind: 'rejected', detail: 'the policy names nothing to call' };
      const secrets = deps.secrets(secret);
      if (secrets.length === 0) return { kind: 'retry', detail: `${secret ?? 'no secret'} is not set` };
      const timestamp = deps.now();
      const body = Buffer.from(JSON.stringify(toCallOffPayload(request, timestamp)));
      const id = `${request.evaluationId}_${request.attempt}_off`;
      try {
        const { status } = await deps.outbound.request(
          signedPost(url, { id, timestamp, body, secrets }, DISPATCH_TIMEOUT_MS),
          signal,
        );
        const taken = status >= 200 && status <= 299;
        return { kind: taken ? 'accepted' : 'retry', detail: `HTTP ${status}` };
      } catch (error) {
        if (!(error instanceof InterlockError)) throw error;
        const isFinal = error.code === 'outbound.refused' && !error.retryable;
        return { kind: isFinal ? 'rejected' : 'retry', detail: error.message };
      }
    },
  };
}

function signedPost(
  url: string,
  message: Parameters<typeof signWebhook>[0] & { body: Buffer },
  timeoutMs: number,
) {
  return {
    url,
    method: 'POST' as const,
    headers: {
      'content-type': 'application/json',
      accept: 'application/json',
      ...signWebhook(message),
    },
    body: message.body,
    timeoutMs,
    maxResponseBytes: RESULT_LIMIT_BYTES,
  };
}

function readDispatch(status: number): EvaluatorOutcome {
  return status >= 200 && status <= 299 ? { kind: 'dispatched' } : failed('http-status', `HTTP ${status}`);
}

/** Only 200 carries a result: 202 says that it is not there yet, which a sync executor has no one to wait for. */
function readAnswer({ status, body }: { status: number; body: Buffer }): EvaluatorOutcome {
  if (status !== 200) return failed('http-status', `HTTP ${status}`);
  const text = parseResult(body);
  return text.kind === 'found'
    ? { kind: 'reported', result: text.result }
    : failed(body.length === 0 ? 'no-result' : 'unreadable-result', `${body.length} bytes`);
}

const FAILURE_OF_CODE: Readonly<Record<string, FailureReason>> = {
  'outbound.refused': 'target-refused',
  'outbound.unreachable': 'unreachable',
  'outbound.timeout': 'timed-out',
  'outbound.too-large': 'output-too-large',
  'outbound.cancelled': 'cancelled', // the client was closed: a shutdown
};

function failureOf(error: unknown): EvaluatorOutcome {
  const reason = error instanceof InterlockError ? FAILURE_OF_CODE[error.code] : undefined;
  // Anything else is a fault of ours, and whoever runs this must hear of it.
  if (reason === undefined) throw error;
  return failed(reason);
}
