/**
 * What every reader of a harness's logs promises.
 *
 * `read` never throws for what is in a file and never holds the file in memory: what it cannot read is `ok: false` with a fixed
 * code. It translates (domain/harness-log.ts) and does not judge: a broken run is read as the broken run that it is.
 * A fact that the file does not state is null; no reader fills one in, and none takes a default for a measurement.
 */
import type { HarnessLog, LogProblem } from '../../domain/harness-log.ts';
import type { LogSource } from './log-source.ts';

export interface ReadOptions {
  /** Per-sample scores are collected: by this member of a sample's metadata as its cluster, where one is named. */
  readonly scores?: { readonly cluster?: string | undefined } | undefined;
}

export type ReadLog =
  | { readonly ok: true; readonly log: HarnessLog }
  | {
      readonly ok: false;
      readonly problem: LogProblem;
      /** Safe short text: what was wrong where, never text of the file. */
      readonly detail: string;
    };

/** What is looked at to tell whose file it is. */
export interface Glimpse {
  readonly fileName: string;
  readonly size: number;
  /** The first bytes, at most GLIMPSE_BYTES. */
  readonly head: Uint8Array;
}
export const GLIMPSE_BYTES = 65_536;

export interface HarnessFormat {
  /** As policies name it: `inspect`, `lm-eval`. */
  readonly name: string;
  /** Kinds of files that it reads, as `format` of a log: `lm-eval-results`, `lm-eval-samples`. */
  readonly kinds: readonly string[];
  /** Whether the file is of this format or a companion of it. Cheap, and by content rather than by name. */
  claims(glimpse: Glimpse): boolean;
  /** The file's own kind as far as its beginning shows it: what is said of a file that could not be read. */
  kind(glimpse: Glimpse): string;
  read(source: LogSource, options: ReadOptions): Promise<ReadLog>;
}

/** Bounds that every reader keeps; a test may lower them. */
export interface ReadLimits {
  /** Of one document that has to be in memory as a whole, such as the header of a log. */
  readonly documentBytes: number;
  /** Of one line of a JSON-lines file, and of one string of a streamed document. */
  readonly lineBytes: number;
  /** Of an archive, expanded, in all. */
  readonly expandedBytes: number;
  /** Expanded over compressed, beyond the first mebibyte. */
  readonly expansion: number;
  readonly samples: number;
  readonly metrics: number;
}
export const READ_LIMITS: ReadLimits = {
  documentBytes: 64 * 1024 * 1024,
  lineBytes: 16 * 1024 * 1024,
  expandedBytes: 64 * 1024 * 1024 * 1024,
  expansion: 1_000,
  samples: 1_000_000,
  metrics: 20_000,
};
