/** The trainer's side of Interlock. Start with `createInterlockClient`, `TrainingGuard` and `listenForHalts`. */
export {
  type CheckpointReceipt,
  type CheckpointReport,
  createInterlockClient,
  type HeartbeatReply,
  type InterlockClient,
  type InterlockClientOptions,
  type RunRegistration,
  type TrainingStage,
} from './client.ts';
export { ComputeMeter, type ComputeMeterOptions, compute6nd } from './compute-meter.ts';
export { Halted, PauseOutlasted } from './ending.ts';
export { clientFromEnvironment } from './environment.ts';
export { EXIT_HALTED, EXIT_PAUSED, InterlockClientError } from './errors.ts';
export { PermitGuard } from './guard.ts';
export type { ReceivedHalt } from './guard-state.ts';
export type { GuardEvent, GuardVerdict, OrderOutcome, PermitGuardOptions } from './guard-types.ts';
export { type HaltReceiver, type HaltReceiverOptions, listenForHalts } from './halt-receiver.ts';
export { type Secret, secretFile } from './secrets.ts';
export { TrainingGuard, type TrainingGuardOptions } from './training-guard.ts';
export { signWebhook, verifyWebhook, WebhookSecret } from './webhook.ts';
