/**
 * `interlock keys`: the keys that sign permits, halt orders and heads: list, rotate, revoke; and which webhook secrets
 * are still used.
 *
 * Works on the keyring's file alone, beside a running service, which takes the change over within seconds. Prints no
 * private half, ever.
 */
import { readTokenUse } from '../config/token-use.ts';
import { secretState } from '../config/webhook-secrets.ts';
import { durationMs } from '../domain/duration.ts';
import { type Keyring, loadKeyring } from '../signing/keyring.ts';
import { generateWebhookKeyPair } from '../signing/standard-webhooks.ts';
import { loadConfig } from './configuration.ts';
import { EXIT, type ExitCode, UsageError } from './exit.ts';
import { handOutKeyPair } from './key-pair.ts';
import { json } from './output.ts';
import type { Terminal } from './terminal.ts';

interface KeysOptions {
  config?: string;
  json?: true;
}

async function keyringOf({ config }: KeysOptions, terminal: Terminal): Promise<Keyring> {
  return loadKeyring((await loadConfig(config, terminal)).signingKey);
}

export async function keysList(options: KeysOptions, terminal: Terminal): Promise<ExitCode> {
  const keyring = await keyringOf(options, terminal);
  const keys = keyring.status();
  if (options.json === true) {
    terminal.print(json({ keys }));
    return EXIT.ok;
  }
  for (const { kid, state, notBefore, notAfter, revokedAt, revokedBecause } of keys) {
    const until = notAfter === null ? '' : ` until ${notAfter}`;
    const revoked = revokedAt === null ? '' : `, revoked ${revokedAt}: ${revokedBecause ?? ''}`;
    terminal.print(`${state.padEnd(8)} ${kid}  signs from ${notBefore}${until}${revoked}`);
  }
  return EXIT.ok;
}

export async function keysRotate(
  options: KeysOptions & { overlap: string },
  terminal: Terminal,
): Promise<ExitCode> {
  const overlapMs = durationOf(options.overlap);
  const keyring = await keyringOf(options, terminal);
  const { kid, retiredKid, activeFrom } = await keyring.rotate({ overlapMs });
  if (options.json === true) terminal.print(json({ kid, retiredKid, activeFrom }));
  else {
    terminal.print(`new key ${kid}, published now, signs from ${activeFrom}`);
    terminal.print(`key ${retiredKid} verifies for ever what it signed until then`);
    terminal.print('Running services take it over by themselves. Give `interlock ledger keys` to auditors.');
  }
  return EXIT.ok;
}

export async function keysRevoke(
  kid: string,
  options: KeysOptions & { reason: string },
  terminal: Terminal,
): Promise<ExitCode> {
  const keyring = await keyringOf(options, terminal);
  const { activeKid } = await keyring.revoke(kid, options.reason);
  if (options.json === true) terminal.print(json({ revoked: kid, activeKid }));
  else {
    terminal.print(`key ${kid} is revoked; ${activeKid} signs`);
    terminal.print(
      'Trainers refuse its permits from their next heartbeat on. If the key was stolen, also give them',
    );
    terminal.print('`interlock ledger keys` by hand: its holder could have introduced a key of their own.');
  }
  return EXIT.ok;
}

/** Webhook secrets by their ids: whose, until when, and when a service on this data directory last saw each. */
export async function keysSecrets(options: KeysOptions, terminal: Terminal): Promise<ExitCode> {
  const { identities, dataDir } = await loadConfig(options.config, terminal);
  const used = await readTokenUse(dataDir);
  const now = new Date();
  const secrets = identities.flatMap(({ id: identity, secretWindows = [] }) =>
    secretWindows.map((window) => ({
      identity,
      ...window,
      state: secretState(window, now),
      lastUsedAt: used[window.id] ?? null,
    })),
  );
  if (options.json === true) terminal.print(json({ secrets }));
  else {
    for (const { identity, id, state, notAfter, lastUsedAt } of secrets) {
      const until = notAfter === null ? '' : ` until ${notAfter}`;
      terminal.print(`${identity}  ${id}  ${state}${until}, last used ${lastUsedAt ?? 'not seen'}`);
    }
  }
  return EXIT.ok;
}

function durationOf(text: string): number {
  if (text === '0' || text === '0s') return 0;
  try {
    return durationMs(text);
  } catch {
    throw new UsageError('--overlap is a duration such as 10m, 1h or 0s');
  }
}

/** Ed25519, in the notation of Standard Webhooks: what any library of theirs signs `v1a` with. */
export const keysParty = (options: { out: string; json?: true }, terminal: Terminal): Promise<ExitCode> =>
  handOutKeyPair(generateWebhookKeyPair(), options, terminal);
