/** The trainer's command line; credentials come from the environment, where `ps` does not show them. */
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';

export interface TrainOptions {
  url: string;
  runId: string;
  stateDirectory: string;
  modelsDirectory: string;
  token: string;
  webhookSecret: string;
  seed: number;
  /** Where training ends by itself; far beyond the point at which Interlock is expected to stop it. */
  stepsMax: number;
  heartbeatIntervalMs: number;
  /** Listen here for the halt webhook; 0 takes any free port; null does not listen. */
  haltPort: number | null;
  /** Longest wait for a permit before giving up, so that an orphan does not wait for ever. */
  patienceMs: number;
}

export const usage = `usage: train --url URL --run ID --state DIR --models DIR
  [--halt-port N] [--seed N] [--steps-max N] [--heartbeat-ms N] [--patience-s N]
environment: INTERLOCK_TOKEN (bearer token of the trainer), INTERLOCK_WEBHOOK_SECRET (whsec_...)
`;

export class UsageError extends Error {}

export function readOptions(args: readonly string[], environment: NodeJS.ProcessEnv): TrainOptions {
  const { values } = parse(args);
  return {
    url: required(values.url, '--url'),
    runId: required(values.run, '--run'),
    stateDirectory: resolve(required(values.state, '--state')),
    modelsDirectory: resolve(required(values.models, '--models')),
    token: required(environment['INTERLOCK_TOKEN'], 'INTERLOCK_TOKEN'),
    webhookSecret: required(environment['INTERLOCK_WEBHOOK_SECRET'], 'INTERLOCK_WEBHOOK_SECRET'),
    seed: whole(values.seed ?? '4', '--seed'),
    stepsMax: whole(values['steps-max'] ?? '76800', '--steps-max'),
    heartbeatIntervalMs: whole(values['heartbeat-ms'] ?? '1000', '--heartbeat-ms'),
    haltPort: values['halt-port'] === undefined ? null : whole(values['halt-port'], '--halt-port'),
    patienceMs: whole(values['patience-s'] ?? '600', '--patience-s') * 1000,
  };
}

function parse(args: readonly string[]) {
  const text = { type: 'string' } as const;
  try {
    return parseArgs({
      args: [...args],
      options: {
        url: text,
        run: text,
        state: text,
        models: text,
        seed: text,
        'steps-max': text,
        'heartbeat-ms': text,
        'halt-port': text,
        'patience-s': text,
      },
    });
  } catch (cause) {
    throw new UsageError(cause instanceof Error ? cause.message : 'bad arguments');
  }
}

function required(value: string | undefined, name: string): string {
  if (value === undefined || value === '') throw new UsageError(`${name} is missing`);
  return value;
}

function whole(text: string, name: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`${name} must be a whole number`);
  return Number(text);
}
