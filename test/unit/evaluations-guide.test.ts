/** docs/evaluations.md: each snippet is an evaluation that `policy check` accepts as it stands. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { checkPolicy } from '../../src/domain/policy/check.ts';

const guide = readFileSync(new URL('../../docs/evaluations.md', import.meta.url), 'utf8');
const snippets = [...guide.matchAll(/^## ([^\n]+)\n(?:(?!^## )[\s\S])*?```yaml\n([\s\S]*?)```/gm)].map(
  ([, heading = '', text = '']) => [heading, text] as const,
);
const Evaluations = z.array(z.looseObject({ category: z.string() })).length(1);

describe('the guide to evaluations', () => {
  it('has a snippet for each harness, and for anything else', () => {
    expect(snippets.map(([heading]) => heading)).toEqual([
      'Inspect',
      'lm-evaluation-harness',
      'promptfoo',
      'garak',
      'HELM',
      'OpenAI evals',
      'SWE-bench',
      'bigcode-evaluation-harness',
      'METR task runs',
      'Anything else',
    ]);
  });

  it.each(snippets)('%s: is accepted by the policy check', (_, text) => {
    const evaluations = Evaluations.parse(parse(text));
    const checked = checkPolicy({
      policy: 'guide',
      title: 'One evaluation of the guide',
      cadence: { firstCheckpointBy: 1e22 },
      categories: evaluations.map(({ category }) => ({ id: category, title: category })),
      evaluations,
      rules: [{ id: 'high', kind: 'level', stage: 'pre-mitigation', atLeast: 'high', then: ['halt'] }],
      governance: { groups: ['leadership'], resume: { approvals: ['leadership'] } },
    });
    expect(checked.ok ? [] : checked.problems).toEqual([]);
  });
});
