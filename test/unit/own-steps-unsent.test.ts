/** The steps that Interlock takes by itself reach no adapter: not from the button, and not in a rehearsal. */
import { expect, it } from 'vitest';
import { createSender, type Order } from '../../src/button/sender.ts';
import { CommandConfigSchema } from '../../src/config/orchestrators-command.ts';
import type { RunTarget } from '../../src/domain/run/halt-documents.ts';
import { holdDrill } from '../../src/service/drill.ts';
import { createFakeOrchestrator } from '../support/fake-orchestrator.ts';
import { policyOf, registered } from './domain/run-life.ts';

const OWN = { afterMs: 0, retryMs: [500], resendMs: [] };
const target: RunTarget = {
  targetId: 't1',
  kind: 'fake',
  config: {},
  ladder: [
    { step: 'directive', ...OWN },
    { step: 'ask', ...OWN, until: 'acknowledged', withinMs: 60_000 },
    { step: 'page', ...OWN },
  ],
  confirmation: 'acknowledged',
};
/** It would take them, if it were asked to. */
const willing = () => createFakeOrchestrator({ steps: ['directive', 'ask', 'page'] });

it('the button sends those of the adapter alone', async () => {
  const orchestrator = willing();
  const sender = createSender({
    sign: async () => 'signed',
    orchestratorOf: () => orchestrator,
    clock: () => new Date(),
    logger: { warn: () => undefined },
  });
  const order: Order = {
    runId: 'r',
    haltId: 'halt_a',
    action: 'halt',
    epoch: 1,
    reason: 'doubt',
    orderedAt: new Date().toISOString(),
    registeredBy: 'trainer',
    targets: [target],
  };
  sender.send(order);
  await sender.attempted([order], 10_000);
  await sender.close();
  expect(orchestrator.taken.map(({ step }) => step)).toEqual(['ask']);
});

it('a drill says of them that there is nothing to rehearse', async () => {
  const orchestrator = willing();
  const { state, policy } = registered(policyOf(), { targets: [target] });
  const results = await holdDrill({ version: 1, state, policy }, 'drill_a', 'a proof', {
    orchestratorOf: () => orchestrator,
  });
  expect(results.map(({ step, outcome }) => `${step} ${outcome}`)).toEqual([
    'directive not-rehearsed',
    'ask passed',
    'page not-rehearsed',
  ]);
  expect(results[0]?.detail).toBe('Interlock takes this step by itself; nothing is sent');
});

it.each(['directive', 'page'])('a site cannot give a step of its own the name %s', (name) => {
  const steps = { [name]: ['/bin/true'] };
  const lab = { stop: ['/bin/true'], status: ['/bin/true'], steps };
  const parsed = CommandConfigSchema.safeParse({ enabled: true, commands: { lab } });
  expect(parsed.success).toBe(false);
  expect(JSON.stringify(parsed.error?.issues)).toContain('is a step that Interlock takes by itself');
});
