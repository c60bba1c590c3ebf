/**
 * Samples of an Inspect log: counted as they go by, their values kept only where somebody asks for them.
 *
 * A sample is one question in one epoch. What stands in a summary of a sample stands in the sample, too; the same one is counted once.
 * Values are what Inspect makes numbers of (C 1, P 0.5, I and N 0, yes/no, true/false, numbers in text). What it would take as 0
 * with a warning is no number here: null.
 */
import type { SampleScore, SampleScores } from '../../domain/harness-log.ts';
import type { ReadLimits } from './format.ts';
import { ANY, type JsonKind, type JsonPath, type JsonValue, type Selection } from './json-select.ts';
import { LogFault } from './log-fault.ts';

export interface SampleCounts {
  readonly logged: number;
  readonly errored: number;
  readonly limited: number;
  readonly retried: number;
  readonly invalidated: number;
  /** Ended without an error, and with a value by every scorer that it names. */
  readonly scored: number;
  /** null: of some samples there are only summaries, which do not say it. */
  readonly refused: number | null;
  /** Samples that occur more than once under the same id and epoch. */
  readonly repeated: number;
}

interface Sample {
  id: JsonValue | undefined;
  epoch: JsonValue | undefined;
  errored: boolean;
  limited: boolean;
  retried: boolean;
  invalidated: boolean;
  refused: boolean;
  hasOutput: boolean;
  readonly scores: Map<string, JsonValue>;
  cluster: string | null;
}

interface Kept {
  readonly sample: number;
  readonly epoch: number;
  readonly cluster: number | null;
  readonly errored: boolean;
}

/** Scorer of samples that were written when there was but one. */
const ONLY_SCORER = '';
const VALUES_MOST = 20_000_000;

export class SampleCollector {
  readonly #limits: ReadLimits;
  readonly #cluster: string | null;
  readonly #keeps: boolean;
  #current: Sample | null = null;
  #nextCluster: string | null = null;
  readonly #seen = new Set<string>();
  readonly #ids = new Map<string, number>();
  readonly #clusters = new Map<string, number>();
  readonly #kept: Kept[] = [];
  /** By scorer and key: one value per sample in the order in which they came, with holes. */
  readonly #series = new Map<string, { scorer: string; name: string | null; values: (number | null)[] }>();
  #values = 0;
  #summaries: { seen: Set<string>; errored: number } | null = null;
  #counts = { errored: 0, limited: 0, retried: 0, invalidated: 0, scored: 0, refused: 0, repeated: 0 };
  #withOutput = 0;
  /** Samples whose summary says otherwise than they do, or that have none. */
  #erroredInSamples = 0;
  #seenInSamples = 0;

  constructor(limits: ReadLimits, scores: { readonly cluster?: string | undefined } | undefined) {
    this.#limits = limits;
    this.#keeps = scores !== undefined;
    this.#cluster = scores?.cluster ?? null;
  }

  /** `at`: where a list of samples or of their summaries stands. Anything but a list would hide samples from the counts. */
  listSelections(at: Selection['path']): Selection[] {
    const onStart = (kind: JsonKind): void => {
      if (kind !== 'array' && kind !== 'null') throw new LogFault('log-unreadable', 'samples: not a list');
    };
    return [{ path: at, onStart }, ...this.selections([...at, ANY])];
  }

