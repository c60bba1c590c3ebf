/** Commands that speak to the service, against a server that says what a test wants and keeps what it was asked. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { PLAIN } from '../../src/cli/output.ts';
import { proposalBody } from '../../src/cli/propose.ts';
import { Run, Scorecard } from '../../src/cli/service-documents.ts';
import { showRun } from '../../src/cli/show-run.ts';
import { say } from './cli-terminal.ts';

interface Asked {
  method: string;
  path: string;
  authorization: string | undefined;
  body: unknown;
}
interface Reply {
  status: number;
  body: unknown;
  headers?: Record<string, string>;
}

let server: Server;
let url: string;
let directory: string;
let replies = new Map<string, Reply>();
let asked: Asked[] = [];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'interlock-cli-'));
  server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString('utf8');
    const { method = '', url: path = '' } = request;
    const body: unknown = text === '' ? null : JSON.parse(text);
    asked.push({ method, path, authorization: request.headers.authorization, body });
    const reply = replies.get(`${method} ${path}`) ?? { status: 404, body: problem('Not found', 404) };
    response.writeHead(reply.status, { 'content-type': 'application/json', ...reply.headers });
    response.end(typeof reply.body === 'string' ? reply.body : JSON.stringify(reply.body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`;
});
afterAll(async () => {
  await new Promise((resolve) => server.close(resolve));
  await rm(directory, { recursive: true, force: true });
});
afterEach(() => {
  replies = new Map();
  asked = [];
});

const TOKEN = 'ilk_test';
const as = (argv: readonly string[], env: Record<string, string> = {}) =>
  say([...argv, '--url', url], { INTERLOCK_TOKEN: TOKEN, ...env });

function problem(title: string, status: number, more: object = {}): object {
  return { type: 'urn:interlock:problem:x', title, status, instance: 'urn:interlock:request:r1', ...more };
}

const finding = {
  rule: 'pre-mitigation-high',
  category: 'cybersecurity',
  stage: 'pre-mitigation',
  then: ['halt'],
  explanation: 'cybersecurity pre-mitigation: estimate 3.21 >= 3',
  waived: false,
};
const halt = {
  haltId: 'halt_a',
  runId: 'demo',
  action: 'halt',
  orderedAt: '2030-01-01T00:00:00.000Z',
  causes: [{ kind: 'rule', checkpointId: 'c3', findings: [finding] }],
  state: 'open',
  acknowledged: { receivedAt: null, stoppedAt: null },
  confirmedAt: null,
  escalations: 1,
  deliveries: [
    {
      targetId: 't1',
      kind: 'webhook',
      stoppedAt: null,
      stopDetail: null,
      steps: [{ step: 'webhook', attempts: 3, acceptedAt: null, nextAt: null, detail: 'status 503' }],
    },
    {
      targetId: 't2',
      kind: 'process',
      stoppedAt: '2030-01-01T00:00:02.000Z',
      stopDetail: 'the process is gone',
      steps: [
        { step: 'sigterm', attempts: 1, acceptedAt: '2030-01-01T00:00:00.040Z', nextAt: null, detail: null },
        { step: 'sigkill', attempts: 0, acceptedAt: null, nextAt: null, detail: null },
      ],
    },
  ],
};
const terms = {
  ceiling: '3e22',
  levels: { cybersecurity: 3.4 },
  forecasts: {},
  waives: ['jump cybersecurity'],
  expires: '2030-02-01T00:00:00.000Z',
};
const digest = 'd'.repeat(64);
const proposal = {
  proposalId: 'prop_a',
  runId: 'demo',
  kind: 'resume',
  digest,
  status: 'open',
  haltId: 'halt_a',
  checkpointId: 'c3',
  scorecardDigest: 'e'.repeat(64),
  terms,
  approvalsNeeded: ['leadership'],
  signOffs: [{ decision: 'dissent', group: 'board', by: 'bo', justification: 'too early' }],
  rationale: 'hardened',
  by: 'operator',
};
const run = {
  runId: 'demo',
  title: 'A \u001b[2Jtitle',
  status: 'halted',
  policy: { name: 'preparedness-beta', digest },
  level: { estimate: 3.21, name: 'High' },
  effectiveCompute: '16400000000000000000000',
  ceiling: null,
  halt: { haltId: 'halt_a', action: 'halt', orderedAt: halt.orderedAt, stopped: false },
  holds: [],
  registeredAt: '2029-12-31T00:00:00.000Z',
  labels: { class: 'frontier' },
  permit: { granted: false, reason: 'halted' },
  nextCheckpointAt: '2e22',
  nextCheckpointBy: '2030-03-01T00:00:00.000Z',
  heartbeatAt: '2029-12-31T23:59:50.000Z',
  openHolds: [],
  openHalt: halt,
  proposals: [],
  waiver: null,
};
const scorecard = {
  checkpointId: 'c3',
  effectiveCompute: '1.6e22',
  state: 'closed',
  verdict: 'halt',
  findings: [finding, { ...finding, rule: 'old', waived: true }],
  categories: [
    {
      id: 'cybersecurity',
      title: 'Cybersecurity',
      stages: { 'pre-mitigation': { estimate: 3.21, upper: 3.6, name: 'High', evidence: [] } },
    },
    {
      id: 'cbrn',
      title: 'CBRN',
      stages: {
        'pre-mitigation': {
          estimate: null,
          upper: null,
          name: 'unscored',
          evidence: [
            {
              evaluationId: 'ev_b',
              evaluation: 'troubleshooting',
              variant: 'default',
              status: 'inconclusive',
              reasons: ['zero-samples'],
            },
          ],
        },
      },
    },
  ],
};
const RUN = 'GET /v1/runs/demo';
const ok = (body: unknown): Reply => ({ status: 200, body });

describe('who asks, and where', () => {
  test('the token comes from the environment or a file, and is sent as a bearer token', async () => {
    const file = join(directory, 'token');
    await writeFile(file, 'ilk_file\n');
    replies.set('GET /v1/runs?limit=50', ok({ items: [], nextCursor: null }));
    expect((await as(['run', 'list'])).code).toBe(0);
    expect((await as(['run', 'list', '--token-file', file])).code).toBe(0);
    expect(asked.map(({ authorization }) => authorization)).toEqual(['Bearer ilk_test', 'Bearer ilk_file']);
  });

  test('the address comes from --url, INTERLOCK_URL, or the configuration; a stated configuration wins over the environment', async () => {
    const config = join(directory, 'interlock.yaml');
    const { port } = new URL(url);
    await writeFile(config, `server: { port: ${port} }\npolicies: { default: p }\n`);
    replies.set('GET /v1/runs?limit=50', ok({ items: [], nextCursor: null }));
    const nowhere = 'http://127.0.0.1:9';
    const env = { INTERLOCK_TOKEN: TOKEN };
    expect((await say(['run', 'list'], { ...env, INTERLOCK_URL: url })).code).toBe(0);
    expect((await say(['run', 'list', '--url', url], { ...env, INTERLOCK_URL: nowhere })).code).toBe(0);
    expect((await say(['run', 'list'], { ...env, INTERLOCK_CONFIG: config })).code).toBe(0);
    expect((await say(['run', 'list', '--config', config], { ...env, INTERLOCK_URL: nowhere })).code).toBe(0);
    expect((await say(['run', 'list'], { ...env, INTERLOCK_URL: nowhere })).code).toBe(2);
  });

  test('what a person typed stays one part of the path', async () => {
    await as(['run', 'show', '../../healthz?x']);
    expect(asked.every(({ path }) => path.startsWith('/v1/runs/..%2F..%2Fhealthz%3Fx'))).toBe(true);
  });

  test('a redirect is refused, so that the token goes nowhere else', async () => {
    replies.set('GET /v1/runs?limit=50', {
      status: 307,
      body: {},
      headers: { location: `${url}/elsewhere` },
    });
    expect((await as(['run', 'list'])).code).toBe(2);
    expect(asked.map(({ path }) => path)).toEqual(['/v1/runs?limit=50']);
  });
});

describe('refusals', () => {
  test.each([
    [401, 2],
    [403, 1],
    [404, 1],
    [409, 1],
    [422, 2],
    [429, 2],
    [500, 2],
    [503, 2],
  ])('status %s exits %s', async (status, code) => {
    replies.set('POST /v1/evaluations/ev_a/retry', { status, body: problem('No', status) });
    const said = await as(['retry', 'ev_a']);
    expect(said).toMatchObject({ code, out: '' });
    expect(said.err).toContain(`No (${status})`);
  });

  test('name each field, once, and when to come back', async () => {
    replies.set('POST /v1/evaluations/ev_a/retry', {
      status: 422,
      headers: { 'retry-after': '3' },
      body: problem('The request is not acceptable', 422, {
        detail: 'body.a: is wrong',
        errors: [
          { path: 'body.a', message: 'is wrong' },
          { path: 'body.b', message: 'is \u001b[31mtoo long' },
        ],
      }),
    });
    expect((await as(['retry', 'ev_a'])).err.split('\n')).toEqual([
      'interlock: The request is not acceptable (422)',
      '  body.a: is wrong',
      '  body.b: is  [31mtoo long',
      '  try again in 3 s',
    ]);
  });

  test('an answer that is not of Interlock is told as such', async () => {
    replies.set(RUN, ok('<html>'));
    expect((await as(['run', 'show', 'demo'])).err).toContain('not JSON');
    replies.set(RUN, ok({ runId: 'demo' }));
    expect((await as(['status', '--run', 'demo'])).err).toContain('does not understand');
    replies.set('GET /v1/runs?limit=50', { status: 502, body: '<html>' });
    expect((await as(['run', 'list'])).err).toContain('is there an Interlock');
  });
});

describe('halt', () => {
  test('one run, with reason, action and group', async () => {
    replies.set('POST /v1/runs/demo/halt', { status: 202, body: { halts: [halt], failed: [] } });
    const { code, out } = await as([
      'halt',
      '--run',
      'demo',
      '--reason',
      'why',
      '--quarantine',
      '--group',
      'board',
    ]);
    expect(code).toBe(0);
    expect(asked[0]?.body).toEqual({ reason: 'why', action: 'quarantine', group: 'board' });
    expect(out).toContain('not yet known to have stopped');
  });

  test('a run that could not be halted is named, and the exit is 1', async () => {
    replies.set('POST /v1/halt', {
      status: 202,
      body: { halts: [halt], failed: [{ runId: 'other', reason: 'not recorded' }] },
    });
    const { code, err } = await as(['halt', '--all', '--reason', 'why']);
    expect(code).toBe(1);
    expect(err).toContain('other: NOT HALTED');
  });

  test('without an answer it says to press again', async () => {
    replies.set('POST /v1/halt', { status: 503, body: problem('Not available', 503) });
    expect((await as(['halt', '--all', '--reason', 'why'])).err).toContain('MAY NOT HAVE BEEN ORDERED');
    const gone = await say(['halt', '--all', '--reason', 'why', '--url', 'http://127.0.0.1:9'], {
      INTERLOCK_TOKEN: TOKEN,
    });
    expect(gone.code).toBe(2);
    expect(gone.err).toContain('MAY NOT HAVE BEEN ORDERED');
  });

  test('a refusal is no such doubt', async () => {
    expect((await as(['halt', '--run', 'nope', '--reason', 'why'])).err).not.toContain('MAY NOT');
  });
});

describe('sign-off', () => {
  const sign = [
    'sign-off',
    '--run',
    'demo',
    '--proposal',
    'prop_a',
    '--decision',
    'approve',
    '--group',
    'leadership',
    '--justification',
    'tight',
  ];
  const body = { proposalId: 'prop_a', decision: 'approve', group: 'leadership', justification: 'tight' };
  const SIGN = 'POST /v1/runs/demo/sign-offs';
  const posted = () => asked.filter(({ method }) => method === 'POST').map((each) => each.body);

  test('without a digest shows the proposal and signs nothing', async () => {
    replies.set('GET /v1/runs/demo/proposals/prop_a', ok(proposal));
    replies.set(RUN, ok(run));
    const { code, out, err } = await as(sign);
    expect(code).toBe(2);
    expect(err).toContain('nothing was signed');
    expect(posted()).toEqual([]);
    for (const told of [
      digest,
      '3e22',
      'cybersecurity 3.4',
      'jump cybersecurity',
      finding.explanation,
      'too early',
      'hardened',
    ]) {
      expect(out).toContain(told);
    }
  });

  test('with --yes signs the digest that was shown', async () => {
    replies.set('GET /v1/runs/demo/proposals/prop_a', ok(proposal));
    replies.set(RUN, ok(run));
    replies.set(SIGN, ok({ proposal: { ...proposal, status: 'executed', approvalsNeeded: [] } }));
    const { code, out } = await as([...sign, '--yes']);
    expect(code).toBe(0);
    expect(posted()).toEqual([{ ...body, digest }]);
    expect(out).toContain('demo is resumed under the terms');
  });

  test('with a digest signs that one, and asks for nothing else', async () => {
    replies.set(SIGN, { status: 409, body: problem('Conflict', 409, { detail: 'another digest' }) });
    const { code, err } = await as([...sign, '--digest', 'f'.repeat(64)]);
    expect(code).toBe(1);
    expect(err).toContain('another digest');
    expect(asked.length).toBe(1);
    expect(posted()).toEqual([{ ...body, digest: 'f'.repeat(64) }]);
  });

  test('with --json standard output is the answer alone', async () => {
    replies.set('GET /v1/runs/demo/proposals/prop_a', ok(proposal));
    replies.set(RUN, ok(run));
    replies.set(SIGN, ok({ proposal }));
    const { out } = await as([...sign, '--yes', '--json']);
    expect(JSON.parse(out)).toEqual({ proposal });
  });
});

describe('propose', () => {
  const now = new Date('2030-01-01T00:00:00Z');
  test('sends only the terms that were stated', () => {
    expect(proposalBody({ run: 'demo', rationale: 'r' }, now)).toEqual({
      kind: 'resume',
      terms: {},
      rationale: 'r',
    });
    expect(
      proposalBody(
        {
          run: 'demo',
          rationale: 'r',
          halt: 'halt_a',
          ceiling: '3e22',
          level: ['cbrn=3.4', 'cybersecurity=3'],
          forecast: ['cbrn=0.2'],
          expires: '14d',
        },
        now,
      ),
    ).toEqual({
      kind: 'resume',
      haltId: 'halt_a',
      terms: {
        ceiling: '3e22',
        levels: { cbrn: 3.4, cybersecurity: 3 },
        forecasts: { cbrn: 0.2 },
        expires: '2030-01-15T00:00:00.000Z',
      },
      rationale: 'r',
    });
  });
});

describe('forecast record', () => {
  const coverage = (covered: number, share: number) => ({ covered, share, lower: share - 0.1, upper: share });
  const figures = (forecasts: number, more: object = {}) => ({
    forecasts,
    runs: 2,
    isTooFew: forecasts < 20,
    coverage95: coverage(forecasts - 2, (forecasts - 2) / forecasts),
    coverage99: coverage(forecasts, 1),
    pinball50: 0.211,
    pinball95: 0.08,
    pinball99: 0.031,
    pit: [0, 1, 2, 3, 4, 3, 2, 1, 0, 4],
    levels: [{ level: 3, forecasts, stated: 0.041, came: 0, brier: 0.0021 }],
    brier: 0.0021,
    misses: 0,
    doublingsShort: 0.14,
    ...more,
  });
  const group = {
    method: 'trend/1',
    category: 'cyber',
    stage: 'pre-mitigation',
    checkpoints: 1,
    basis: 'data',
  };
  const record = {
    run: null,
    total: figures(25),
    groups: [
      { ...group, ...figures(20) },
      { ...group, category: 'bio', ...figures(5, { misses: 1 }) },
    ],
    worstMisses: [
      {
        runId: 'demo',
        checkpointId: 'c4',
        scoredBy: 'c5',
        category: 'bio',
        stage: 'pre-mitigation',
        observed: 4.2,
        q99: 3.1,
      },
    ],
    excluded: { sealedLate: 2, beyondHorizon: 0, partial: 1 },
    isTruncated: false,
  };

  test('is a table of what each method has done, in plain words where it is too little', async () => {
    replies.set('GET /v1/forecasts/record', { status: 200, body: record });
    const { code, out } = await as(['forecast', 'record']);
    expect(code).toBe(0);
    expect(out).toContain('25 scored forecasts in 2 runs: those of one run are not independent');
    expect(out).toContain('Not counted: 2 sealed late, 1 with part of the evidence.');
    const [cyber, bio] = out.split('\n').filter((line) => line.startsWith('trend/1'));
    expect(cyber).toMatch(/cyber .* 20 {2}90 % \(80 % to 90 %\) .* 0\.211 0\.080 0\.031/);
    expect(bio).toContain('3 of 5, too few to say');
    expect(bio).not.toContain('60 %');
    expect(out).toContain('3.00  said 4.1 %, came 0 % of 25, Brier 0.002');
    expect(out).toContain('! demo c4: bio pre-mitigation came at 4.20 (c5), the bound was 3.10');
  });

  test('of one run asks for that run, and of none yet says so', async () => {
    const empty = {
      ...record,
      run: 'demo',
      total: { ...figures(1), forecasts: 0, doublingsShort: null },
      groups: [],
      worstMisses: [],
      excluded: { sealedLate: 0, beyondHorizon: 0, partial: 0 },
    };
    replies.set('GET /v1/runs/demo/forecasts/record?category=bio', { status: 200, body: empty });
    const { out } = await as(['forecast', 'record', '--run', 'demo', '--category', 'bio']);
    expect(out).toBe('0 scored forecasts of run demo: too few to say how good they are');
  });

  test('says when it rests on the newest scores alone', async () => {
    replies.set('GET /v1/forecasts/record', { status: 200, body: { ...record, isTruncated: true } });
    expect((await as(['forecast', 'record'])).out).toContain('Older scores were left out');
  });

  test('takes a span back from now, and prints JSON as the service said it', async () => {
    replies.set('GET /v1/forecasts/record', { status: 200, body: record });
    expect(JSON.parse((await as(['forecast', 'record', '--json'])).out)).toEqual(record);
    const { err } = await as(['forecast', 'record', '--since', 'lately']);
    expect(err).toContain('--since must be a span');
    await as(['forecast', 'record', '--since', '30d']);
    const since = new URL(asked.at(-1)?.path ?? '', 'http://x').searchParams.get('since') ?? '';
    expect(Date.now() - Date.parse(since)).toBeGreaterThanOrEqual(30 * 86_400_000);
  });
});

describe('estimate', () => {
  const round = {
    roundId: 'round_a',
    runId: 'demo',
    round: 1,
    state: 'open',
    checkpointId: 'c3',
    category: 'cybersecurity',
    stage: 'pre-mitigation',
    level: 4,
    horizonCompute: '36000000000000000000000',
    closesAt: '2030-01-03T00:00:00.000Z',
    closedAt: null,
    closedBecause: null,
    given: 2,
    pool: null,
    readBy: ['forecast-critical'],
  };
  const pool = {
    p: 0.112,
    geometricMean: 0.1,
    exponent: 1.5,
    n: 3,
    median: 0.1,
    lowerQuartile: 0.05,
    upperQuartile: 0.2,
  };
  const ROUNDS = '/v1/runs/demo/estimate-rounds';
  const sent = () => asked.map(({ path, body }) => [path, body]);
  const words = (line: string, ...more: string[]) => as([...line.split(' '), ...more]);

  test('open asks about a level by name or number, and says who will read the answer', async () => {
    replies.set(`POST ${ROUNDS}`, { status: 201, body: round });
    const { code, out } = await words('estimate open --run demo --category cybersecurity --level critical');
    expect(code).toBe(0);
    expect(out).toContain('reach 4.00 by 3.6e22 FLOP, before the checkpoint after c3?');
    expect(out).toContain('read by   forecast-critical');
    const line = 'estimate open --run demo --category bio --level 3.5 --stage post-mitigation';
    await words(`${line} --closes 2030-01-01T00:00:00Z`);
    expect(sent()).toEqual([
      [ROUNDS, { category: 'cybersecurity', level: 'critical' }],
      [
        ROUNDS,
        { category: 'bio', stage: 'post-mitigation', level: 3.5, closesAt: '2030-01-01T00:00:00.000Z' },
      ],
    ]);
  });

  test('give sends what was said, from arguments or from a file', async () => {
    const file = join(directory, 'estimate.json');
    await writeFile(file, '{"probability": 0.2, "rationale": "from a file"}');
    replies.set('POST /v1/runs/demo/estimates', { status: 201, body: { estimateId: 'est_a' } });
    const line = 'estimate give --run demo --round round_a';
    await words(`${line} --probability 0.08 --quantile 0.5=2.5 --quantile 0.9=3.5`, '--rationale', 'a hunch');
    const { code, out } = await words(`${line} --file ${file}`);
    expect([code, out]).toEqual([0, expect.stringContaining('Nobody else sees it while the round is open')]);
    const quantiles = [
      { p: 0.5, level: 2.5 },
      { p: 0.9, level: 3.5 },
    ];
    expect(asked.map(({ body }) => body)).toEqual([
      { roundId: 'round_a', probability: 0.08, quantiles, rationale: 'a hunch' },
      { roundId: 'round_a', probability: 0.2, rationale: 'from a file' },
    ]);
  });

  test('a file that holds no estimate is refused without repeating what it holds', async () => {
    const file = join(directory, 'no-estimate.json');
    await writeFile(file, '{"probability": 0.2 secret');
    const { code, err } = await words(`estimate give --run demo --round round_a --file ${file}`);
    expect([code, asked]).toEqual([2, []]);
    expect(err).toContain('does not hold a JSON object');
    expect(err).not.toContain('secret');
  });

  test('close pools, or goes on to the second round', async () => {
    replies.set(
      `POST ${ROUNDS}/round_a/close`,
      ok({ ...round, state: 'closed', closedAt: round.closesAt, pool }),
    );
    replies.set(`POST ${ROUNDS}/round_a/second`, { status: 201, body: { ...round, round: 2 } });
    const { out } = await words('estimate close --run demo --round round_a');
    expect(out).toContain(
      'pooled    11.2 % of 3 experts, extremised from 10 %; median 10 %, middle half 5 % to 20 %',
    );
    const begun = await words('estimate close --run demo --round round_a --second');
    expect(begun.out).toContain('round 2, open');
    expect(sent()).toEqual([
      [`${ROUNDS}/round_a/close`, {}],
      [`${ROUNDS}/round_a/second`, {}],
    ]);
  });

  test('show lists rounds, and tells of one how far apart the experts are and why', async () => {
    replies.set(
      `GET ${ROUNDS}`,
      ok({ items: [round, { ...round, roundId: 'round_b', pool }], nextCursor: null }),
    );
    replies.set(
      `GET ${ROUNDS}/round_b`,
      ok({
        ...round,
        closedAt: '2030-01-01T00:00:00.000Z',
        closedBecause: 'deadline',
        pool,
        feedback: { rationales: ['a \u001b[2Jhunch', 'a trend'], quantiles: [{ p: 0.9, level: 3.25, n: 2 }] },
        mine: { probability: 0.05, rationale: 'a trend' },
      }),
    );
    const list = await words('estimate show --run demo');
    expect(list.out.split('\n').map((line) => line.split(/ {2,}/).at(-1))).toEqual(['pooled', '-', '11.2 %']);
    const { out } = await words('estimate show --run demo --round round_b');
    for (const told of [
      '(deadline)',
      'yours     5 %: a trend',
      'at most 3.25 with 90 % (median of 2)',
      'because   a  [2Jhunch',
    ]) {
      expect(out).toContain(told);
    }
  });

  test('with --json prints the answer alone', async () => {
    replies.set(`GET ${ROUNDS}`, ok({ items: [], nextCursor: null }));
    const { out } = await words('estimate show --run demo --json');
    expect(JSON.parse(out)).toEqual({ items: [], nextCursor: null });
  });
});

describe('run register', () => {
  test('sends targets, labels and what was stated', async () => {
    replies.set('POST /v1/runs', { status: 201, body: { run, permit: null } });
    const line =
      'run register --run demo --target-webhook http://t.example/halt --target-pid 77 --label a=b=c --policy four-fold --initial-compute 1e21';
    const { code } = await as([...line.split(' '), '--title', 'A title']);
    expect(code).toBe(0);
    expect(asked[0]?.body).toEqual({
      runId: 'demo',
      targets: [
        { kind: 'webhook', url: 'http://t.example/halt' },
        { kind: 'process', pid: 77 },
      ],
      policy: 'four-fold',
      initialCompute: '1e21',
      title: 'A title',
      labels: { a: 'b=c' },
    });
  });

  test('sends whose weights it starts from, who answers for them, and what it trains on', async () => {
    replies.set('POST /v1/runs', { status: 201, body: { run, permit: null } });
    const line =
      'run register --run demo --target-pid 77 --parent base/c7 --parent other --accelerator h100 --vouch';
    const { code } = await as([...line.split(' '), 'published weights']);
    expect(code).toBe(0);
    expect(asked.at(-1)?.body).toMatchObject({
      parents: ['base/c7', 'other'],
      vouchedParentage: 'published weights',
      accelerator: 'h100',
    });
  });
});

describe('status', () => {
  const now = new Date('2030-01-01T00:01:00Z');
  const shown = (change: object = {}) =>
    showRun({ run: Run.parse({ ...run, ...change }), scorecard: Scorecard.parse(scorecard) }, now, PLAIN);

  test('names the variant that a level is of, and what is measured at the same token budget', () => {
    const [cyber] = scorecard.categories;
    const worst = { evaluation: 'ctf', variant: 'bash-t9000\u001b[2J' };
    const levels = { ...cyber?.stages['pre-mitigation'], worst };
    const best = { evaluation: 'ctf', tokenBudget: 9000, variant: 'bash-t9000', score: 0.61, estimate: 3.21 };
    const said = showRun(
      {
        run: Run.parse(run),
        scorecard: Scorecard.parse({
          ...scorecard,
          categories: [{ ...cyber, stages: { 'pre-mitigation': levels } }],
          budgets: [{ ...best, before: { checkpointId: 'c2', score: 0.44 } }],
        }),
      },
      now,
      PLAIN,
    );
    expect(said).toMatch(/3\.21 High, at most 3\.60 ctf\/bash-t9000/);
    expect(said).toContain('    = ctf at 9000 tokens: 0.61 (bash-t9000), 0.44 at c2\n');
    expect(said).not.toContain('\u001b');
  });

  test('says what each score was made of: samples, harness, task, model and log', () => {
    const [cyber] = scorecard.categories;
    const stage = cyber?.stages['pre-mitigation'];
    const row = {
      evaluationId: 'ev_a',
      evaluation: 'ctf',
      variant: 'default',
      status: 'completed',
      reasons: [],
    };
    const source = {
      ...{
        harness: 'lm-eval',
        harnessVersion: '0.4.9',
        task: 'ctf',
        model: 'org/m\u001b[2J',
        revision: 'abc',
      },
      ...{ dataset: 'org/d', epochs: 2, fileDigest: 'f'.repeat(64) },
    };
    const counts = { score: 0.61234, n: 200, total: 250, scored: 200, errored: 3, refused: 2, lost: 50 };
    const said = (evidence: object) =>
      showRun(
        {
          run: Run.parse(run),
          scorecard: Scorecard.parse({
            ...scorecard,
            categories: [{ ...cyber, stages: { 'pre-mitigation': { ...stage, evidence: [evidence] } } }],
          }),
        },
        now,
        PLAIN,
      );
    const whole = said({ ...row, ...counts, source });
    expect(whole).toContain(
      ': score 0.6123 over 200, 200 of 250 samples scored, 3 errored, 2 refused, 50 counted as successes at most\n',
    );
    expect(whole).toContain(
      `      lm-eval 0.4.9, task ctf, model org/m [2J, revision abc, dataset org/d, epochs 2, log sha256 ${'f'.repeat(64)}\n`,
    );
    // An older service, or a result that says nothing of it: no line, and no zero.
    expect(said({ ...row })).not.toContain('samples');
  });

  test('one screen: what tripped, by how much, whether it has really stopped, what to do', () => {
    expect(shown().split('\n')).toEqual([
      'demo  HALTED, NOT KNOWN TO HAVE STOPPED  policy preparedness-beta',
      '  A  [2Jtitle',
      '  compute   1.64e22 FLOP, heartbeat 1 min 10 s ago',
      '  permit    none: halted',
      '  levels    c3 at 1.6e22, evaluated: halt',
      '    cybersecurity  ████|████|█▒··|····  3.21 High, at most 3.60',
      '    cbrn           ····|····|····|····  not scored',
      '    ! cybersecurity pre-mitigation: estimate 3.21 >= 3 [pre-mitigation-high: halt]',
      '  halt      halt_a (halt) ordered 1 min ago, not known to have stopped, escalated 1 time',
      '    ! cybersecurity pre-mitigation: estimate 3.21 >= 3 [pre-mitigation-high: halt]',
      '    > t1 (webhook): webhook NOT accepted in 3 attempts (status 503)',
      '    > t2 (process): sigterm accepted 40 ms after the order, seen stopped 2 s after the order (the process is gone)',
      '  next      make sure that training stops: t1 (webhook) not seen stopped. Interlock goes on trying; if it does not stop, end the job by hand.',
      '            troubleshooting is inconclusive (zero-samples): mend it, then interlock retry ev_b',
      '            find out why; to go on, propose terms: interlock propose --run demo --rationale "..."',
    ]);
  });

  test('an acknowledgement is not a stop', () => {
    const acknowledged = { receivedAt: halt.orderedAt, stoppedAt: halt.orderedAt };
    const text = shown({ openHalt: { ...halt, acknowledged } });
    expect(text).toContain('the trainer says that it stopped (1 min ago); silence must confirm it');
    expect(text).toContain('NOT KNOWN TO HAVE STOPPED');
  });

  test('a confirmed stop is', () => {
    const confirmedAt = '2030-01-01T00:00:02.500Z';
    const text = shown({ halt: { ...run.halt, stopped: true }, openHalt: { ...halt, confirmedAt } });
    expect(text).toContain('HALTED, stopped');
    expect(text).toContain('stopped 2 s after the order');
    expect(text).not.toContain('make sure');
  });

  test('what people should mend about its registration', () => {
    const warnings = [{ path: 'targets', message: 'no target is independent\u001b[2J of the trainer' }];
    expect(shown({ warnings })).toMatch(/^ {2}warning {3}no target is independent.*of the trainer$/m);
    expect(shown({ warnings })).not.toContain('\u001b');
  });

  test('what a permit risks, and what is spent of the budget, where the policy limits it', () => {
    const risk = { level: 4, probability: 0.02, spent: 0, budget: 0.05, permit: null };
    expect(shown({ risk })).toContain(
      '  risk      no permit earned yet; one may take 2.00 %; spent 0.00 % of 5.00 %',
    );
    const permit = { p: 0.0123, compute: '1.9e22', choice: { basis: 'mixed' } };
    expect(shown({ risk: { ...risk, spent: 0.031, budget: null, permit } })).toContain(
      '  risk      1.23 % that a category reaches 4.00 by 1.9e22, a permit may take 2.00 % (mixed); spent 3.10 %\n',
    );
    for (const none of [{ risk: null }, {}]) expect(shown(none)).not.toContain('  risk ');
  });

  test('an open proposal comes with the command that signs it', () => {
    expect(shown({ proposals: [proposal] })).toContain(
      `interlock sign-off --run demo --proposal prop_a --digest ${digest} --decision approve --group leadership --justification "..."`,
    );
  });

  test('a hold names its cause and its deadline', () => {
    const hold = {
      holdId: 'hold_a',
      key: 'overdue',
      deadlineAt: '2030-01-03T00:01:00.000Z',
      findings: [finding],
    };
    const text = shown({ status: 'on-hold', halt: null, openHalt: null, openHolds: [hold] });
    expect(text).toContain('demo  ON HOLD');
    expect(text).toContain('  hold      overdue, becomes a halt in 2 d');
    expect(text).toContain('the hold lifts when evidence removes its cause');
  });

  test('the gravest run comes first, and what is not shown is told', async () => {
    const calm = { ...run, runId: 'calm', status: 'training', halt: null, openHalt: null };
    const done = { ...calm, runId: 'done', status: 'finished' };
    replies.set('GET /v1/runs?limit=50', ok({ items: [calm, done, run], nextCursor: '7' }));
    replies.set('GET /v1/runs/calm', ok(calm));
    replies.set(RUN, ok(run));
    const { code, out } = await as(['status']);
    expect(code).toBe(0);
    expect(out.split('\n')[0]).toBe(
      `${url}: 3 runs: 1 halted and NOT KNOWN TO HAVE STOPPED, 1 training, 1 finished`,
    );
    expect(out.indexOf('\ndemo  HALTED')).toBeLessThan(out.indexOf('\ncalm  training'));
    expect(out).not.toContain('\ndone ');
    expect(out).toContain('no checkpoint has been evaluated');
    expect(out).toContain('older ones: interlock run list');
  });
});

describe('shadow', () => {
  const shadow = {
    until: '2030-02-01T00:00:00.000Z',
    endedAt: null,
    endedBecause: null,
    wouldHaveHalted: 2,
    wouldHaveHeld: 1,
    first: { action: 'halt', checkpointId: 'c3', explanation: 'reached \u001b[2JHigh', at: halt.orderedAt },
  };
  const shadowed = {
    ...run,
    status: 'training',
    halt: null,
    openHalt: null,
    ceiling: '1e22',
    permit: { granted: true, reason: null },
    shadow,
  };

  test('is said before anything else: over all runs, of each in the list, and on its own screen', async () => {
    const items = [shadowed, { ...shadowed, shadow: { ...shadow, until: '2030-03-01T00:00:00.000Z' } }, run];
    replies.set('GET /v1/runs?limit=50', ok({ items, nextCursor: null }));
    replies.set(RUN, ok(shadowed));
    const banner =
      'SHADOW MODE until 2030-03-01T00:00:00.000Z: nothing is stopped in 2 runs. Would have halted 4, would have held 2.';
    for (const command of [['run', 'list'], ['status']]) {
      const { code, out } = await as(command);
      expect(code).toBe(0);
      expect(out.split('\n')[0]).toBe(banner);
      expect(out).toContain('training IN SHADOW');
    }
    const { out } = await as(['run', 'show', 'demo']);
    expect(out).toContain('SHADOW MODE until 2030-02-01T00:00:00.000Z');
    expect(out).toContain(
      'nothing stops this run but the red button; would have halted 2, would have held 1',
    );
    expect(out).toContain('first, halt at c3: reached');
    expect(out).toContain('which does not bind in shadow');
    expect(out).not.toContain('\u001b[2J');
  });

  test('that is over is told in a line, and makes no banner', async () => {
    const over = { ...shadowed, shadow: { ...shadow, endedAt: '2029-12-31T00:00:00.000Z' } };
    replies.set('GET /v1/runs?limit=50', ok({ items: [over], nextCursor: null }));
    replies.set(RUN, ok(over));
    expect((await as(['run', 'list'])).out).not.toContain('SHADOW');
    const { out } = await as(['run', 'show', 'demo']);
    expect(out).toMatch(/shadow {4}ended .*: would have halted 2, would have held 1/);
    expect(out).not.toContain('SHADOW MODE');
  });

  test('ends with run arm', async () => {
    replies.set('POST /v1/runs/demo/arm', ok(run));
    const { code, out } = await as(['run', 'arm', 'demo']);
    expect(code).toBe(0);
    expect(asked.map(({ method, path, body }) => [method, path, body])).toEqual([
      ['POST', '/v1/runs/demo/arm', {}],
    ]);
    expect(out).toContain('demo is armed: HALTED, NOT KNOWN TO HAVE STOPPED');
    replies.set('POST /v1/runs/demo/arm', { status: 403, body: problem('Not yours', 403) });
    expect((await as(['run', 'arm', 'demo'])).code).toBe(1);
  });
});
