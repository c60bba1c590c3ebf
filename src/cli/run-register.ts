/** `interlock run register`: a run exists for Interlock from here on, with the targets that stop it. */
import { z } from 'zod';
import { EXIT, type ExitCode, UsageError } from './exit.ts';
import { json, printable } from './output.ts';
import { connect, read, type ServiceOptions } from './service-client.ts';
import { Run } from './service-documents.ts';
import { showRun } from './show-run.ts';
import type { Terminal } from './terminal.ts';

export interface RunRegisterOptions extends ServiceOptions {
  run: string;
  targetWebhook?: readonly string[];
  targetPid?: readonly string[];
  target?: readonly string[];
  policy?: string;
  initialCompute?: string;
  parent?: readonly string[];
  vouch?: string;
  accelerator?: string;
  label?: readonly string[];
  title?: string;
  json?: true;
}

const Registered = z.object({ run: Run, permit: z.string().nullable() });

export async function runRegister(options: RunRegisterOptions, terminal: Terminal): Promise<ExitCode> {
  const body = registration(options);
  const client = await connect(options, terminal);
  const answer = await client.post('/v1/runs', body);
  if (options.json) {
    terminal.print(json(answer));
    return EXIT.ok;
  }
  const { run, permit } = read(Registered, answer);
  terminal.print(showRun({ run, scorecard: null }, new Date(), terminal.style));
  terminal.print(
    permit === null
      ? 'registered; no permit was issued'
      : `registered; the trainer's heartbeats to /v1/runs/${printable(run.runId)}/heartbeat renew its permit`,
  );
  return EXIT.ok;
}

export function registration(options: RunRegisterOptions): object {
  const {
    run,
    targetWebhook = [],
    targetPid = [],
    target = [],
    policy,
    initialCompute,
    label = [],
    title,
  } = options;
  const { parent = [], vouch, accelerator } = options;
  const targets = [
    ...targetWebhook.map((url) => ({ kind: 'webhook', url })),
    ...targetPid.map((pid) => ({ kind: 'process', pid: processId(pid) })),
    ...target.map(statedTarget),
  ];
  if (targets.length === 0) {
    throw new UsageError(
      'a run that nothing can stop is not registered: give --target-webhook, --target-pid or --target',
    );
  }
  return {
    runId: run,
    targets,
    ...(policy === undefined ? {} : { policy }),
    ...(initialCompute === undefined ? {} : { initialCompute }),
    ...(parent.length === 0 ? {} : { parents: [...parent] }),
    ...(vouch === undefined ? {} : { vouchedParentage: vouch }),
    ...(accelerator === undefined ? {} : { accelerator }),
    ...(title === undefined ? {} : { title }),
    ...(label.length === 0 ? {} : { labels: Object.fromEntries(label.map(labelEntry)) }),
  };
}

/** The service says what is wrong with it, with the field. */
export function statedTarget(text: string): object {
  try {
    return z.looseObject({ kind: z.string() }).parse(JSON.parse(text));
  } catch {
    throw new UsageError(
      '--target must be a JSON object with a kind, such as {"kind": "slurm", "cluster": "train", "jobId": 4711}',
    );
  }
}

function processId(text: string): number {
  if (!/^[1-9]\d{0,9}$/.test(text)) throw new UsageError('--target-pid must be a process id');
  return Number(text);
}

function labelEntry(text: string): [string, string] {
  const at = text.indexOf('=');
  if (at < 1) throw new UsageError('--label must be NAME=VALUE');
  return [text.slice(0, at), text.slice(at + 1)];
}
