/** The smallest policy that means something: one evaluation, which calls back, and one rule, which halts. */

type Fields = Readonly<Record<string, unknown>>;

/** Fields given replace those of the policy; `evaluation` those of its one evaluation. */
export function oneEvaluationPolicy({
  evaluation,
  ...fields
}: Fields & { evaluation?: Fields } = {}): Record<string, unknown> {
  return {
    policy: 'one',
    title: 'One evaluation',
    cadence: { firstCheckpointBy: '1e20' },
    categories: [{ id: 'cyber', title: 'Cyber' }],
    evaluations: [
      {
        id: 'ctf',
        category: 'cyber',
        stage: 'pre-mitigation',
        executor: { kind: 'http', mode: 'callback', timeout: '1h' },
        score: { metric: 'accuracy', kind: 'proportion', chance: 0, best: 1 },
        levels: { medium: 0.2, high: 0.5, critical: 0.9 },
        ...evaluation,
      },
    ],
    rules: [{ id: 'high', kind: 'level', stage: 'pre-mitigation', atLeast: 'high', then: ['halt'] }],
    governance: { groups: ['board'], resume: { approvals: ['board'] } },
    ...fields,
  };
}
