/**
 * kill -9 of the service at random moments during a loaded run, on each storage grade; see support/campaign.
 * A slice: `npm run smoke` has the kills, and `npm run torture` the other faults.
 *
 * INTERLOCK_SMOKE_SEED and INTERLOCK_SMOKE_KILLS override the committed figures.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCampaign } from '../support/campaign/campaign.ts';
import { type Installation, installBuild } from '../support/campaign/installation.ts';
import { GRADES, missing } from '../support/campaign/stores.ts';

const SEED = Number(process.env['INTERLOCK_SMOKE_SEED'] || 20_261_123);
const KILLS = Number(process.env['INTERLOCK_SMOKE_KILLS'] || 5);

let installation: Installation;
beforeAll(async () => {
  installation = await installBuild();
});
afterAll(() => installation.remove());

// Each grade has a service and stores of its own, and mostly waits for it to come back.
describe.concurrent.each(GRADES)('the service killed again and again, %s grade', (grade) => {
  const reason = missing(grade);
  describe.skipIf(reason)(`under load${reason === false ? '' : ` (skipped: ${reason})`}`, () => {
    it('loses nothing acknowledged, delivers every halt, counts no result twice, and heals', async () => {
      const { violations, figures } = await runCampaign({
        bin: installation.bin,
        grade,
        seed: SEED,
        kills: KILLS,
        say: () => undefined,
      });
      console.log(`smoke campaign ${grade}: ${JSON.stringify({ seed: SEED, ...figures })}`);
      const again = `again: npm run smoke -- --grade ${grade} --seed ${SEED} --kills ${KILLS}`;
      expect(violations, again).toEqual([]);
    });
  });
});
