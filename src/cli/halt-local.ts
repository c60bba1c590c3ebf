/**
 * The red button without anybody: this process writes the press into the spool and sends the halts itself.
 *
 * Works on the service's host, as an account that can read its configuration, key and target book. The service, or the
 * button's process, carries on from the spool when it is there; until then only what was sent from here was sent.
 */
import { answerTo } from '../button/answer.ts';
import { openBreakGlass } from '../button/break-glass.ts';
import { presserOf } from '../button/credentials.ts';
import { buttonFiles, makeButtonDirectories } from '../button/layout.ts';
import { openDesk } from '../button/process.ts';
import { RedButton, RunIdSchema } from '../button/request.ts';
import { createAuthenticator } from '../http/authentication.ts';
import { Refusal } from '../http/refusal.ts';
import { loadKeyring } from '../signing/keyring.ts';
import { createTokenSigner } from '../signing/tokens.ts';
import { loadConfig } from './configuration.ts';
import { EXIT, ServiceError, UsageError } from './exit.ts';
import type { Terminal } from './terminal.ts';

export interface LocalHalt {
  readonly credential: string;
  readonly config?: string;
  readonly run?: string;
  readonly reason: string;
  readonly action: 'halt' | 'quarantine';
  readonly group?: string;
}

/** Targets that do not answer are tried this long before the command ends. */
const SEND_FOR_MS = 10_000;

export async function haltLocally(halt: LocalHalt, terminal: Terminal): Promise<unknown> {
  const { reason, action, group, run } = halt;
  const body = RedButton.safeParse({ reason, action, ...(group === undefined ? {} : { group }) });
  if (!body.success || (run !== undefined && !RunIdSchema.safeParse(run).success)) {
    throw new UsageError('--run, --reason or --group cannot be used as stated');
  }
  const config = await loadConfig(halt.config, terminal);
  const files = buttonFiles(config.dataDir);
  makeButtonDirectories(files);
  const clock = (): Date => new Date();
  const signer = createTokenSigner({ keyring: await loadKeyring(config.signingKey), issuer: config.issuer });
  const identities = () => config.identities;
  const breakGlass = openBreakGlass(files, clock);
  const presser = await presserOf(halt.credential, group, {
    authenticator: createAuthenticator({ identities: config.identities }),
    breakGlass,
    identities,
  }).catch((error: unknown) => {
    throw error instanceof Refusal ? refused(error) : error;
  });
  const tell = (fields: object, message: string): void => {
    const { detail } = { detail: '', ...fields };
    terminal.complain(
      `interlock: ${message}${typeof detail === 'string' && detail !== '' ? ` (${detail})` : ''}`,
    );
  };
  const parts = openDesk({
    files,
    role: 'cli',
    config,
    env: terminal.env,
    signer,
    identities,
    clock,
    logger: { info: () => undefined, warn: tell, error: tell },
  });
  try {
    const scope = run === undefined ? ({ kind: 'all' } as const) : ({ kind: 'run', runId: run } as const);
    const { by, via, pressId, codeId } = presser;
    const pressed = await parts.desk.press({
      scope,
      reason: body.data.reason,
      action,
      by,
      group: presser.group,
      via,
      pressId,
      codeId,
    });
    if (codeId !== undefined) breakGlass.spend(codeId);
    await parts.sender.attempted(pressed.orders, SEND_FOR_MS);
    const answer = await answerTo(pressed, parts.sender, clock());
    if (!pressed.durable)
      tell({}, 'THE PRESS COULD NOT BE WRITTEN DOWN: press again, and stop the runs by other means too');
    return answer.body;
  } finally {
    await parts.close();
  }
}

function refused({ status, title, detail }: Refusal): ServiceError {
  return new ServiceError(`${title}${detail === undefined ? '' : `: ${detail}`}`, {
    exit: EXIT.negative,
    status,
    code: 'cli.refused',
  });
}
