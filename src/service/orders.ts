/** Halt orders and permits in signed form: the only words of Interlock that a trainer has to trust. */
import type { RunState } from '../domain/run/state.ts';
import type { TokenSigner } from '../signing/tokens.ts';

export type OpenHalt = NonNullable<RunState['halt']>;

/**
 * The signed order of a halt. Ed25519 and a fixed `iat` make it the same text every time, so a receiver
 * recognises a repetition by its bytes.
 */
export function signOrder(signer: TokenSigner, runId: string, halt: OpenHalt): Promise<string> {
  return signer.signHaltOrder({
    sub: runId,
    iat: Math.floor(Date.parse(halt.issuedAt ?? halt.orderedAt) / 1000),
    haltId: halt.haltId,
    action: halt.action,
    epoch: halt.epoch,
  });
}
