import { vi } from 'vitest';
import { createFakeOrchestrator } from '../support/fake-orchestrator.ts';
import { describeOrchestrator, does } from './describe-orchestrator.ts';

describeOrchestrator(
  'the in-memory fake',
  async () => {
    const orchestrator = createFakeOrchestrator({ stopsOn: 'kill' });
    const refused = createFakeOrchestrator();
    refused.answer({ kind: 'retry', detail: 'not now' });
    const running = () => orchestrator.show({ state: 'running', detail: 'still there' });
    return {
      orchestrator,
      refused,
      secrets: [],
      reached: (n) => vi.waitUntil(() => orchestrator.taken.length >= n).then(() => undefined),
      count: () => orchestrator.taken.length,
      close: async () => undefined,
      side: {
        end: does(() => orchestrator.show({ state: 'stopped', detail: 'gone' })),
        forget: does(() => {
          orchestrator.show({ state: 'unknown', detail: 'no such run' });
          orchestrator.answer({ kind: 'retry', detail: 'no such run' });
        }),
        refuse: does(() => orchestrator.answer({ kind: 'rejected', detail: 'no right' })),
        hang: does(orchestrator.hang),
        lie: does(() => undefined),
        comeBack: does(running),
        keepOne: does(() => undefined),
        expire: does(() => {
          orchestrator.show({ state: 'unknown', detail: 'not let in' });
          orchestrator.answer({ kind: 'retry', detail: 'not let in' });
        }),
        renew: does(() => {
          running();
          orchestrator.answer({ kind: 'accepted', detail: 'taken' });
        }),
      },
    };
  },
  { hostile: 'it answers by values, which are not read from anywhere' },
);
