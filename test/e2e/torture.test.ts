/**
 * A slice of `npm run torture`: a chain of kills at named points and one fault of each class, on the grade that needs
 * nothing. The rest is for the script, which has the time.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Installation, installBuild } from '../support/campaign/installation.ts';
import { whyNoDisk } from '../torture/disk.ts';
import { isBroken, torture } from '../torture/torture.ts';

const SEED = 3;

let installation: Installation;
beforeAll(async () => {
  installation = await installBuild();
});
afterAll(() => installation.remove());

describe('a service under torture', () => {
  it('keeps its promises at every step that it dies at, and when its database, queue or power fails', async () => {
    const said: string[] = [];
    const report = await torture({
      bin: installation.bin,
      grade: 'embedded',
      seed: SEED,
      untilMs: 0,
      say: (line) => said.push(line),
      only: {
        points: ['append.committing', 'halt.committed', 'permit.numbered'],
        faults: [
          'kill -9 of the postmaster',
          'queue wiped (DROP SCHEMA)',
          ...(whyNoDisk() === false ? ['power cut'] : []),
        ],
      },
    });
    console.log(`torture: ${JSON.stringify(report.figures)}`);
    expect(
      report.rounds.filter(({ found }) => isBroken(found)),
      said.join('\n'),
    ).toEqual([]);
    expect(report.notReached).toEqual([]);
    expect(report.rounds.length).toBeGreaterThan(3);
  });
});
