/**
 * What Interlock reaches out to: evaluators, orchestrators, alert channels, all of them simulated and most of them
 * unreliable. What really happened there is told to the checkers.
 */
import type { AlertChannel } from '../../src/alerts/alert-channel.ts';
import type { JsonObject } from '../../src/domain/canonical-json.ts';
import type { Evaluation, Policy } from '../../src/domain/policy/schema.ts';
import type { EvaluationRequest, EvaluatorOutcome } from '../../src/evaluators/evaluator.ts';
import type { Evaluators } from '../../src/evaluators/registry.ts';
import type { Isolator } from '../../src/isolation/isolator.ts';
import type { Orchestrator, StepOutcome } from '../../src/orchestrators/orchestrator.ts';
import { ms } from './arithmetic.ts';
import { LEADING_METRIC } from './policy-parts.ts';
import type { Random } from './random.ts';
import type { SimulatedProcess } from './virtual-time.ts';
import type { World } from './world.ts';

/** How dangerous the weights really are: a share of the way from chance to best, growing with compute. */
export interface Capability {
  readonly start: number;
  readonly perDoubling: number;
  readonly noise: number;
}

export function drawCapability(random: Random): Capability {
  return {
    start: random.between(0, 0.15),
    perDoubling: random.pick([0.005, 0.02, 0.05, 0.09, 0.14]),
    noise: random.pick([0.005, 0.02]),
  };
}

function score(random: Random, capability: Capability, spec: Evaluation, compute: number): number {
  const doublings = Math.log2(compute / 1e21);
  const share =
    capability.start +
    capability.perDoubling * Math.max(0, doublings) +
    capability.noise * (random.next() - 0.5);
  const { chance, best } = spec.score;
  return Number((chance + (best - chance) * Math.min(1, Math.max(0, share))).toFixed(4));
}

function nonsense(random: Random, value: number): unknown {
  return random.pick<unknown>([
    { status: 'success', score: Number.NaN, n: 500 },
    { status: 'success', score: 'NaN', n: 500 },
    { status: 'success', score: 17, n: 500 },
    { status: 'success', n: 500 },
    { status: 'success', score: value, n: 5 },
    { status: 'error', score: value, n: 500 },
    { status: 'error', error: 'out of memory' },
    { status: 'success', score: value, n: 500, surprise: true },
    null,
    'the model refused',
  ]);
}

export function createEvaluators(world: World, process: SimulatedProcess, instance: string): Evaluators {
  const { faults } = world;
  return {
    async callOff() {
      return faults.hit('call-out-fails', 0.3)
        ? { kind: 'retry', detail: 'HTTP 503' }
        : { kind: 'accepted', detail: 'HTTP 200' };
    },
    run(executor, request, signal) {
      const { policy, spec } = world.specOf(request.runId, request.evaluation);
      const random = faults.of('evaluator-late');
      const compute = Number(request.effectiveCompute);
      const capability = world.capabilityOf(request.runId, spec.category);
      const { features } = world;
      const danger = score(random, capability, spec, compute);
      const value = features?.measured(danger, spec) ?? danger;
      const timeoutMs = ms(executor.timeout);
      const n = random.pick([150, 1_000, 20_000]);
      const honest: JsonObject = {
        status: 'success',
        score: value,
        n,
        ...features?.counts(n),
        ...(spec.score.kind === 'mean' ? { stderr: 0.02 } : {}),
        // Not reported by every model of every checkpoint; by no draw.
        ...(Math.round(value * 1e4) % 3 === 0 ? {} : { metrics: { [LEADING_METRIC]: { value } } }),
      };
      const said = faults.hit('evaluator-nonsense', 0.1) ? nonsense(random, value) : honest;
      const late = faults.hit('evaluator-late', 0.1);
      const afterMs = random.between(1_000, 20_000) + (late ? timeoutMs * random.between(1, 6) : 0);
      if (executor.kind === 'outside') {
        features?.asked(request, said);
        return Promise.resolve({ kind: 'dispatched' });
      }
      if (features?.isBroken(executor, spec) === true) return broken(process, signal);
      if (executor.kind === 'http') return callback(world, policy, request, said, afterMs);
      const ended = world.seen.job(request.evaluationId, instance, signal);
      return command(world, process, request, { said, afterMs, timeoutMs }, signal).finally(ended);
    },
  };
}

