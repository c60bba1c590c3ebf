/**
 * `interlock propose`: terms under which a halted or held run might go on, in whole or for evaluation work alone, or its
 * release from quarantine. Decides nothing; people sign it.
 */
import { EXIT, type ExitCode, UsageError } from './exit.ts';
import { json } from './output.ts';
import { connect, path, read, type ServiceOptions } from './service-client.ts';
import { Proposal, Run } from './service-documents.ts';
import { showProposal } from './show-proposal.ts';
import { signOffStep } from './show-run.ts';
import type { Terminal } from './terminal.ts';
import { instantOf } from './when.ts';

export interface ProposeOptions extends ServiceOptions {
  run: string;
  kind?: 'resume' | 'scoped-resume' | 'release';
  halt?: string;
  ceiling?: string;
  level?: readonly string[];
  forecast?: readonly string[];
  expires?: string;
  rationale: string;
  json?: true;
}

export async function propose(options: ProposeOptions, terminal: Terminal): Promise<ExitCode> {
  const now = new Date();
  const body = proposalBody(options, now);
  const client = await connect(options, terminal);
  const answer = await client.post(path('v1', 'runs', options.run, 'proposals'), body);
  if (options.json) {
    terminal.print(json(answer));
    return EXIT.ok;
  }
  const proposal = read(Proposal, answer);
  const run = read(Run, await client.get(path('v1', 'runs', options.run)));
  terminal.print(showProposal(proposal, run, now, terminal.style));
  terminal.print(`\n${signOffStep(proposal)}`);
  return EXIT.ok;
}

export function proposalBody(options: ProposeOptions, now: Date): object {
  const { kind = 'resume', halt, ceiling, level = [], forecast = [], expires, rationale } = options;
  const strangers = strangeOptions(kind, options);
  if (strangers.length > 0) {
    throw new UsageError(`${strangers.join(', ')} cannot be given with --kind ${kind}`);
  }
  const terms = {
    ...(ceiling === undefined ? {} : { ceiling }),
    ...(level.length === 0 ? {} : { levels: perCategory('--level', level) }),
    ...(forecast.length === 0 ? {} : { forecasts: perCategory('--forecast', forecast) }),
    ...(expires === undefined ? {} : { expires: instantOf('--expires', expires, now) }),
  };
  const named = { kind, ...(halt === undefined ? {} : { haltId: halt }), rationale };
  return kind === 'release' ? named : { ...named, terms };
}

/** Options that say something of terms which this kind does not have. */
function strangeOptions(
  kind: NonNullable<ProposeOptions['kind']>,
  { ceiling, level, forecast, expires }: ProposeOptions,
): string[] {
  if (kind === 'resume') return [];
  const waiver = { '--ceiling': ceiling, '--level': level, '--forecast': forecast };
  const all = kind === 'release' ? { ...waiver, '--expires': expires } : waiver;
  return Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : [name]));
}

function perCategory(option: string, pairs: readonly string[]): Record<string, number> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const [, category, value] = /^([^=]+)=(\d+(?:\.\d+)?)$/.exec(pair) ?? [];
      if (category === undefined) throw new UsageError(`${option} must be CATEGORY=NUMBER`);
      return [category, Number(value)];
    }),
  );
}
