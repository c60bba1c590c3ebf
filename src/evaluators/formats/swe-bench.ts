/**
 * SWE-bench: the report of a run (`<model>.<run id>.json`) and the `report.json` of one instance.
 *
 * A run is judged over the whole data set: what was not submitted, or had no patch, is not resolved. How much of that is for want of a
 * patch, or of an environment that worked (`infra_failure_ids`, from 2026 on), is told beside the share. The model stands in the
 * file's name only, with `__` for a slash, and the run's id behind the last dot.
 */
import { z } from 'zod';
import type { HarnessLog } from '../../domain/harness-log.ts';
import { readDocumentAs } from './documents.ts';
import { GLIMPSE_BYTES, type HarnessFormat, type ReadLog, type ReadOptions } from './format.ts';
import {
  counts,
  distinct,
  draft,
  finish,
  joined,
  jsonMembers,
  ratio,
  refusal,
  tally,
} from './harness-values.ts';
import type { LogSource } from './log-source.ts';
import { isObjectWith, outlineOf } from './outline.ts';
import { ScoreSheets } from './score-sheets.ts';

const SCORER = 'swebench';

export const sweBench: HarnessFormat = {
  name: 'swe-bench',
  kinds: ['swe-bench-run-report', 'swe-bench-instance-report'],
  claims: ({ head }) => claimsRun(head) || claimsInstance(head),
  kind: ({ head }) => (claimsRun(head) ? 'swe-bench-run-report' : 'swe-bench-instance-report'),
  async read(source, options) {
    return claimsRun(await source.read(0, GLIMPSE_BYTES)) ? readRun(source, options) : readInstances(source);
  },
};

function claimsRun(head: Uint8Array): boolean {
  return isObjectWith(head, { all: ['total_instances', 'submitted_instances', 'resolved_instances'] });
}

function claimsInstance(head: Uint8Array): boolean {
  const { root, paths } = outlineOf(head);
  return root === 'object' && [...paths].some((path) => path.endsWith('.patch_successfully_applied'));
}

// --- run -----------------------------------------------------------------------------------------------

const ids = z.array(z.string()).nullish();
const RunSchema = z.looseObject({
  total_instances: tally,
  submitted_instances: tally,
  completed_instances: tally,
  resolved_instances: tally,
  unresolved_instances: tally,
  empty_patch_instances: tally.nullish(),
  error_instances: tally.nullish(),
  schema_version: z.union([z.number(), z.string()]).nullish(),
  completed_ids: ids,
  incomplete_ids: ids,
  empty_patch_ids: ids,
  resolved_ids: ids,
  unresolved_ids: ids,
  error_ids: ids,
  infra_failure_ids: ids,
});
type Run = z.infer<typeof RunSchema>;

async function readRun(source: LogSource, options: ReadOptions): Promise<ReadLog> {
  const document = await readDocumentAs(source, 'SWE-bench run report', RunSchema);
  if (!document.ok) return document;
  const run = document.value;
  const contradiction = contradictionIn(run);
  if (contradiction !== null) return refusal('log-unreadable', contradiction);
  const { resolved_instances: pass, total_instances: whole } = run;
  const judged = pass + run.unresolved_instances - brokenOf(run).length;
  const metric = (name: string, value: number | null) => ({ scorer: SCORER, name, value, stderr: null });
  return finish(
    draft('swe-bench-run-report', 'swe-bench', {
      status: 'success',
      task: 'swe-bench',
      model: modelOf(source.fileName),
      metrics: [
        metric('resolved_instances', run.resolved_instances),
        metric('unresolved_instances', run.unresolved_instances),
        metric('empty_patch_instances', run.empty_patch_instances ?? null),
        metric('error_instances', run.error_instances ?? null),
        {
          ...metric('resolved_of_total', ratio(pass, whole)),
          n: whole,
          facts: { pass, fail: judged - pass, errors: Math.max(0, whole - judged) },
        },
      ],
      samples: counts({
        total: run.total_instances,
        completed: run.completed_instances,
        scored: judged,
        errored: run.error_instances ?? null,
        blank: run.empty_patch_instances ?? 0,
      }),
      facts: jsonMembers({ submitted: run.submitted_instances, schema_version: run.schema_version ?? null }),
      protocol: jsonMembers({
        schema_version: run.schema_version ?? null,
        total_instances: run.total_instances,
      }),
      sampleScores: options.scores === undefined ? [] : scoresOf(run),
    }),
    source,
  );
}

