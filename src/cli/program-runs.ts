/** The commands that speak to the running service. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { collect, describe, EXITS, JSON_OPTION, overHttp, type Register } from './program-parts.ts';
import type { ServiceOptions } from './service-client.ts';

export function addRunCommands(program: Command, perform: Register): void {
  overHttp(
    describe(program.command('status'), {
      summary: 'one screen: runs, levels, open halts and whether they stopped, what to do next',
      details:
        'The gravest run first. A level bar runs from 1 to 5, a mark where Medium, High and Critical begin: solid up to the estimate, shaded up to the upper limit.',
      example: 'interlock status --run gpt-next-7',
      exits: EXITS,
    }),
  )
    .option('--run <id>', 'this run only')
    .option('--all', 'finished runs too')
    .option(...JSON_OPTION('{runs: [{run, scorecard}], isComplete}, or with --run {run, scorecard}'))
    .action((options: ServiceOptions & { run?: string; all?: true; json?: true }) =>
      perform(async (t) => (await import('./status.ts')).status(options, t)),
    );

  overHttp(
    describe(program.command('halt'), {
      summary: 'the red button: stop one run, or all',
      details:
        'Latched: it ends only by a proposal that the governance groups sign. Needs a token of any governance group, or a printed code in its place. Where the service does not answer, the red button is asked, and where that does not either, the halts are sent from here. Ordered is not stopped: `interlock status` shows when it is. Pressing twice does no harm.',
      example: 'interlock halt --run gpt-next-7 --reason "unexpected replication in the sandbox"',
      exits:
        '0 every halt is ordered; 1 some are not, or the service refused; 2 usage, or no answer: press again',
    }),
  )
    .option('--run <id>', 'this run')
    .option('--all', 'every run that is not finished')
    .requiredOption('--reason <text>', 'why; stands in the ledger and in every page')
    .option('--quarantine', 'also isolate the weights')
    .option('--group <group>', 'for which of your groups (default: the first)')
    .option(
      '--button <url>',
      "the red button's own address (default: INTERLOCK_BUTTON_URL, then the configuration)",
    )
    .option('--local', "on the service's host: press without asking anybody, and send the halts from here")
    .option(...JSON_OPTION('{halts: [{haltId, runId, deliveries, ...}], failed: [{runId, reason}]}'))
    .action((options: import('./halt.ts').HaltOptions) =>
      perform(async (t) => (await import('./halt.ts')).halt(options, t)),
    );

  overHttp(
    describe(program.command('drill'), {
      summary: 'rehearse a halt of a run, or hold one for real on a shadow target',
      details:
        'With --run every step of every target goes as far as its system lets it without being taken; nothing is halted. With --target a job that nothing depends on is halted for real, by its whole ladder, and timed: submit one that only sleeps, as the account that trains. Either answer stands in the ledger.',
      example: `interlock drill --target '{"kind": "slurm", "cluster": "train", "jobId": 4711}'`,
      exits:
        '0 no step failed, or the shadow stopped; 1 one did, it did not, or the service refused; 2 usage, or no answer',
    }),
  )
    .option('--run <id>', 'the run whose halt is rehearsed')
    .option('--target <json>', 'a shadow target that is halted, as the API takes it; repeatable', collect)
    .option('--policy <name>', 'with --target: whose ladders and deadlines (default: the configured default)')
    .option('--reason <text>', 'for those who read the ledger')
    .option(...JSON_OPTION('{drillId, passed, results: [{targetId, kind, step, outcome, detail, tookMs}]}'))
    .action((options: import('./drill.ts').DrillOptions & { target?: string[]; policy?: string }) =>
      perform(async (t) => {
        const { run, target = [], ...rest } = options;
        if (target.length > 0 && run === undefined) {
          return (await import('./drill-shadow.ts')).drillShadow({ ...rest, target }, t);
        }
        return (await import('./drill.ts')).drill(options, t);
      }),
    );

  overHttp(
    describe(program.command('propose'), {
      summary: 'propose terms under which a halted or held run may go on',
      details:
        'A waiver, not a reset: what is left out of the terms is filled in from the evidence, and anything beyond them trips again. --kind scoped-resume lets evaluation and alignment work alone go on; --kind release takes a run out of quarantine, before which nothing resumes it. Changes nothing until the groups of the policy have signed.',
      example:
        'interlock propose --run gpt-next-7 --level cybersecurity=3.4 --expires 14d --rationale "weights moved to the hardened cluster"',
      exits: EXITS,
    }),
  )
    .requiredOption('--run <id>', 'the run')
    .addOption(
      new Option('--kind <kind>', 'what is proposed')
        .choices(['resume', 'scoped-resume', 'release'])
        .default('resume'),
    )
    .option('--halt <id>', 'the halt it is about (default: the open one, or the holds)')
    .option('--ceiling <flop>', 'effective compute up to which it holds, such as 3e22')
    .option('--level <category=level>', 'highest level waived, 1 to 5; repeatable', collect)
    .option('--forecast <category=p>', 'highest forecast probability waived, 0 to 1; repeatable', collect)
    .option('--expires <when>', 'a span (48h, 14d) or an instant (2030-01-31T12:00:00Z)')
    .requiredOption('--rationale <text>', 'why this is safe enough')
    .option(...JSON_OPTION('{proposalId, digest, terms, approvalsNeeded, ...}'))
    .action((options: import('./propose.ts').ProposeOptions) =>
      perform(async (t) => (await import('./propose.ts')).propose(options, t)),
    );

  overHttp(
    describe(program.command('isolated'), {
      summary: 'say that a call-out of a quarantine is done',
      details: 'For what was done by hand, or by a system that cannot answer. Recorded as your word.',
      example:
        'interlock isolated --halt halt_x --step lock-weights --detail "bucket policy set to deny all"',
      exits: EXITS,
    }),
  )
    .requiredOption('--halt <id>', 'the halt')
    .requiredOption('--step <name>', 'the call-out, as the policy names it')
    .requiredOption('--detail <text>', 'what was done')
    .option(...JSON_OPTION("the service's document of the halt"))
    .action((options: import('./isolated.ts').IsolatedOptions) =>
      perform(async (t) => (await import('./isolated.ts')).isolated(options, t)),
    );

  overHttp(
    describe(program.command('sign-off'), {
      summary: "record a governance group's decision on a proposal",
      details:
        'Binds to the digest of what was read. Without --digest the proposal is shown, and signed only with --yes. The approval that completes the set carries the proposal out; a veto blocks, and afterwards undoes it.',
      example:
        'interlock sign-off --run gpt-next-7 --proposal prop_x --decision approve --group leadership --justification "terms are tight"',
      exits: `${EXITS}, or nothing was signed`,
    }),
  )
    .requiredOption('--run <id>', 'the run')
    .requiredOption('--proposal <id>', 'the proposal')
    .option('--digest <hex>', 'the digest of the proposal that was read')
    .option('--yes', 'sign what is shown now')
    .addOption(
      new Option('--decision <decision>', 'what the group says')
        .choices(['approve', 'veto', 'dissent'])
        .makeOptionMandatory(),
    )
    .requiredOption('--group <group>', 'the group that is signed for; you must belong to it')
    .requiredOption('--justification <text>', 'why')
    .option(...JSON_OPTION('{proposal}'))
    .action((options: import('./sign-off.ts').SignOffOptions) =>
      perform(async (t) => (await import('./sign-off.ts')).signOff(options, t)),
    );

  overHttp(
    describe(program.command('retry'), {
      summary: 'run one evaluation again, alone',
      details:
        'Earlier conclusive results go on counting: the worst stands. `interlock status` names the ids.',
      example: 'interlock retry ev_x',
      exits: EXITS,
    }),
  )
    .argument('<evaluation>', 'the id of the evaluation, ev_...')
    .option(...JSON_OPTION("the service's answer"))
    .action((evaluation: string, options: ServiceOptions & { json?: true }) =>
      perform(async (t) => (await import('./retry.ts')).retry(evaluation, options, t)),
    );

  const run = program.command('run').description('register, list and show training runs');

  overHttp(
    describe(run.command('register'), {
      summary: 'register a run, with the targets that stop it',
      details:
        'The same registration again changes nothing; another one under the same id is refused. A halt is posted, signed, to every webhook target and signalled to every process target.',
      example:
        'interlock run register --run gpt-next-7 --target-webhook https://trainer.example/halt --label class=frontier',
      exits: EXITS,
    }),
  )
    .requiredOption('--run <id>', 'letters, digits, dots, dashes, underscores; at most 128')
    .option('--target-webhook <url>', 'halts are posted here; repeatable', collect)
    .option('--target-pid <n>', 'local process that is signalled; repeatable', collect)
    .option('--target <json>', 'a target of any kind, as the API takes it; repeatable', collect)
    .option(
      '--policy <name>',
      'policy to pin, operators only (default: by label, else the configured default)',
    )
    .option('--initial-compute <flop>', 'effective compute already in the weights it starts from')
    .option(
      '--parent <weights>',
      'whose weights it starts from: a run, run/checkpoint, or a digest sha256:... that a checkpoint reported; repeatable',
      collect,
    )
    .option(
      '--vouch <reason>',
      'operators: why weights whose origin is not known here may be used; recorded, and told to people',
    )
    .option('--accelerator <id>', 'which accelerator of the policy it trains on (default: the fastest)')
    .option('--label <name=value>', 'for people and for policies.byLabel; repeatable', collect)
    .option('--title <text>', 'for people, at most 200 characters')
    .option(...JSON_OPTION('{run, permit, warnings}'))
    .action((options: import('./run-register.ts').RunRegisterOptions) =>
      perform(async (t) => (await import('./run-register.ts')).runRegister(options, t)),
    );

  overHttp(
    describe(run.command('list'), {
      summary: 'list runs, the newest first',
      details: 'One page; the last line names the cursor of the next.',
      example: 'interlock run list --limit 20',
      exits: EXITS,
    }),
  )
    .option('--limit <n>', 'runs per page, 1 to 200 (default: 50)', pageSize)
    .option('--cursor <cursor>', 'nextCursor of the page before')
    .option(...JSON_OPTION('{items, nextCursor}'))
    .action((options: ServiceOptions & { limit?: string; cursor?: string; json?: true }) =>
      perform(async (t) => (await import('./run-list.ts')).runList(options, t)),
    );

  overHttp(
    describe(run.command('show'), {
      summary: 'show one run in full',
      details: 'What it may do, what it measured, what stands against it.',
      example: 'interlock run show gpt-next-7',
      exits: EXITS,
    }),
  )
    .argument('<run>', 'the id of the run')
    .option(...JSON_OPTION("the service's document of the run"))
    .action((runId: string, options: ServiceOptions & { json?: true }) =>
      perform(async (t) => (await import('./run-show.ts')).runShow(runId, options, t)),
    );

  overHttp(
    describe(run.command('arm'), {
      summary: "end a run's shadow now: what stands against it acts at once",
      details:
        'Operators. Halts are ordered and holds placed in the same decision, so read `interlock run show` first. A run that is armed already is left as it is; there is no way back into shadow.',
      example: 'interlock run arm gpt-next-7',
      exits: EXITS,
    }),
  )
    .argument('<run>', 'the id of the run')
    .option(...JSON_OPTION("the service's document of the run"))
    .action((runId: string, options: ServiceOptions & { json?: true }) =>
      perform(async (t) => (await import('./run-arm.ts')).runArm(runId, options, t)),
    );
}

function pageSize(text: string): string {
  const value = /^\d{1,3}$/.test(text) ? Number(text) : 0;
  if (value < 1 || value > 200) throw new InvalidArgumentError('A page has 1 to 200 runs.');
  return text;
}
