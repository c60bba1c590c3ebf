/** Verification and replay of a live ledger in one go, up to a head that is signed first. For the demo. */

import type { InterlockConfiguration } from '../composition/configuration.ts';
import { type Replay, replayLive } from '../ledger/replay.ts';
import type { Verification } from '../ledger/verification.ts';
import { verifyLive } from '../ledger/verify-live.ts';
import { createFolds } from '../service/folds.ts';
import { loadKeyring } from '../signing/keyring.ts';
import { createTokenSigner } from '../signing/tokens.ts';
import { withStore } from './configuration.ts';
import { headVerifier } from './head-verifier.ts';

export function checkLedger(
  config: InterlockConfiguration,
): Promise<{ verified: Verification; replayed: Replay; events: number }> {
  return withStore(config, async ({ database, heads }) => {
    const keyring = await loadKeyring(config.signingKey);
    const signer = createTokenSigner({ keyring, issuer: config.issuer });
    await heads.recordHead(({ size, root, hash, at }) =>
      signer.signHead({ iat: Math.floor(Date.parse(at) / 1000), size, root, hash }),
    );
    const verified = await verifyLive(database.pool, {
      verifyHeadJws: headVerifier(keyring.jwks(), config.issuer),
    });
    const replayed = await replayLive(database.pool, createFolds());
    return { verified, replayed, events: verified.events };
  });
}