/** It cannot be carried out there at all. */
async function broken(process: SimulatedProcess, signal: AbortSignal): Promise<EvaluatorOutcome> {
  await process.wait(500);
  return { kind: 'failed', reason: signal.aborted ? 'cancelled' : 'spawn-failed' };
}

/** Accepted at once; the result is posted by somebody who does not die with the instance. */
async function callback(
  world: World,
  _policy: Policy,
  { evaluationId, attempt }: EvaluationRequest,
  said: unknown,
  afterMs: number,
): Promise<EvaluatorOutcome> {
  const { faults, scheduler } = world;
  if (faults.hit('evaluator-fails', 0.05)) return { kind: 'failed', reason: 'unreachable' };
  if (faults.hit('evaluator-hangs', 0.08)) return { kind: 'dispatched' };
  scheduler.after(afterMs, () => {
    world.people.posts(evaluationId, attempt, said, 1);
    if (faults.hit('evaluator-repeats', 0.2)) {
      scheduler.after(faults.of('evaluator-repeats').below(120_000), () =>
        world.people.posts(evaluationId, attempt, said, 1),
      );
    }
    if (faults.hit('evaluator-contradicts', 0.1)) {
      const other = { status: 'success', score: faults.of('evaluator-contradicts').next(), n: 777 };
      scheduler.after(1 + faults.of('evaluator-contradicts').below(60_000), () =>
        world.people.posts(evaluationId, attempt, other, 99),
      );
    }
  });
  return { kind: 'dispatched' };
}

/** A child of the instance: it ends with its answer, its timeout or its signal, and dies with the instance. */
function command(
  world: World,
  process: SimulatedProcess,
  { evaluationId, attempt }: EvaluationRequest,
  { said, afterMs, timeoutMs }: { said: unknown; afterMs: number; timeoutMs: number },
  signal: AbortSignal,
): Promise<EvaluatorOutcome> {
  const { faults } = world;
  const hangs = faults.hit('evaluator-hangs', 0.08);
  const fails = faults.hit('evaluator-fails', 0.08);
  return new Promise((resolve) => {
    const settle = (outcome: EvaluatorOutcome): void => {
      process.timers.clear(timer);
      process.timers.clear(limit);
      resolve(outcome);
    };
    const timer = process.timers.set(() => {
      if (hangs) return;
      if (fails) {
        const written = faults.of('evaluator-fails').chance(0.4) ? { result: said } : {};
        world.seen.said(evaluationId, attempt, written.result);
        settle({ kind: 'failed', reason: 'exit-nonzero', detail: 'exit code 3', ...written });
        return;
      }
      world.seen.said(evaluationId, attempt, said);
      settle({ kind: 'reported', result: said });
    }, afterMs);
    const limit = process.timers.set(() => settle({ kind: 'failed', reason: 'timed-out' }), timeoutMs);
    const abort = (): void => settle({ kind: 'failed', reason: 'cancelled' });
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
  });
}

