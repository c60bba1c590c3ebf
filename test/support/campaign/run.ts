/** `npm run smoke -- --kills 20 --seed 1 --grade embedded`: the campaign by hand, on one grade or on all. */
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { runCampaign } from './campaign.ts';
import { installBuild } from './installation.ts';
import { GRADES, missing } from './stores.ts';

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '20' },
    seed: { type: 'string' },
    grade: { type: 'string' },
  },
});
const { kills, seed, grade } = z
  .object({
    kills: z.coerce.number().int().min(0).max(10_000),
    seed: z.coerce
      .number()
      .int()
      .min(0)
      .default(Math.floor(Math.random() * 1e6)),
    grade: z.enum(GRADES).optional(),
  })
  .parse(values);

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