  /** `at`: where one sample (or its summary) stands. */
  selections(at: Selection['path']): Selection[] {
    const on = (path: Selection['path'], onStart: (kind: JsonKind, path: JsonPath) => void): Selection => ({
      path: [...at, ...path],
      onStart,
    });
    const held = (
      path: Selection['path'],
      onValue: (sample: Sample, value: JsonValue, path: JsonPath) => void,
    ): Selection => ({
      path: [...at, ...path],
      onValue: (value, where) => onValue(this.#open(), value, where),
    });
    return [
      { path: at, onStart: (kind) => this.#begin(kind), onEnd: () => this.#end() },
      held(['id'], (sample, value) => {
        sample.id = value;
      }),
      held(['epoch'], (sample, value) => {
        sample.epoch = value;
      }),
      on(['error'], (kind) => {
        this.#open().errored = kind !== 'null';
      }),
      on(['limit'], (kind) => {
        this.#open().limited = kind !== 'null';
      }),
      on(['invalidation'], (kind) => {
        this.#open().invalidated = kind !== 'null';
      }),
      on(['error_retries', ANY], () => {
        this.#open().retried = true;
      }),
      held(['retries'], (sample, value) => {
        sample.retried = typeof value === 'number' && value > 0;
      }),
      on(['output'], (kind) => {
        this.#open().hasOutput = kind === 'object';
      }),
      held(['output', 'choices', ANY, 'stop_reason'], (sample, value, path) => {
        if (path[at.length + 2] === 0) sample.refused = value === 'content_filter';
      }),
      on(['scores'], (kind) => {
        if (kind !== 'object' && kind !== 'null')
          throw new LogFault('log-unreadable', 'scores of a sample: not an object');
      }),
      on(['scores', ANY], (_kind, path) => {
        this.#open().scores.set(String(path[at.length + 1]), null);
      }),
      held(['scores', ANY, 'value'], (sample, value, path) => {
        sample.scores.set(String(path[at.length + 1]), value);
      }),
      held(['score', 'value'], (sample, value) => {
        sample.scores.set(ONLY_SCORER, value);
      }),
      ...(this.#cluster === null
        ? []
        : [
            held(['metadata', this.#cluster], (sample, value) => {
              sample.cluster = value === null ? null : JSON.stringify(value);
            }),
          ]),
    ];
  }

  /** Of a sample whose metadata stands apart and is read before it. */
  metadataSelections(): Selection[] {
    if (this.#cluster === null) return [];
    return [
      {
        path: [this.#cluster],
        onValue: (value) => {
          this.#nextCluster = value === null ? null : JSON.stringify(value);
        },
      },
    ];
  }

  /** From here on summaries come, of samples that were read already and perhaps of others. */
  beginSummaries(): void {
    this.#summaries = { seen: new Set(), errored: 0 };
    this.#erroredInSamples = this.#counts.errored;
    this.#seenInSamples = this.#seen.size;
  }

  /** Whether the summaries are of exactly the samples that the log holds, with as many errors. True where there are none. */
  get summariesAgree(): boolean {
    if (this.#summaries === null) return true;
    return (
      this.#summaries.seen.size === this.#seen.size &&
      this.#seenInSamples === this.#seen.size &&
      this.#summaries.errored === this.#counts.errored &&
      this.#erroredInSamples === this.#counts.errored
    );
  }

  counts(): SampleCounts {
    const { refused, ...counts } = this.#counts;
    const logged = this.#seen.size;
    return { logged, ...counts, refused: logged > 0 && this.#withOutput === logged ? refused : null };
  }

  /** `only`: the name of the scorer of samples that name none. */
  sampleScores(only: string | null): SampleScores[] {
    return [...this.#series.values()].map(({ scorer, name, values }) => ({
      scorer: scorer === ONLY_SCORER ? only : scorer,
      name,
      scores: this.#kept.map(
        ({ sample, epoch, cluster, errored }, index): SampleScore => ({
          value: values[index] ?? null,
          sample,
          epoch,
          ...(cluster === null ? {} : { cluster }),
          ...(errored ? { errored: true } : {}),
        }),
      ),
    }));
  }

  #open(): Sample {
    if (this.#current === null) throw new LogFault('log-unreadable', 'a sample: not an object');
    return this.#current;
  }

  #begin(kind: JsonKind): void {
    if (kind !== 'object') throw new LogFault('log-unreadable', 'a sample: not an object');
    this.#current = {
      id: undefined,
      epoch: undefined,
      errored: false,
      limited: false,
      retried: false,
      invalidated: false,
      refused: false,
      hasOutput: false,
      scores: new Map(),
      cluster: this.#nextCluster,
    };
    this.#nextCluster = null;
  }

  #end(): void {
    const sample = this.#open();
    this.#current = null;
    const { id, epoch } = sample;
    if (typeof id !== 'string' && typeof id !== 'number')
      throw new LogFault('log-unreadable', 'id of a sample: neither text nor number');
    if (typeof epoch !== 'number' || !Number.isSafeInteger(epoch) || epoch < 0)
      throw new LogFault('log-unreadable', 'epoch of a sample: not a whole number');
    const key = JSON.stringify([id, epoch]);
    if (this.#summaries !== null && !this.#summaries.seen.has(key)) {
      this.#summaries.seen.add(key);
      if (sample.errored) this.#summaries.errored += 1;
    }
    if (this.#seen.has(key)) {
      if (this.#summaries === null) this.#counts.repeated += 1;
      return;
    }
    if (this.#seen.size >= this.#limits.samples)
      throw new LogFault('log-too-large', `over ${this.#limits.samples} samples`);
    this.#seen.add(key);
    this.#tally(sample);
    if (this.#keeps) this.#keep(sample, JSON.stringify(id), epoch);
  }

  #tally(sample: Sample): void {
    this.#counts.errored += sample.errored ? 1 : 0;
    this.#counts.limited += sample.limited ? 1 : 0;
    this.#counts.retried += sample.retried ? 1 : 0;
    this.#counts.invalidated += sample.invalidated ? 1 : 0;
    this.#counts.refused += sample.refused ? 1 : 0;
    this.#withOutput += sample.hasOutput ? 1 : 0;
    const values = [...sample.scores.values()];
    this.#counts.scored += !sample.errored && values.length > 0 && values.every(isScore) ? 1 : 0;
  }

  #keep(sample: Sample, id: string, epoch: number): void {
    const index = this.#kept.length;
    this.#kept.push({
      sample: numberOf(this.#ids, id),
      epoch,
      cluster: sample.cluster === null ? null : numberOf(this.#clusters, sample.cluster),
      errored: sample.errored,
    });
    for (const [scorer, value] of sample.scores) {
      if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
        for (const [name, part] of Object.entries(value)) this.#put(scorer, name, index, part);
      } else this.#put(scorer, null, index, value);
    }
  }

