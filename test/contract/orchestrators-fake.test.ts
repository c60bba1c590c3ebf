import { vi } from 'vitest';
import { createFakeOrchestrator } from '../support/fake-orchestrator.ts';
import { describeOrchestrator } from './describe-orchestrator.ts';

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
        end: () => void orchestrator.show({ state: 'stopped', detail: 'gone' }),
        forget: () => {
          orchestrator.show({ state: 'unknown', detail: 'no such run' });
          return void orchestrator.answer({ kind: 'retry', detail: 'no such run' });
        },
        refuse: () => void orchestrator.answer({ kind: 'rejected', detail: 'no right' }),
        hang: () => void orchestrator.hang(),
        lie: () => undefined,
        comeBack: () => void running(),
        keepOne: () => undefined,
        expire: () => {
          orchestrator.show({ state: 'unknown', detail: 'not let in' });
          return void orchestrator.answer({ kind: 'retry', detail: 'not let in' });
        },
        renew: () => {
          running();
          return void orchestrator.answer({ kind: 'accepted', detail: 'taken' });
        },
      },
    };
  },
  { hostile: 'it answers by values, which are not read from anywhere' },
);
