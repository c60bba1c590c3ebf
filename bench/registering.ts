/** Many runs, registered through the API as a trainer does. */
import type { Generator, Service } from './stand.ts';

export interface Registering {
  readonly runs: number;
  readonly prefix: string;
  readonly from?: number;
  readonly target?: string;
}

export async function registerRuns(
  generator: Generator,
  service: Service,
  { runs, prefix, from = 0, target = 'http://127.0.0.1:9/halt' }: Registering,
): Promise<number> {
  const outcome = await generator.run({
    port: service.port,
    connections: Math.min(32, runs),
    requests: runs,
    from,
    path: '/v1/runs',
    body: JSON.stringify({ runId: `${prefix}{n}`, targets: [{ kind: 'webhook', url: target }] }),
    token: service.tokens['trainer'] ?? '',
    holds: '"permit":"ey',
  });
  if (outcome.faults > 0 || outcome.statuses['201'] !== runs) {
    throw new Error(`runs could not be registered: ${JSON.stringify(outcome)}`);
  }
  return outcome.perSecond;
}

export const checkpointBody = (run: string, effectiveCompute: string): string =>
  JSON.stringify({
    runId: run,
    checkpointId: 'step-{n}',
    effectiveCompute,
    modelUri: 's3://weights/gpt-next/step-{n}',
  });
