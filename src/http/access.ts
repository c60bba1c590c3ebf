/**
 * Who may call what: every route of the service in one table, and nowhere else.
 *
 * A route that is not here cannot be registered, so a new one is closed until somebody has said who it is for.
 * `who` is the role alone; that a trainer speaks only for its runs, an evaluator only for its evaluations and a
 * member only for its groups is decided where the run is known (domain/run, routes), and tested beside this table.
 * `limit` is the budget of requests that a call is counted against (rate-limits.ts); `never` is for what stops a
 * run: the red button, what is said about a halt, and sign-offs, because a veto is one. docs/api.md prints this
 * table; a test compares.
 */
import type { Role } from '../config/identities.ts';

export type AuthMethod = 'bearer' | 'webhook';
/** What is given up first under load: reads, then intake; never a halt, never a probe. */
export type Priority = 'read' | 'intake' | 'halt' | 'probe';
export type LimitClass = 'read' | 'heartbeat' | 'intake' | 'open';

export interface Access {
  /** `everyone` shows nothing; `identified` is any identity but an outside evaluator; else one of these roles is needed. */
  readonly who: 'everyone' | 'identified' | readonly Role[];
  readonly auth: readonly AuthMethod[];
  readonly priority: Priority;
  readonly limit: LimitClass | 'never';
}

/** By method and path, as the route states them. */
export type AccessTable = { readonly [methodAndPath: string]: Access };

const TOKEN_OR_SIGNATURE = ['bearer', 'webhook'] as const;
/** People; a signed message would have to count once over all runs. */
const TOKEN = ['bearer'] as const;

const to = (
  who: readonly Role[] | 'identified',
  limit: Access['limit'],
  priority: Priority,
  auth: readonly AuthMethod[] = TOKEN_OR_SIGNATURE,
): Access => ({ who, auth, priority, limit });
const reading = (who: readonly Role[] | 'identified' = 'identified'): Access => to(who, 'read', 'read');
const everyone = (limit: Access['limit'], priority: Priority): Access => ({
  who: 'everyone',
  auth: [],
  priority,
  limit,
});

