/** Parsing, help and exit codes: what a command line does before it touches anything. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { PLAIN } from '../../src/cli/output.ts';
import { createProgram } from '../../src/cli/program.ts';
import { TripCharacteristicsSchema } from '../../src/domain/policy/trips.ts';
import { FORMATS } from '../../src/evaluators/formats/registry.ts';
import { say } from './cli-terminal.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'interlock-cli-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

async function file(name: string, text: string): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, text);
  return path;
}

function leaves(command: Command, path: readonly string[] = []): string[][] {
  return command.commands.flatMap((child) => {
    const at = [...path, child.name()];
    return child.commands.length === 0 ? [at] : leaves(child, at);
  });
}

const nothing = { env: {}, style: PLAIN, width: 100, print() {}, complain() {}, write: async () => {} };
const commands = leaves(createProgram(nothing, async () => {})).map((path) => path.join(' '));

describe('help', () => {
  test('covers the whole contract', () => {
    expect([...commands].sort()).toEqual([
      'backtest',
      'break-glass create',
      'break-glass list',
      'break-glass revoke',
      'checkpoint digest',
      'demo',
      'drill',
      'estimate close',
      'estimate give',
      'estimate open',
      'estimate show',
      'eval run',
      'evidence keygen',
      'evidence open',
      'forecast record',
      'halt',
      'init',
      'isolated',
      'keys list',
      'keys party',
      'keys revoke',
      'keys rotate',
      'keys secrets',
      'ledger accept-restore',
      'ledger export',
      'ledger keys',
      'ledger rebuild-views',
      'ledger verify',
      'policy check',
      'propose',
      'replay',
      'results parse',
      'retry',
      'run arm',
      'run list',
      'run register',
      'run show',
      'serve',
      'sign-off',
      'status',
      'token create',
      'token list',
      'token revoke',
      'what-if',
    ]);
  });

  test.each(commands)('%s explains itself: an example, the exit codes, and each option', async (command) => {
    const { code, out, err } = await say([...command.split(' '), '--help']);
    expect(code).toBe(0);
    expect(err).toBe('');
    expect(out).toContain(`Usage: interlock ${command}`);
    expect(out).toContain(`Example:\n  interlock ${command}`);
    expect(out).toContain('Exit codes: 0');
    expect(out).not.toContain('default: []');
  });

  test('no command takes a token as an argument', async () => {
    for (const command of commands) {
      const { out } = await say([...command.split(' '), '--help']);
      expect(out).not.toMatch(/--token[ =]</);
    }
  });

  test('without a command, help goes to standard error and the exit is 2', async () => {
    const { code, out, err } = await say([]);
    expect([code, out]).toEqual([2, '']);
    expect(err).toContain('interlock init --dir');
  });

  test('the version', async () => {
    expect(await say(['--version'])).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^\d+\.\d+\.\d+$/),
    });
  });
});

describe('usage errors exit 2 and say what is wrong', () => {
  test.each([
    ['an unknown command', 'serv', "unknown command 'serv'"],
    ['an unknown option', 'serve --prot 1', "unknown option '--prot'"],
    ['a port that is none', 'serve --port 99999', 'A port is a whole number'],
    ['a negative port', 'serve --port -1', 'A port is a whole number'],
    ['no series', 'backtest', '--series'],
    ['a horizon of none', 'backtest --series x --horizon 0', 'A horizon is a whole number'],
    ['a grouping that is none', 'backtest --series x --by colour', 'Allowed choices are source'],
    ['a missing directory', 'init', '--dir'],
    ['a missing reason', 'halt --all', '--reason'],
    ['an estimate without its why', 'estimate give --run a --round b --probability 0.1', '--rationale'],
    [
      'an estimate said twice',
      'estimate give --run a --round b --probability 0.1 --file x',
      'either --file or --probability',
    ],
    [
      'a probability in words',
      'estimate give --run a --round b --probability low --rationale r',
      '--probability',
    ],
    [
      'a quantile that is none',
      'estimate give --run a --round b --probability 0 --rationale r --quantile 3',
      'P=LEVEL',
    ],
    ['an end of no round', 'estimate close --run a --round b --closes 2h', 'add --second'],
    ['a time that is none', 'estimate open --run a --category b --level high --closes soon', '--closes'],
    ['neither a run nor all', 'halt --reason x', 'either --run ID or --all'],
    ['both a run and all', 'halt --reason x --run a --all', 'either --run ID or --all'],
    [
      'a decision that is none',
      'sign-off --run a --proposal p --decision maybe --group g --justification j',
      'approve',
    ],
    ['a page too large', 'run list --limit 201', '1 to 200'],
    ['no target', 'run register --run a', 'nothing can stop'],
    ['a pid that is none', 'run register --run a --target-pid self', '--target-pid'],
    ['a label without a value', 'run register --run a --target-pid 5 --label x', 'NAME=VALUE'],
    ['a level that is none', 'propose --run a --rationale r --level cyber', 'CATEGORY=NUMBER'],
    ['a time that is none', 'propose --run a --rationale r --expires tomorrow', '48h'],
    ['a surplus argument', 'status extra', 'too many arguments'],
    ['nobody asking', 'status --url http://127.0.0.1:9', 'INTERLOCK_TOKEN'],
    ['a URL with a password', 'status --url http://u:p@127.0.0.1:9', 'without credentials'],
    ['an export without keys', 'ledger verify --file x', '--key'],
    ['no other policy', 'what-if --run a', '--policy'],
    ['a group of commands alone', 'ledger', 'Usage: interlock ledger'],
  ])('%s', async (_what, line, complaint) => {
    const { code, out, err } = await say(line.split(' '));
    expect([code, out]).toEqual([2, '']);
    expect(err).toContain(complaint);
  });

  test('a configuration that is not there', async () => {
    for (const command of ['serve', 'replay', 'ledger export', 'ledger keys', 'ledger verify']) {
      const { code, err } = await say([...command.split(' '), '--config', join(directory, 'none.yaml')]);
      expect(code).toBe(2);
      expect(err).toContain('does not exist');
    }
  });

  test('every problem of a configuration at once', async () => {
    const config = await file(
      'bad.yaml',
      'issuer: "!"\nserver: { port: -1, hots: x }\npolicies: { default: p }\n',
    );
    const { code, err } = await say(['serve', '--config', config]);
    expect(code).toBe(2);
    for (const problem of ['issuer', 'server.port', 'hots', 'identities.yaml'])
      expect(err).toContain(problem);
  });

  test('INTERLOCK_CONFIG names the configuration where no option does', async () => {
    const { err } = await say(['ledger', 'keys'], { INTERLOCK_CONFIG: join(directory, 'named.yaml') });
    expect(err).toContain('named.yaml');
  });

  test('a configuration that has never been served from has no ledger, rather than an empty one', async () => {
    const dir = join(directory, 'unserved');
    expect((await say(['init', '--dir', dir])).code).toBe(0);
    const { code, err } = await say(['ledger', 'verify', '--config', join(dir, 'interlock.yaml')]);
    expect(code).toBe(2);
    expect(err).toContain('there is no ledger');
  });

  test('serving is refused with every problem of key and policies named', async () => {
    const dir = join(directory, 'damaged');
    await say(['init', '--dir', dir]);
    await rm(join(dir, 'signing-key.json'));
    await rm(join(dir, 'policies', 'preparedness-beta.yaml'));
    const { code, err } = await say(['serve', '--config', join(dir, 'interlock.yaml')]);
    expect(code).toBe(2);
    expect(err).toContain('signing-key.json');
    expect(err).toContain('policies.default names the policy preparedness-beta');
  });
});

describe('init', () => {
  test('with --json prints exactly file, tokens and webhook secrets', async () => {
    const dir = join(directory, 'fresh');
    const { code, out } = await say(['init', '--dir', dir, '--json']);
    expect(code).toBe(0);
    const written: unknown = JSON.parse(out);
    expect(written).toEqual({
      configFile: join(dir, 'interlock.yaml'),
      tokens: Object.fromEntries(
        [
          'trainer',
          'evaluator',
          'operator',
          'oncall',
          'auditor',
          'preparedness',
          'safety-advisory',
          'leadership',
          'board',
        ].map((id) => [id, expect.stringMatching(/^ilk_/)]),
      ),
      webhookSecrets: { trainer: expect.stringMatching(/^whsec_/) },
    });
  });

  test('says what comes next, and overwrites nothing', async () => {
    const dir = join(directory, 'twice');
    const { out } = await say(['init', '--dir', dir]);
    expect(out).toContain(`interlock serve --config ${join(dir, 'interlock.yaml')}`);
    const again = await say(['init', '--dir', dir]);
    expect(again).toMatchObject({ code: 2, out: '' });
    expect(again.err).toContain('overwrites nothing');
  });
});

describe('policy check', () => {
  test.each(['preparedness-beta', 'precautionary', 'four-fold'])(
    'the shipped policy %s is usable',
    async (name) => {
      const { code, out } = await say(['policy', 'check', `config/policies/${name}.yaml`, '--json']);
      expect(code).toBe(0);
      expect(JSON.parse(out)).toMatchObject({
        ok: true,
        policy: name,
        digest: expect.stringMatching(/^[0-9a-f]{64}$/),
      });
    },
  );

  test('names every problem, each with its path, and exits 1', async () => {
    const path = await file('policy.yaml', 'policy: Bad Name\ncadence: { ratio: 0.5 }\nsurprise: 1\n');
    const { code, out } = await say(['policy', 'check', path]);
    expect(code).toBe(1);
    for (const at of ['  policy:', '  cadence.ratio:', '  surprise:', '  rules:']) expect(out).toContain(at);
    const { code: same, out: text } = await say(['policy', 'check', path, '--json']);
    expect(same).toBe(1);
    expect(JSON.parse(text)).toMatchObject({ ok: false, digest: null });
  });

  test('prints the chance of false trips per true level', async () => {
    const { out } = await say(['policy', 'check', 'config/policies/preparedness-beta.yaml']);
    expect(out).toMatch(/hold@2\.0 +halt@2\.0 +hold@2\.3/);
    expect(out).toMatch(/ctf +pre +100 .*%/);
  });

  test('prints the steps that a limit of risk comes to, where the policy has one', async () => {
    const { code, out } = await say(['policy', 'check', 'examples/policies/short-steps.yaml']);
    expect(code).toBe(0);
    expect(out).toMatch(/^rising by 0\.3 levels per doubling +level +due at +permit to/m);
    expect(out).toMatch(/^1e22 +1\.30 +x1\.\d\d +x1\.\d\d +0\.\d\d% +\d\.\d\d% /m);
    const { out: other } = await say(['policy', 'check', 'config/policies/preparedness-beta.yaml', '--json']);
    expect(JSON.parse(other)).not.toHaveProperty('riskSteps');
  });

  describe('warns where nothing makes sure that a run can be stopped against its will', () => {
    const site = async (name: string, orchestrators: string): Promise<string> => {
      const { code } = await say(['init', '--dir', join(directory, name)]);
      expect(code).toBe(0);
      const config = join(directory, name, 'interlock.yaml');
      const text = await readFile(config, 'utf8');
      await writeFile(config, text.replace(/^orchestrators:$/m, `orchestrators:\n  ${orchestrators}`));
      return config;
    };
    const lab = 'command: { enabled: true, commands: { lab: { stop: [/bin/true], status: [/bin/true] } } }';

    test('in the policy, with what to set; the exit code says that it is usable', async () => {
      const { code, out } = await say(['policy', 'check', 'config/policies/preparedness-beta.yaml']);
      expect(code).toBe(0);
      expect(out).toMatch(/^ {2}halt\.independentTarget: is not require: .*set it to require$/m);
      const { out: strict } = await say(['policy', 'check', 'config/policies/precautionary.yaml']);
      expect(strict).not.toContain('halt.independentTarget');
    });

    test('in the configuration too, where one is given', async () => {
      const check = async (config: string, policy: string) => {
        const line = ['policy', 'check', `config/policies/${policy}.yaml`, '--config', config, '--json'];
        const { code, out } = await say(line);
        expect(code).toBe(0);
        const { warnings } = z
          .object({ warnings: z.array(z.object({ path: z.string(), message: z.string() })) })
          .parse(JSON.parse(out));
        return warnings.map(({ path, message }) => `${path} ${message}`);
      };
      const nothing = await site('bare', 'ray: { enabled: false }');
      expect(await check(nothing, 'precautionary')).toEqual([
        expect.stringMatching(
          /^halt\.independentTarget the configuration enables no target .* no run can be/,
        ),
      ]);
      expect(await check(nothing, 'preparedness-beta')).toHaveLength(2);
      expect(await check(await site('lab', lab), 'precautionary')).toEqual([]);
      // Enabled without a system that a target could name.
      expect(await check(await site('empty', 'ray: { enabled: true }'), 'precautionary')).toHaveLength(1);
    });

    test('a configuration that cannot be read is no answer', async () => {
      const line = ['policy', 'check', 'config/policies/precautionary.yaml', '--config'];
      expect((await say([...line, join(directory, 'none.yaml')])).code).toBe(2);
    });
  });

  describe('--characteristics', () => {
    const POLICY = 'config/policies/preparedness-beta.yaml';
    const characteristics = (...more: string[]) =>
      say(['policy', 'check', POLICY, '--characteristics', '--bags', '1', ...more]);

    test('prints false trips, crossings and every rule before mitigation', async () => {
      const { code, out } = await characteristics();
      expect(code).toBe(0);
      expect(out).toMatch(/^nothing is happening +bags +false holds +false halts$/m);
      expect(out).toMatch(/^gradual +1 +\d+\.\d {2}\[\d/m);
      expect(out).toMatch(/^missed: never halted +\d/m);
      for (const rule of ['pre-mitigation-high', 'high-not-ruled-out', 'forecast-critical']) {
        expect(out).toMatch(new RegExp(`^${rule} +`, 'm'));
      }
      expect(out).not.toMatch(/^deployment/m);
    });

    test('--json adds them to the document; one seed gives the same figures, another one others', async () => {
      const trips = async (seed: string) => {
        const { out } = await characteristics('--json', '--seed', seed);
        return z.object({ ok: z.literal(true), trips: TripCharacteristicsSchema }).parse(JSON.parse(out))
          .trips;
      };
      expect(await trips('7')).toEqual(await trips('7'));
      expect(await trips('7')).toMatchObject({ seed: 7, curves: 'generated', bags: 6, evaluationsPerBag: 8 });
      expect((await trips('8')).benign).not.toEqual((await trips('7')).benign);
    });

    test('--series asks the same of real curves, and names what they do not hold', async () => {
      const values = [0.05, 0.06, 0.05, 0.06, 0.05, 0.06];
      const series = values.map((_, k) => ({
        series_id: `s${k}`,
        points: values.map((value, i) => ({ flop: 1e20 * 2 ** i, value })),
      }));
      const path = await file('curves.json', JSON.stringify(series));
      const { code, out } = await characteristics('--series', path);
      expect(code).toBe(0);
      expect(out).toContain('on real curves');
      expect(out).toContain("could be drawn under this policy's levels: gradual, reversing, noisy");
      const refused = await characteristics('--series', await file('none.json', '{}'));
      expect(refused).toMatchObject({ code: 1, out: '' });
      expect(refused.err).toContain('is not a JSON list of series');
    });

    test.each([
      ['a seed alone', ['--seed', '1'], 'go with --characteristics'],
      ['series alone', ['--series', 'x'], 'go with --characteristics'],
      ['a seed that is none', ['--characteristics', '--seed', 'x'], 'A seed is a whole number'],
      ['no bags', ['--characteristics', '--bags', '0'], 'from 1 to 9999'],
      ['series that are not there', ['--characteristics', '--series', '/nowhere.json'], 'no such file'],
    ])('%s: exit 2', async (_what, more, complaint) => {
      const { code, out, err } = await say(['policy', 'check', POLICY, ...more]);
      expect([code, out]).toEqual([2, '']);
      expect(err).toContain(complaint);
    });
  });

  test('a file that is not there is no refused policy', async () => {
    expect((await say(['policy', 'check', join(directory, 'none.yaml')])).code).toBe(2);
  });
});

describe('results parse', () => {
  const parse = (path: string, ...more: string[]) =>
    say(['results', 'parse', '--format', 'native', path, ...more]);

  test('prints what is taken, and null where something is absent', async () => {
    const path = await file(
      'result.json',
      JSON.stringify({
        status: 'success',
        score: 0.5,
        n: 200,
        metrics: { 'pass@1': { value: 0.5, stderr: 0.03 } },
      }),
    );
    const { code, out } = await parse(path, '--json');
    expect(code).toBe(0);
    expect(JSON.parse(out)).toEqual({
      format: 'native',
      status: 'success',
      task: null,
      model: null,
      created: null,
      metrics: [
        { scorer: null, name: 'score', value: 0.5, stderr: null },
        { scorer: null, name: 'pass@1', value: 0.5, stderr: 0.03 },
      ],
      samples: { total: 200, completed: 200, scored: null, errored: null, refused: null, logged: null },
      error: null,
      harness: 'native',
      harnessVersion: null,
      taskVersion: null,
      revision: null,
      modelBaseUrl: null,
      dataset: null,
      startedAt: null,
      completedAt: null,
      epochs: null,
      limits: {},
      facts: {},
      protocol: {},
      fileDigest: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
  });

  test('never repeats text that a model may have written', async () => {
    const path = await file(
      'hazard.json',
      JSON.stringify({ status: 'error', error: 'mix A with B', model: 'I, the model: mix A; with B!' }),
    );
    for (const more of [[], ['--json']]) {
      const { out, err } = await parse(path, ...more);
      expect(out + err).not.toContain('mix A');
    }
  });

  test.each([
    ['a bare NaN', '{"status":"success","score":NaN}', 'not one JSON object'],
    ['a list', '[]', 'not one JSON object'],
    ['an unknown key', '{"status":"success","scor":1}', 'scor unknown key'],
    ['no status', '{"score":1}', 'status'],
  ])('%s is no native result: exit 1', async (_what, text, complaint) => {
    const { code, out, err } = await parse(await file('bad.json', text));
    expect([code, out]).toEqual([1, '']);
    expect(err).toContain(complaint);
  });

  test.each([
    ['csv', 'no format csv'],
    ['lm-eval-result', 'no format lm-eval-result'],
  ])('the format %s: exit 2, and the formats that there are', async (format, complaint) => {
    const { code, err } = await say(['results', 'parse', '--format', format, await file('any.json', '{}')]);
    expect(code).toBe(2);
    expect(err).toContain(complaint);
    for (const { name } of FORMATS) expect(err).toContain(name);
  });

  test('help names every format', async () => {
    const { out } = await say(['results', 'parse', '--help']);
    for (const { name } of FORMATS) expect(out.replaceAll(/\s+/g, ' ')).toContain(name);
  });
});
