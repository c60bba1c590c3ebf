/** What figures were taken on: said below every table. */
import { cpus, totalmem, type } from 'node:os';

export function machine(): string {
  const model = cpus()[0]?.model.trim() ?? 'unknown processor';
  return `${cpus().length} cores (${model}), ${Math.round(totalmem() / 2 ** 30)} GB, ${type()}`;
}

/** With the day. */
export function takenOn(): string {
  return `${new Date().toISOString().slice(0, 10)}, Node ${process.version}, ${machine()}`;
}
