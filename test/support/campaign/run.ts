/** `npm run smoke -- --kills 20 --seed 1 --grade embedded`: the campaign by hand, on one grade or on all. */
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { runCampaign } from './campaign.ts';
import { installBuild } from './installation.ts';
import { SEED_AND_GRADE, SeedAndGrade } from './seed-and-grade.ts';
import { GRADES, missing } from './stores.ts';

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '20' },
    ...SEED_AND_GRADE,
  },
});
const { kills, seed, grade } = SeedAndGrade.extend({
  kills: z.coerce.number().int().min(0).max(10_000),
}).parse(values);

const { bin, remove } = await installBuild();
const say = (line: string) => process.stdout.write(`${line}\n`);
for (const each of grade === undefined ? GRADES : [grade]) {
  const reason = missing(each);
  if (reason !== false) {
    say(`${each}: skipped, ${reason}`);
    continue;
  }
  say(`${each}: seed ${seed}, ${kills} kills`);
  const { violations, figures, kept } = await runCampaign({ bin, grade: each, seed, kills, say });
  say(JSON.stringify({ grade: each, seed, ...figures }, null, 2));
  for (const violation of violations) say(`VIOLATION ${violation}`);
  if (violations.length === 0) continue;
  say(`again: npm run smoke -- --grade ${each} --seed ${seed} --kills ${kills}; kept in ${kept}`);
  process.exitCode = 1;
}
await remove();
