/**
 * Per-sample scores, collected while a log is read: numbered labels, never the labels themselves.
 *
 * A sample's name may be text of the data set; what intervals need is which values belong together.
 */
import type { SampleScore, SampleScores } from '../../domain/harness-log.ts';
import { READ_LIMITS } from './format.ts';

export interface SheetName {
  readonly scorer: string | null;
  readonly name: string | null;
  readonly task?: string | null;
  /** Of logs that hold several prompts, the index. */
  readonly prompt?: number;
}

export interface ScoredSample {
  /** Not a finite number: no score. */
  readonly value: unknown;
  /** Its label in the log; the same label again is the next epoch. */
  readonly sample: unknown;
  readonly cluster?: unknown;
  readonly errored?: boolean;
}

export class ScoreSheets {
  readonly #sheets = new Map<
    string,
    { name: SheetName; scores: SampleScore[]; epochs: Map<number, number> }
  >();
  readonly #samples = new Map<string, number>();
  readonly #clusters = new Map<string, number>();
  #count = 0;

  add(name: SheetName, { value, sample, cluster, errored = false }: ScoredSample): void {
    this.#count += 1;
    if (this.isFull) return;
    const key = JSON.stringify([name.scorer, name.name, name.task, name.prompt]);
    const sheet = this.#sheets.get(key) ?? { name, scores: [], epochs: new Map<number, number>() };
    this.#sheets.set(key, sheet);
    const number = numberOf(this.#samples, sample);
    const epoch = sheet.epochs.get(number) ?? 0;
    sheet.epochs.set(number, epoch + 1);
    sheet.scores.push({
      value: scoreOf(value),
      sample: number,
      epoch,
      ...(cluster === undefined || cluster === null ? {} : { cluster: numberOf(this.#clusters, cluster) }),
      ...(errored ? { errored: true as const } : {}),
    });
  }

  /** Over the bound: what was collected is not all, so that nobody may take it for all. */
  get isFull(): boolean {
    return this.#count > READ_LIMITS.samples;
  }

  list(): SampleScores[] {
    return [...this.#sheets.values()].map(({ name: { scorer, name, task, prompt }, scores }) => ({
      scorer,
      name,
      ...(task === undefined ? {} : { task }),
      ...(prompt === undefined ? {} : { prompt }),
      scores,
    }));
  }
}

function scoreOf(value: unknown): number | null {
  if (typeof value === 'boolean') return value ? 1 : 0;
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

function numberOf(labels: Map<string, number>, label: unknown): number {
  const key = JSON.stringify(label) ?? '';
  const known = labels.get(key);
  if (known !== undefined) return known;
  labels.set(key, labels.size);
  return labels.size - 1;
}
