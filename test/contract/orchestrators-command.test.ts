import { spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { CommandConfigSchema, type SiteCommand } from '../../src/config/orchestrators-command.ts';
import { createCommandOrchestrator, describeCommandRun } from '../../src/orchestrators/command.ts';
import { openProc } from '../../src/orchestrators/proc.ts';
import type { CommandTarget } from '../../src/orchestrators/targets.ts';
import { describeOrchestrator, does, haltMessage, live } from './describe-orchestrator.ts';

const TOKEN = 'SITETOKENSITETOKEN';
const target: CommandTarget = { kind: 'command', command: 'lab', run: 'gpt-next/7' };

/**
 * A site in a directory: `stop`, `kill` and `status` are programs beside the files that say how they behave (`mode`),
 * what the run does (`run`), what status says in its place (`answer`) and which token counts (`token`). Messages that
 * are no drills are kept in `in.*`.
 */
const STEP = `#!/bin/sh
d=$(dirname "$0")
cat > "$d/reading.$$"
case $(cat "$d/reading.$$") in
  *'"drill":true'*) mv "$d/reading.$$" "$d/drill.$$" ;;
  *) mv "$d/reading.$$" "$d/in.$$" ;;
esac
[ "$SITE_TOKEN" = "$(cat "$d/token")" ] || { echo "bad token $SITE_TOKEN" >&2; exit 77; }
case $(cat "$d/mode") in
  refuse) echo "<script>$SITE_TOKEN" >&2; exit 77 ;;
  forget) exit 67 ;;
  hang) sleep 300 ;;
  crash) kill -9 $$ ;;
  flood) yes "$SITE_TOKEN" ;;
  lie) exit 0 ;;
esac
[ -e "$d/drill.$$" ] && exit 0
case $(basename "$0") in
  stop) if [ "$(cat "$d/mode")" = part ]; then echo one of two > "$d/stopped"; else echo stopped > "$d/run"; fi ;;
  kill) echo stopped > "$d/run" ;;
esac
exit 0
`;
const STATUS = `#!/bin/sh
d=$(dirname "$0")
cat > "$d/asked"
[ "$SITE_TOKEN" = "$(cat "$d/token")" ] || { echo '{"state":"stopped"}'; exit 77; }
[ "$(cat "$d/mode")" = hang ] && sleep 300
if [ -e "$d/answer" ]; then . "$d/answer"; exit; fi
echo "{\\"state\\":\\"$(cat "$d/run")\\",\\"detail\\":\\"2 nodes\\"}"
`;

interface Site {
  directory: string;
  program(name: string): string;
  write(file: 'mode' | 'run' | 'answer' | 'token' | string, text: string): void;
  /** Messages in no order. */
  messages(): unknown[];
  command(more?: object): SiteCommand;
  remove(): void;
}

function openSite(): Site {
  const directory = mkdtempSync(join(tmpdir(), 'interlock-site-'));
  const program = (name: string): string => join(directory, name);
  const write: Site['write'] = (file, text) => writeFileSync(join(directory, file), text);
  for (const [name, text] of [
    ['stop', STEP],
    ['kill', STEP],
    ['status', STATUS],
  ] as const) {
    writeFileSync(program(name), text, { mode: 0o755 });
  }
  write('mode', 'obey');
  write('run', 'running');
  write('token', TOKEN);
  return {
    directory,
    program,
    write,
    messages: () =>
      readdirSync(directory)
        .filter((name) => name.startsWith('in.'))
        .map((name) => JSON.parse(readFileSync(join(directory, name), 'utf8'))),
    command: (more = {}) => commandOf({ ...programs(program), ...more }),
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}

const programs = (program: (name: string) => string) => ({
  stop: [program('stop')],
  kill: [program('kill')],
  status: [program('status')],
  environment: ['SITE_TOKEN'],
});

function commandOf(stated: object): SiteCommand {
  const { lab } = CommandConfigSchema.parse({ commands: { lab: stated } }).commands;
  if (lab === undefined) throw new Error('no command');
  return lab;
}

const variables: Record<string, string> = {
  'env:PATH': process.env['PATH'] ?? '/usr/bin:/bin',
  'env:SITE_TOKEN': TOKEN,
  'env:LANG': 'C.UTF-8',
};
const variable = (reference: string): string | undefined => variables[reference];

describeOrchestrator('the command orchestrator', async () => {
  const [site, closed] = [openSite(), openSite()];
  closed.write('mode', 'refuse');
  let token = TOKEN;
  const make = (one: Site) =>
    createCommandOrchestrator(target, {
      commands: { lab: one.command({ drill: true }) },
      variable: (reference) => (reference === 'env:SITE_TOKEN' ? token : variable(reference)),
    });
  const says = (answer: string, mode = 'refuse') =>
    does(() => {
      site.write('mode', mode);
      site.write('answer', answer);
    });
  return {
    orchestrator: make(site),
    refused: make(closed),
    secrets: [TOKEN, 'NEWSITETOKENNEWSITETOKEN', 'script'],
    reached: (n) => vi.waitUntil(() => site.messages().length >= n).then(() => undefined),
    count: () => site.messages().length,
    close: async () => {
      site.remove();
      closed.remove();
    },
    side: {
      end: does(() => site.write('run', 'stopped')),
      forget: does(() => {
        site.write('run', 'unknown');
        site.write('mode', 'forget');
      }),
      refuse: does(() => site.write('mode', 'refuse')),
      hang: does(() => site.write('mode', 'hang')),
      lie: does(() => site.write('mode', 'lie')),
      comeBack: does(() => site.write('run', 'running')),
      keepOne: does(() => site.write('mode', 'part')),
      othersGone: () => vi.waitUntil(() => existsSync(join(site.directory, 'stopped'))),
      expire: does(() => site.write('token', 'NEWSITETOKENNEWSITETOKEN')),
      renew: does(() => {
        token = 'NEWSITETOKENNEWSITETOKEN';
      }),
      answers: {
        nothing: says(''),
        'a word': says('echo stopped'),
        'two lines': says(`printf '{"state":"running"}\\n{"state":"stopped"}\\n'`),
        'chatter before it': says(`printf 'looking\\n{"state":"stopped"}\\n'`),
        'another state': says(`echo '{"state":"STOPPED"}'`),
        'a list': says(`echo '[{"state":"stopped"}]'`),
        'states in a list': says(`echo '{"state":["stopped"]}'`),
        'more than was agreed': says(`echo '{"state":"stopped","of":"another run"}'`),
        'a detail that is no text': says(`echo '{"state":"stopped","detail":{}}'`),
        'half of it': says(`printf '{"state":"stopped"'`),
        'a page': says(`echo "<html><script>$SITE_TOKEN</script></html>"`),
        'bytes that are no text': says(`printf '{"state":"stopped","detail":"\\377"}\\n'`),
        'deep JSON': says(`yes '[' | head -c 9000 | tr -d '\\n'`),
        'a stop, and failure': says(`echo '{"state":"stopped"}'; exit 3`),
        'a stop, and death': says(`echo '{"state":"stopped"}'; kill -9 $$`, 'crash'),
        'a stop behind a lot of blanks': says(`yes '' | head -c 200000; echo '{"state":"stopped"}'`),
        'a flood': says('yes "$SITE_TOKEN"', 'flood'),
      },
    },
  };
});

describe('a halt by a command of the site', () => {
  let site: Site;
  beforeEach(() => {
    site = openSite();
  });
  afterEach(() => site.remove());

  const make = (command = site.command(), more: Partial<CommandTarget> = {}, own = variable) =>
    createCommandOrchestrator({ ...target, ...more }, { commands: { lab: command }, variable: own });
  const take = (command?: SiteCommand, step = 'stop') => make(command).take(step, haltMessage(), live());
  const script = (name: string, text: string): string => {
    const file = site.program(name);
    writeFileSync(file, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    return file;
  };

  test('the message comes as one JSON on standard input, whatever the trainer stated, and never as an argument', async () => {
    const parameters = { partition: '$(touch /tmp/never); `id` "\' --force', empty: '' };
    const step = script(
      'spy',
      `cat > "${site.directory}/seen"; printf '%s\\n' "$0" "$@" > "${site.directory}/argv"`,
    );
    const command = site.command({ stop: [step, '--quietly', 'now'] });
    const outcome = await make(command, { parameters }).take(
      'stop',
      haltMessage({ reason: 'a "reason"\nof \ud800 two lines' }),
      live(),
    );
    expect(outcome).toEqual({ kind: 'accepted', detail: 'stop of lab: exit code 0' });
    const { runId, haltId, action, epoch, order } = haltMessage();
    const seen = readFileSync(join(site.directory, 'seen'), 'utf8');
    expect(seen.trim().split('\n')).toHaveLength(1);
    expect(JSON.parse(seen)).toEqual({
      step: 'stop',
      runId,
      haltId,
      action,
      reason: 'a "reason"\nof \ud800 two lines',
      epoch,
      order,
      run: 'gpt-next/7',
      parameters,
    });
    expect(readFileSync(join(site.directory, 'argv'), 'utf8')).toBe(`${step}\n--quietly\nnow\n`);
  });

  test('status is told the run and its parameters, and its detail is shown', async () => {
    const parameters = { region: 'north' };
    expect(await make(site.command(), { parameters }).observe(live())).toEqual({
      state: 'running',
      detail: 'status of lab: 2 nodes',
    });
    expect(JSON.parse(readFileSync(join(site.directory, 'asked'), 'utf8'))).toEqual({
      step: 'status',
      run: 'gpt-next/7',
      parameters,
    });
  });

  test.each([
    ['too long', 'x'.repeat(161)],
    ['not printable', 'a\\u0007b'],
    ['what it was trusted with', `curl -H ${TOKEN} failed`],
  ])('a detail that is %s is left out, and the state counts', async (_name, detail) => {
    site.write('answer', `cat <<'END'\n{"state":"running","detail":"${detail}"}\nEND`);
    expect(await make().observe(live())).toEqual({ state: 'running', detail: 'status of lab: running' });
  });

  test('a program gets PATH, LANG and what is named, and nothing else of Interlock', async () => {
    const step = script('spy', `tr '\\0' '\\n' < /proc/self/environ > "${site.directory}/env"`);
    vi.stubEnv('NOBODY_NAMED_THIS', 'x');
    await take(site.command({ stop: [step] }));
    vi.unstubAllEnvs();
    const names = readFileSync(join(site.directory, 'env'), 'utf8')
      .split('\n')
      .map((line) => line.split('=')[0])
      .filter((name) => name !== '' && name !== 'PWD' && name !== '_');
    expect(names.sort()).toEqual(['INTERLOCK_JOB', 'LANG', 'PATH', 'SITE_TOKEN']);
  });

  test('a variable that nobody set holds no halt up, and is told', async () => {
    const step = script('spy', 'exit 0');
    const command = site.command({ stop: [step], environment: ['SITE_TOKEN', 'UNSET_ONE'] });
    expect(await take(command)).toEqual({
      kind: 'accepted',
      detail: 'stop of lab: exit code 0; run without UNSET_ONE',
    });
  });

  test.each([
    ['exit 0', 'accepted', 'exit code 0'],
    ['exit 1', 'retry', 'exit code 1'],
    ['exit 64', 'rejected', 'does not know how'],
    ['exit 65', 'rejected', 'does not understand'],
    ['exit 67', 'retry', 'exit code 67'],
    ['exit 69', 'retry', 'not available'],
    ['exit 75', 'retry', 'not now'],
    ['exit 77', 'retry', 'no right'],
    ['exit 78', 'retry', 'not configured'],
    ['exit 255', 'retry', 'exit code 255'],
    ['kill -TERM $$', 'retry', 'ended by SIGTERM'],
    ['kill -KILL $$', 'retry', 'ended by SIGKILL'],
    ['exec 0<&-; exit 0', 'accepted', 'exit code 0'],
  ])('%s is %s', async (text, kind, detail) => {
    const command = site.command({ stop: [script('step', text)] });
    // More than a pipe holds, so that whoever does not read it leaves it standing.
    const message = haltMessage({ reason: 'x'.repeat(200_000) });
    expect(await make(command).take('stop', message, live())).toEqual({
      kind,
      detail: expect.stringContaining(detail),
    });
  });

  test.each([
    ['is not there', (file: string) => rmSync(file), 'ENOENT'],
    ['may not be run', (file: string) => chmodSync(file, 0o644), 'EACCES'],
  ])('a program that %s is tried again, and a rehearsal finds it', async (_name, spoil, code) => {
    expect(await make().rehearse?.('stop', haltMessage(), live())).toEqual({
      kind: 'accepted',
      detail: 'the program for stop of lab is there and may be run; it was not',
    });
    expect(site.messages()).toEqual([]);
    spoil(site.program('stop'));
    expect(await make().rehearse?.('stop', haltMessage(), live())).toMatchObject({ kind: 'retry' });
    expect(await take()).toEqual({ kind: 'retry', detail: `stop of lab: could not be started (${code})` });
  });

  test.each<[string, string]>([
    ['stays', 'sleep 300 & echo $! > "$d/child"; wait'],
    ['left its session', 'setsid sleep 300 & echo $! > "$d/child"; wait'],
    [
      'ignores SIGTERM',
      'trap "" TERM; sh -c \'trap "" TERM; while :; do sleep 1; done\' & echo $! > "$d/child"; wait',
    ],
  ])('at its timeout everything it started is ended, also what %s', async (_name, text) => {
    const step = script('slow', `d="${site.directory}"; ${text}`);
    const outcome = await take(site.command({ stop: [step], timeout: '400ms' }));
    expect(outcome).toEqual({ kind: 'retry', detail: 'stop of lab: ended by Interlock, timed-out' });
    const pid = Number(readFileSync(join(site.directory, 'child'), 'utf8'));
    const left = openProc().read(pid);
    expect(left === null || left.zombie).toBe(true);
  });

  test('what it leaves behind when it ends by itself is ended too', async () => {
    const step = script('leaver', `setsid sleep 300 & echo $! > "${site.directory}/child"`);
    expect(await take(site.command({ stop: [step] }))).toMatchObject({ kind: 'accepted' });
    const left = openProc().read(Number(readFileSync(join(site.directory, 'child'), 'utf8')));
    expect(left === null || left.zombie).toBe(true);
  });

  test('a real process is stopped by a real script', async () => {
    const child = spawn('sleep', ['300'], { stdio: 'ignore' });
    const pidOf = `sed -n 's/.*"pid":"\\([0-9]*\\)".*/\\1/p'`;
    const stop = script('end', `kill -TERM "$(${pidOf})"`);
    const status = script(
      'look',
      `if kill -0 "$(${pidOf})" 2>/dev/null; then echo '{"state":"running"}'; else echo '{"state":"stopped"}'; fi`,
    );
    const command = site.command({ stop: [stop], status: [status] });
    const orchestrator = make(command, { parameters: { pid: String(child.pid) } });
    expect((await orchestrator.observe(live())).state).toBe('running');
    expect(await orchestrator.take('stop', haltMessage(), live())).toMatchObject({ kind: 'accepted' });
    await vi.waitFor(async () => expect((await orchestrator.observe(live())).state).toBe('stopped'));
    expect(child.signalCode).toBe('SIGTERM');
  });

  test('a command without kill is asked to stop again, and told that it is the harder step', async () => {
    const { kill: _none, ...rest } = programs(site.program);
    const orchestrator = make(commandOf(rest));
    expect(orchestrator.steps).toEqual(['stop', 'kill']);
    expect(await orchestrator.take('kill', haltMessage(), live())).toMatchObject({ kind: 'accepted' });
    expect(site.messages()).toEqual([expect.objectContaining({ step: 'kill' })]);
  });

  test('how often status bears to be called is for its site to say', () => {
    expect(make(site.command({ pollEvery: '5s' })).pollMs).toBe(5_000);
  });

  test('further steps are steps, for a ladder that names them', async () => {
    const isolate = script('isolate', `cat > "${site.directory}/isolated"`);
    const command = site.command({ steps: { 'cut-network': [isolate] } });
    expect(make(command).steps).toEqual(['stop', 'kill', 'cut-network']);
    expect(await make(command).take('cut-network', haltMessage({ action: 'quarantine' }), live())).toEqual({
      kind: 'accepted',
      detail: 'cut-network of lab: exit code 0',
    });
    expect(JSON.parse(readFileSync(join(site.directory, 'isolated'), 'utf8'))).toMatchObject({
      step: 'cut-network',
      action: 'quarantine',
    });
  });

  test('a rehearsal runs the step only where the command says that it knows drills, and tells it', async () => {
    await make(site.command({ drill: true })).rehearse?.('kill', haltMessage(), live());
    const drills = readdirSync(site.directory).filter((name) => name.startsWith('drill.'));
    expect(drills).toHaveLength(1);
    expect(JSON.parse(readFileSync(join(site.directory, drills[0] ?? ''), 'utf8'))).toMatchObject({
      step: 'kill',
      drill: true,
    });
    expect(readFileSync(join(site.directory, 'run'), 'utf8').trim()).toBe('running');
  });

  test('a command that is gone from the configuration takes nothing and sees nothing', async () => {
    for (const command of ['other', 'constructor', '__proto__']) {
      const orchestrator = createCommandOrchestrator(
        { ...target, command },
        { commands: { lab: site.command() }, variable },
      );
      expect(await orchestrator.take('stop', haltMessage(), live())).toMatchObject({ kind: 'rejected' });
      expect(await orchestrator.observe(live())).toMatchObject({ state: 'unknown' });
    }
  });

  describe('at registration', () => {
    const admit = (more: Partial<CommandTarget> = {}) =>
      describeCommandRun({ ...target, ...more }, { commands: { lab: site.command() }, variable });

    test('a run that its status sees running is taken', async () => {
      expect(await admit()).toEqual({ ok: true, target });
    });

    test.each<[string, Partial<CommandTarget>, () => void, string, RegExp]>([
      ['a command that is not there', { command: 'yard' }, () => undefined, 'command', /there is lab$/],
      ['a run that is not known', {}, () => site.write('run', 'unknown'), 'run', /its state is unknown/],
      ['a run that has stopped', {}, () => site.write('run', 'stopped'), 'run', /its state is stopped/],
      ['a status that fails', {}, () => site.write('answer', 'exit 1'), 'run', /exit code 1/],
      ['a stop that is not there', {}, () => rmSync(site.program('stop')), 'command', /stop of lab.*ENOENT/],
      [
        'a kill that may not be run',
        {},
        () => chmodSync(site.program('kill'), 0o600),
        'command',
        /kill.*EACCES/,
      ],
    ])('%s is refused', async (_name, more, arrange, field, reason) => {
      arrange();
      expect(await admit(more)).toEqual({ ok: false, field, reason: expect.stringMatching(reason) });
    });
  });
});

describe('a command in interlock.yaml', () => {
  const lab = { stop: ['/opt/stop'], status: ['/opt/status'] };
  const problems = (more: object): string[] => {
    const parsed = CommandConfigSchema.safeParse({ commands: { lab: { ...lab, ...more } } });
    return parsed.success ? [] : (z.flattenError(parsed.error).fieldErrors.commands ?? []);
  };

  test('has defaults that run nothing that it does not name', () => {
    expect(CommandConfigSchema.parse({ commands: { lab } })).toEqual({
      enabled: false,
      commands: {
        lab: { ...lab, steps: {}, timeout: '8s', pollEvery: '1s', environment: [], drill: false },
      },
    });
  });

  test.each<[string, object, RegExp]>([
    ['a relative program', { stop: ['stop.sh'] }, /absolute path/],
    ['no program', { stop: [] }, />=1|at least/],
    ['a line for a shell', { stop: '/opt/stop --now' }, /array/],
    ['NUL in an argument', { kill: ['/opt/kill', 'a\0b'] }, /NUL/],
    ['a timeout that a step does not have', { timeout: '1m' }, /at most 8s/],
    ['a timeout that is none', { timeout: 'soon' }, /duration/],
    ['looks without a pause', { pollEvery: '1ms' }, /from 50ms to 10s/],
    ['looks that come too seldom', { pollEvery: '1m' }, /from 50ms to 10s/],
    ["Interlock's own secrets", { environment: ['DATABASE_URL'] }, /Interlock's own/],
    ['what changes how programs are loaded', { environment: ['LD_PRELOAD'] }, /Interlock's own/],
    ['a value in place of a name', { environment: ['TOKEN=x'] }, /name of an environment variable/],
    ['a step with a name that is taken', { steps: { stop: ['/opt/x'] } }, /stands beside|Invalid key/],
    ['an unknown key', { shell: true }, /nrecognized/],
  ])('%s is refused', (_name, more, message) => {
    expect(problems(more).join('; ')).toMatch(message);
  });
});
