/** Call-out kind to isolator: the one place that knows them all. */
import type { IsolationConfig } from '../config/isolation.ts';
import { assertNever } from '../domain/assert-never.ts';
import type { CallOut } from '../domain/policy/quarantine.ts';
import type { Variable } from '../subprocess/site-program.ts';
import { createCommandIsolator } from './command.ts';
import type { Isolator } from './isolator.ts';
import { createWebhookIsolator, type WebhookIsolatorDeps } from './webhook.ts';

export interface IsolatorSetting extends WebhookIsolatorDeps {
  readonly config: IsolationConfig;
  readonly variable: Variable;
}

/** Null where interlock.yaml does not name the command any more. */
export type Isolators = (callOut: CallOut) => Isolator | null;

export function openIsolators({ config, variable, ...webhook }: IsolatorSetting): Isolators {
  return (callOut) => {
    switch (callOut.kind) {
      case 'command': {
        const { command: name } = callOut;
        const command = Object.hasOwn(config.commands, name) ? config.commands[name] : undefined;
        return command === undefined ? null : createCommandIsolator(name, command, variable);
      }
      case 'webhook':
        return createWebhookIsolator(callOut, webhook);
      default:
        return assertNever(callOut);
    }
  };
}
