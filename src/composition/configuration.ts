import type { AlertChannelConfig } from '../alerts/registry.ts';
import type { Configuration } from '../config/load.ts';

/** A configuration whose alert channels have been read by their adapters. */
export type InterlockConfiguration = Configuration<AlertChannelConfig>;