export const ACCESS: AccessTable = {
  'POST /v1/runs/:run/halt': to(['governance'], 'never', 'halt'),
  'POST /v1/halt': to(['governance'], 'never', 'halt', TOKEN),
  'POST /v1/halts/:halt/isolation/:step': to(
    ['operator', 'oncall', 'orchestrator', 'governance'],
    'never',
    'halt',
  ),
  'POST /v1/halts/:halt/ack': to(['trainer', 'orchestrator'], 'never', 'halt'),
  'POST /v1/runs/:run/sign-offs': to(['governance'], 'never', 'halt'),
  'POST /v1/runs/:run/drill': to(['operator', 'oncall', 'governance'], 'intake', 'intake'),
  'POST /v1/runs/:run/proposals': to(['operator', 'governance'], 'intake', 'intake'),

  'POST /v1/runs': to(['trainer', 'operator'], 'intake', 'intake'),
  'POST /v1/runs/:run/heartbeat': to(['trainer'], 'heartbeat', 'intake'),
  'POST /v1/runs/:run/breakthroughs': to(['trainer', 'operator', 'governance'], 'intake', 'intake'),
  'POST /v1/runs/:run/arm': to(['operator'], 'intake', 'intake', TOKEN),
  'POST /v1/runs/:run/finish': to(['trainer', 'operator'], 'intake', 'intake'),
  // Whoever launches, by whatever identity. Not given up with reads: no answer is a no.
  'GET /v1/runs/:run/may-start': to('identified', 'heartbeat', 'intake'),
  'POST /v1/runs/:run/work-permit': to(['trainer', 'evaluator', 'operator'], 'heartbeat', 'intake'),
  'POST /v1/checkpoints': to(['trainer'], 'intake', 'intake'),
  'POST /v1/evaluations/:evaluation/result': to(['evaluator'], 'intake', 'intake'),
  'POST /v1/evaluations/:evaluation/retry': to(['evaluator', 'operator'], 'intake', 'intake'),

  'POST /v1/runs/:run/estimate-rounds': to(['evaluator', 'governance'], 'intake', 'intake'),
  'POST /v1/runs/:run/estimate-rounds/:round/close': to(['evaluator', 'governance'], 'intake', 'intake'),
  'POST /v1/runs/:run/estimate-rounds/:round/second': to(['evaluator', 'governance'], 'intake', 'intake'),
  'POST /v1/runs/:run/estimates': to(['evaluator', 'governance'], 'intake', 'intake'),

  'GET /v1/evidence/:digest': reading(['auditor', 'governance']),
  'POST /v1/evidence/:digest/release': to(['governance'], 'intake', 'intake'),
  'POST /v1/evidence/:digest/release/approval': to(['governance'], 'intake', 'intake'),
  'POST /v1/runs/:run/outside-evaluators': to(['operator', 'governance'], 'intake', 'intake'),
  'GET /v1/runs/:run/outside': reading(['outside-evaluator']),
  // A token is let in to be told that it is to be signed (routes/outside.ts).
  'POST /v1/runs/:run/outside-results': to(['outside-evaluator'], 'intake', 'intake'),
  'POST /v1/runs/:run/outside-findings': to(['outside-evaluator'], 'intake', 'intake'),
  'GET /v1/runs': reading(),
  'GET /v1/runs/:run': reading(),
  'GET /v1/runs/:run/checkpoints': reading(),
  'GET /v1/runs/:run/scorecards': reading(),
  'GET /v1/runs/:run/scorecards/latest': reading(),
  'GET /v1/runs/:run/scorecards/:checkpoint': reading(),
  'GET /v1/runs/:run/forecasts/latest': reading(),
  'GET /v1/runs/:run/forecasts/record': reading(),
  'GET /v1/runs/:run/forecasts/scores': reading(),
  'GET /v1/forecasts/record': reading(),
  'GET /v1/runs/:run/gates': reading(),
  'GET /v1/runs/:run/halts': reading(),
  'GET /v1/runs/:run/breakthroughs': reading(),
  'GET /v1/runs/:run/proposals': reading(),
  'GET /v1/runs/:run/proposals/:proposal': reading(),
  'GET /v1/runs/:run/estimate-rounds': reading(),
  'GET /v1/runs/:run/estimate-rounds/:round': reading(),
  'GET /v1/runs/:run/events': reading(),
  'GET /v1/runs/:run/stream': reading(),
  'GET /v1/stream': reading(),
  'GET /v1/ledger': reading(['auditor', 'operator', 'oncall', 'governance']),
  'GET /v1/ledger/head': reading(),
  'POST /v1/ledger/accept-restore': to(['operator'], 'intake', 'intake', TOKEN),

  'GET /healthz': everyone('never', 'probe'),
  'GET /readyz': everyone('never', 'probe'),
  'GET /metrics': everyone('never', 'probe'),
  'GET /.well-known/jwks.json': everyone('never', 'probe'),
  'GET /openapi.json': everyone('open', 'read'),
  'GET /docs': everyone('open', 'read'),
  // The page itself asks who is there (routes/status-page.ts).
  'GET /': everyone('open', 'read'),
  'GET /sign-in': everyone('open', 'read'),
  'POST /sign-in': everyone('open', 'read'),
  'POST /sign-out': everyone('open', 'read'),
};

export const accessKey = ({ method, path }: { method: string; path: string }): string => `${method} ${path}`;

/** Throws where the table has no row for a route, or the route does not expect the caller that the row lets in. */
export function accessOf(
  table: AccessTable,
  route: { readonly method: string; readonly path: string; readonly open: boolean },
): Access {
  const key = accessKey(route);
  const access = Object.hasOwn(table, key) ? table[key] : undefined;
  if (access === undefined) throw new TypeError(`${key} is not in the table of access (http/access.ts)`);
  if (route.open !== (access.who === 'everyone')) {
    throw new TypeError(`${key} is ${route.open ? '' : 'not '}written for callers that nobody knows`);
  }
  if ((access.who === 'everyone') !== (access.auth.length === 0)) {
    throw new TypeError(`${key} asks for credentials of everyone, or for none of somebody`);
  }
  return access;
}
