/**
 * `interlock replay`: does folding the events give what is stored, and does every recorded verdict follow?
 *
 * Every event is checked against the state before it under the policy that the run had pinned. An export carries
 * no stored states, so there only the judgements are checked. Not the verifier: this one believes the bytes.
 */
import { createReadStream } from 'node:fs';
import { splitLines } from '../ledger/lines.ts';
import { type FoldFor, type Mismatch, type Replay, replayLines, replayLive } from '../ledger/replay.ts';
import { createFolds, type Folded } from '../service/folds.ts';
import { EXIT, type ExitCode } from './exit.ts';
import { json, printable, type Style } from './output.ts';
import type { Terminal } from './terminal.ts';

export interface ReplayOptions {
  run?: string;
  file?: string;
  config?: string;
  json?: true;
}

export async function replay(options: ReplayOptions, terminal: Terminal): Promise<ExitCode> {
  const { run: runId, file } = options;
  const seen = new Set<string>();
  const folds = createFolds({ runId });
  const foldFor: FoldFor<Folded> = (stream) => {
    seen.add(stream);
    return folds(stream);
  };
  const result =
    file === undefined
      ? await replayDatabase(options, terminal, foldFor)
      : await replayLines(linesOf(file), foldFor);
  if (runId !== undefined && !seen.has(`run-${runId}`)) {
    terminal.complain(`interlock: this ledger has no run ${printable(runId)}`);
    return EXIT.negative;
  }
  terminal.print(options.json ? json(result) : judgement(result, file !== undefined, terminal.style));
  return result.ok ? EXIT.ok : EXIT.negative;
}

async function replayDatabase(
  { config }: ReplayOptions,
  terminal: Terminal,
  foldFor: FoldFor<Folded>,
): Promise<Replay> {
  const { loadConfig, withStore } = await import('./configuration.ts');
  return withStore(await loadConfig(config, terminal), ({ database }) => replayLive(database.pool, foldFor));
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A line that is no text becomes one that no reader takes for an event. */
export async function* linesOf(file: string): AsyncGenerator<string> {
  for await (const line of splitLines(createReadStream(file))) {
    if (line.kind === 'too-long') {
      yield '';
      return;
    }
    yield decode(line.bytes);
  }
}

function decode(bytes: Uint8Array): string {
  try {
    return strictUtf8.decode(bytes);
  } catch {
    return '';
  }
}

export function judgement(result: Replay, isExport: boolean, style: Style): string {
  const { ok, events, streams, streamsNotFolded, mismatches } = result;
  const judged = streams - streamsNotFolded;
  const what = isExport ? 'every recorded verdict follows' : 'every state and every recorded verdict follows';
  return [
    ok
      ? style.green(`the replay agrees: ${what} from the events`)
      : style.red('the replay does NOT agree with what is recorded'),
    `events   ${events}`,
    `streams  ${judged} judged${streamsNotFolded > 0 ? `, ${streamsNotFolded} not judged (other runs, or no run at all)` : ''}`,
    ...(mismatches.length === 0 ? [] : ['', ...mismatches.map(mismatchLine)]),
  ].join('\n');
}

function mismatchLine({ stream, version, seq, kind, message }: Mismatch): string {
  const place = [seq === null ? '' : `entry ${seq}`, stream === '' ? '' : `${printable(stream)} v${version}`]
    .filter((part) => part !== '')
    .join(', ');
  return `  ${place} ${printable(message)} [${kind}]`;
}
