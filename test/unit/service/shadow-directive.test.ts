/** What a trainer hears of a run in shadow when no permit can be issued: nothing stops it but what people pressed. */
import { describe, expect, it } from 'vitest';
import { directive } from '../../../src/service/heartbeats.ts';
import { forgeKey } from '../../conformance/forge.ts';
import { RunLife } from '../domain/run-life.ts';

const UNTIL = '2026-11-11T00:00:00.000Z';

function run(shadowUntil?: string): RunLife {
  const life = new RunLife();
  life.register({ shadowUntil });
  return life;
}

describe('the directive of a run in shadow', () => {
  it('is to continue where the ledger cannot be written, and of an armed run to pause', async () => {
    const { signer } = await forgeKey(1);
    const refused = { refused: 'ledger', retryAfterS: 1 } as const;
    expect(await directive(run(UNTIL).state, signer, refused)).toMatchObject({
      action: 'continue',
      reason: expect.stringContaining(UNTIL),
    });
    expect(await directive(run().state, signer, refused)).toMatchObject({ action: 'pause' });
  });

  it('is to pause while a press waits to be recorded, or people must look at the ledger', async () => {
    const { signer } = await forgeKey(1);
    const refused = { refused: 'withheld', reason: 'the red button was pressed', retryAfterS: 5 } as const;
    expect(await directive(run(UNTIL).state, signer, refused)).toEqual({
      action: 'pause',
      reason: 'the red button was pressed',
    });
  });

  it('is to halt once somebody pressed, and to pause once it is finished', async () => {
    const { signer } = await forgeKey(1);
    const pressed = run(UNTIL);
    pressed.press();
    expect(await directive(pressed.state, signer)).toMatchObject({ action: 'halt' });
    const finished = run(UNTIL);
    finished.does({ type: 'FinishRun', by: 'trainer' });
    expect(await directive(finished.state, signer)).toMatchObject({ action: 'pause' });
  });

  it('is that of an armed run once the shadow has ended', async () => {
    const { signer } = await forgeKey(1);
    const life = run(UNTIL);
    life.does({ type: 'ArmRun', by: 'olga' });
    expect(await directive(life.state, signer, { refused: 'ledger', retryAfterS: 1 })).toMatchObject({
      action: 'pause',
    });
  });
});
