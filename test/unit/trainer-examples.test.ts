/** The examples for launchers and clusters, as far as they can be held to something without one. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { EXIT_HALTED } from '../../clients/typescript/index.ts';
import { NO_PYTHON, python } from '../support/python.ts';

const path = (name: string): string =>
  fileURLToPath(new URL(`../../examples/trainers/${name}`, import.meta.url));
const text = (name: string): string => readFileSync(path(name), 'utf8');

const TrainJob = z.object({
  kind: z.literal('TrainJob'),
  spec: z.object({
    runtimeRef: z.object({ name: z.string() }),
    trainer: z.object({ command: z.array(z.string()), args: z.array(z.string()) }),
  }),
});
const Runtime = z.object({
  kind: z.literal('ClusterTrainingRuntime'),
  metadata: z.object({ name: z.string() }),
  spec: z.object({
    template: z.object({
      spec: z.object({
        failurePolicy: z.object({ maxRestarts: z.number() }),
        replicatedJobs: z.tuple([
          z.object({
            template: z.object({
              spec: z.object({
                backoffLimit: z.number(),
                podFailurePolicy: z.object({ rules: z.array(z.json()) }),
                template: z.object({
                  spec: z.object({
                    restartPolicy: z.string(),
                    containers: z.tuple([z.object({ name: z.string() })]),
                  }),
                }),
              }),
            }),
          }),
        ]),
      }),
    }),
  }),
});

describe('trainjob.yaml', () => {
  const documents = parseAllDocuments(text('trainjob.yaml'), { strict: true });

  it('is YAML of a TrainJob and its runtime, by which a pod that ends with 86 is not started again', () => {
    expect(documents.flatMap(({ errors }) => errors)).toEqual([]);
    const [job, runtime] = z.tuple([TrainJob, Runtime]).parse(documents.map((each) => each.toJS()));
    expect(job.spec.runtimeRef.name).toBe(runtime.metadata.name);
    const { spec } = runtime.spec.template;
    const [{ template: node }] = spec.replicatedJobs;
    const [container] = node.spec.template.spec.containers;
    expect(node.spec.podFailurePolicy.rules).toEqual([
      {
        action: 'FailJob',
        onExitCodes: { containerName: container.name, operator: 'In', values: [EXIT_HALTED] },
      },
    ]);
    expect([spec.failurePolicy.maxRestarts, node.spec.backoffLimit]).toEqual([0, 0]);
    expect(node.spec.template.spec.restartPolicy).toBe('Never');
  });

  it('runs its launcher under launch, which gives that code', () => {
    const { trainer } = TrainJob.parse(documents[0]?.toJS()).spec;
    expect(trainer.command.slice(0, 3)).toEqual(['python3', '/app/interlock.py', 'launch']);
    expect([trainer.command.at(-1), ...trainer.args.slice(0, 2)]).toEqual([
      '--',
      'torchrun',
      '--max-restarts=0',
    ]);
  });
});

describe('slurm.sbatch', () => {
  it('asks not to be requeued and to end as a whole, and runs its launcher under launch', () => {
    const asked = text('slurm.sbatch').match(/^#SBATCH (.*)$/gm) ?? [];
    expect(asked).toEqual(expect.arrayContaining(['#SBATCH --no-requeue', '#SBATCH --kill-on-bad-exit=1']));
    expect(text('slurm.sbatch')).toMatch(/^interlock=\(python3 .* launch --run .* --\)$/m);
  });
});

describe('every example', () => {
  it.each([
    ['slurm.sbatch', 'bash'],
    ['sidecar.sh', 'sh'],
  ])('%s is what %s can read', (name, shell) => {
    expect(() => execFileSync(shell, ['-n', path(name)])).not.toThrow();
  });

  it.skipIf(NO_PYTHON !== null).each(['pytorch_loop.py', 'hugging_face.py', 'lightning_fit.py'])(
    '%s is Python of this interpreter',
    (name) => {
      const compile = 'import sys; compile(open(sys.argv[1], encoding="utf-8").read(), sys.argv[1], "exec")';
      expect(() => execFileSync(python ?? '', ['-c', compile, path(name)])).not.toThrow();
    },
  );
});