/** A target of one run: its webhook reaches the trainer, its process target ends it. */
export function createOrchestrator(
  world: World,
  process: SimulatedProcess,
  runId: string,
  targetId: string,
): Orchestrator {
  const { faults } = world;
  const trainer = world.trainerOf(runId);
  const kind = world.targetKind(runId, targetId);
  const wait = (msTo: number): Promise<void> => process.wait(msTo);
  return {
    kind,
    steps: kind === 'webhook' ? ['webhook'] : ['sigterm', 'sigkill'],
    async take(step, message, signal): Promise<StepOutcome> {
      world.seen.step(runId, message.haltId, targetId, step, process);
      await wait(5 + faults.of('order-lost').below(200));
      if (signal.aborted || faults.hit('order-lost', 0.15)) {
        await wait(5_000);
        return { kind: 'retry', detail: 'no answer' };
      }
      if (faults.hit('order-rejected', 0.05)) return { kind: 'rejected', detail: 'HTTP 403' };
      const outcome = await deliver(world, runId, step, message.order);
      trainer.orders.push(message.order);
      if (faults.hit('order-unanswered', 0.1)) {
        await wait(5_000);
        return { kind: 'retry', detail: 'the answer was lost' };
      }
      await wait(5);
      return outcome;
    },
    async observe() {
      await wait(300 + faults.of('stop-ignored').below(2_500));
      if (kind === 'webhook') return { state: 'unknown', detail: 'a webhook cannot be watched' };
      // The right answer about the wrong job, for as long as whoever asks has it wrong.
      const isFeigned = trainer.isRunning && world.feignsStop(runId);
      const state = trainer.isRunning && !isFeigned ? 'running' : 'stopped';
      if (state === 'stopped') world.seen.observedStopped(runId, targetId);
      return { state, detail: state };
    },
  };
}

/** A system of the site that takes a run's weights out of reach: it may fail, say nothing yet, or be done. */
export function createIsolator(world: World, process: SimulatedProcess, step: string): Isolator {
  const { faults } = world;
  return {
    async isolate({ haltId }, signal) {
      await process.wait(20 + faults.of('call-out-fails').below(500));
      if (signal.aborted || faults.hit('call-out-fails', 0.3)) return { kind: 'retry', detail: 'HTTP 503' };
      if (faults.hit('call-out-slow', 0.5)) return { kind: 'accepted', detail: 'HTTP 202' };
      world.seen.isolated(haltId, step);
      return { kind: 'isolated', detail: 'HTTP 200' };
    },
  };
}

async function deliver(world: World, runId: string, step: string, order: string): Promise<StepOutcome> {
  const { faults, scheduler } = world;
  const trainer = world.trainerOf(runId);
  if (step === 'webhook') {
    if (!trainer.isRunning) return { kind: 'retry', detail: 'connection refused' };
    // A guard that is still starting takes no orders yet.
    if (trainer.guard === null) return { kind: 'retry', detail: 'connection refused' };
    const outcome = await trainer.receive(order);
    return outcome === 'taken'
      ? { kind: 'accepted', detail: 'HTTP 200' }
      : { kind: 'rejected', detail: 'HTTP 422' };
  }
  // What is taken for the run there is something else, also for whoever ends it.
  if (world.feignsStop(runId)) return { kind: 'accepted', detail: `${step} sent` };
  const ignored =
    step === 'sigterm' && (trainer.temper === 'ignores-halts' || faults.hit('stop-ignored', 0.3));
  if (!ignored && trainer.isRunning) {
    const victim = trainer.process;
    const endIt = (): void => {
      if (trainer.process !== victim || !victim.alive) return;
      trainer.end();
      world.tell(`${runId}: its process was ended (${step})`);
      // A cluster that puts the job back in its queue.
      if (faults.hit('process-relaunched', 0.15)) {
        scheduler.after(5_000 + faults.of('process-relaunched').below(60_000), () => {
          if (!trainer.isRunning && !trainer.finished) trainer.start();
        });
      }
    };
    if (step === 'sigkill') endIt();
    else scheduler.after(500 + faults.of('stop-ignored').below(8_000), endIt);
  }
  return { kind: 'accepted', detail: `${step} sent` };
}

export function createChannel(world: World, name: string): AlertChannel {
  return {
    name,
    async send(alert) {
      world.seen.page(alert.alertId, name);
      await world.pause(20);
      if (world.faults.hit('page-fails', 0.2)) return { outcome: 'retry', reason: 'HTTP 500' };
      if (world.faults.hit('page-fails', 0.03)) return { outcome: 'rejected', reason: 'HTTP 400' };
      world.seen.isPaged(alert.alertId, name);
      return { outcome: 'delivered', reason: 'HTTP 202' };
    },
  };
}