  #put(scorer: string, name: string | null, index: number, value: JsonValue): void {
    const key = JSON.stringify([scorer, name]);
    const series = this.#series.get(key) ?? { scorer, name, values: [] };
    this.#series.set(key, series);
    this.#values += index + 1 - series.values.length;
    if (this.#series.size > this.#limits.metrics || this.#values > VALUES_MOST)
      throw new LogFault('log-too-large', 'too many scores of samples');
    while (series.values.length < index) series.values.push(null);
    series.values[index] = scoreToNumber(value);
  }
}

/** Labels are numbered in order of appearance and not kept: they may be text of the questions. */
function numberOf(numbers: Map<string, number>, label: string): number {
  const known = numbers.get(label);
  if (known !== undefined) return known;
  numbers.set(label, numbers.size);
  return numbers.size - 1;
}

/** Whether there is a score at all: an unscored sample has null or NaN. */
function isScore(value: JsonValue): boolean {
  if (value === null || value === 'NaN') return false;
  if (typeof value !== 'object') return true;
  return Object.values(value).some(isScore);
}

const WORDS: ReadonlyMap<string, number> = new Map([
  ['yes', 1],
  ['true', 1],
  ['no', 0],
  ['false', 0],
]);
const LETTERS: ReadonlyMap<string, number> = new Map([
  ['C', 1],
  ['P', 0.5],
  ['I', 0],
  ['N', 0],
]);
const DECIMAL = /^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[-+]?[0-9]+)?$/;

export function scoreToNumber(value: JsonValue): number | null {
  if (typeof value === 'number') return value;
  if (typeof value === 'boolean') return value ? 1 : 0;
  if (typeof value !== 'string') return null;
  const known = LETTERS.get(value) ?? WORDS.get(value.toLowerCase());
  if (known !== undefined) return known;
  const number = DECIMAL.test(value.trim().toLowerCase()) ? Number(value) : Number.NaN;
  return Number.isFinite(number) ? number : null;
}
