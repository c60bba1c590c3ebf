/** Heads that this Interlock signed itself, under whatever issuer it had then: the keys decide. */
import { decodeJwt } from 'jose';
import { InterlockError } from '../errors.ts';
import type { VerifyHeadJws } from '../ledger/verification.ts';
import type { PublicJwks } from '../signing/keyring.ts';
import { createTokenVerifier, explainRefusal } from '../signing/tokens.ts';

export function headVerifier(jwks: () => PublicJwks): VerifyHeadJws {
  return async (jws) => {
    const verified = await createTokenVerifier({ jwks, issuer: decodeJwt(jws).iss ?? '' }).verifyHead(jws);
    if (!verified.ok) {
      throw new InterlockError(`the head is refused: ${explainRefusal(verified.reason)}`, {
        code: 'ledger.head-refused',
      });
    }
    const { size, root, hash } = verified.claims;
    return { size, root, hash };
  };
}