/** A count that its own list of instances does not bear out supports nothing. */
function contradictionIn(run: Run): string | null {
  const listed = (
    [
      ['resolved', run.resolved_instances, run.resolved_ids],
      ['unresolved', run.unresolved_instances, run.unresolved_ids],
      ['completed', run.completed_instances, run.completed_ids],
      ['error', run.error_instances, run.error_ids],
    ] as const
  ).find(([, count, list]) => count != null && list != null && count !== list.length);
  if (listed !== undefined) return `counts ${listed[0]} instances otherwise than it lists them`;
  const judged = run.resolved_instances + run.unresolved_instances;
  if (judged > run.completed_instances) return 'judged more instances than it completed';
  return run.completed_instances > run.total_instances ? 'completed more instances than there are' : null;
}

function modelOf(fileName: string): string | null {
  const [, model] = /^(.+)\.[^.]+\.json$/.exec(fileName) ?? [];
  return model ?? null;
}

/** Of the unresolved, those that failed for their environment: not the model's failure. */
function brokenOf({ infra_failure_ids: broken, unresolved_ids: unresolved }: Run): string[] {
  const judged = new Set(unresolved);
  return distinct(broken ?? []).filter((instance) => judged.has(instance));
}

function scoresOf(run: Run): HarnessLog['sampleScores'] {
  const sheets = new ScoreSheets();
  const add = (list: readonly string[] | null | undefined, value: number | null, errored = false): void => {
    for (const sample of list ?? [])
      sheets.add({ scorer: SCORER, name: 'resolved_of_total' }, { sample, value, errored });
  };
  const broken = new Set(brokenOf(run));
  add(run.resolved_ids, 1);
  add(
    run.unresolved_ids?.filter((instance) => !broken.has(instance)),
    0,
  );
  add([...broken], null, true);
  add(run.empty_patch_ids, null);
  add(run.error_ids, null, true);
  add(run.incomplete_ids, null);
  return sheets.isFull ? [] : sheets.list();
}

// --- instance ------------------------------------------------------------------------------------------

const TestsSchema = z.record(
  z.string(),
  z.looseObject({ success: z.array(z.unknown()), failure: z.array(z.unknown()) }),
);
const InstancesSchema = z.record(
  z.string(),
  z.looseObject({
    patch_successfully_applied: z.boolean(),
    resolved: z.boolean(),
    tests_status: TestsSchema.nullish(),
  }),
);

async function readInstances(source: LogSource): Promise<ReadLog> {
  const document = await readDocumentAs(source, 'SWE-bench instance report', InstancesSchema);
  if (!document.ok) return document;
  const instances = Object.entries(document.value);
  const [first] = instances;
  if (first === undefined) return refusal('log-unreadable', 'reports no instance');
  const isOne = instances.length === 1;
  const [, { patch_successfully_applied: applied, tests_status: tests }] = first;
  return finish(
    draft('swe-bench-instance-report', 'swe-bench', {
      status: 'success',
      task: joined(instances.map(([id]) => id)),
      metrics: instances.map(([id, { resolved }]) => ({
        scorer: SCORER,
        name: 'resolved',
        value: resolved,
        stderr: null,
        ...(isOne ? {} : { task: id }),
      })),
      samples: counts({
        total: instances.length,
        completed: instances.length,
        scored: instances.length,
        logged: instances.length,
      }),
      facts: isOne ? jsonMembers({ patch_applied: applied, tests: testCounts(tests ?? {}) }) : {},
    }),
    source,
  );
}

function testCounts(
  tests: z.infer<typeof TestsSchema>,
): Record<string, { success: number; failure: number }> {
  return Object.fromEntries(
    Object.entries(tests).map(([kind, { success, failure }]) => [
      kind,
      { success: success.length, failure: failure.length },
    ]),
  );
}
