/** The trainer's side of Interlock. Start with `createInterlockClient`, `PermitGuard` and `listenForHalts`. */
export {
  type CheckpointReceipt,
  type CheckpointReport,
  createInterlockClient,
  type HeartbeatReply,
  type InterlockClient,
  type InterlockClientOptions,
  type RunRegistration,
} from './client.ts';
export { EXIT_HALTED, EXIT_PAUSED, InterlockClientError } from './errors.ts';
export {
  type GuardEvent,
  type GuardVerdict,
  type OrderOutcome,
  PermitGuard,
  type PermitGuardOptions,
} from './guard.ts';
export type { ReceivedHalt } from './guard-state.ts';
export { type HaltReceiver, type HaltReceiverOptions, listenForHalts } from './halt-receiver.ts';
export { signWebhook, verifyWebhook, WebhookSecret } from './webhook.ts';
