/** What isolates a quarantined run: by real programs and by a real server, neither believed before it says that it is done. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { IsolationConfigSchema } from '../../src/config/isolation.ts';
import { compute } from '../../src/domain/compute.ts';
import type { IsolationMessage, IsolationOutcome, Isolator } from '../../src/isolation/isolator.ts';
import { openIsolators } from '../../src/isolation/registry.ts';
import { createOutbound, type Outbound } from '../../src/outbound/outbound.ts';
import { generateWebhookSecret, verifyWebhook, WebhookSecret } from '../../src/signing/standard-webhooks.ts';
import { type Behaviour, type HttpTarget, startHttpTarget } from '../support/http-target.ts';

const TOKEN = 'SITETOKENSITETOKEN';
const secretText = generateWebhookSecret();
const secret = WebhookSecret.parse(secretText);

const message: IsolationMessage = {
  runId: 'gpt-next',
  haltId: 'halt_x',
  step: 'lock-weights',
  reason: 'Critical; $(touch /tmp/owned)',
  order: 'a.b.c',
  revert: {
    checkpointId: 'c2',
    effectiveCompute: compute('2e22'),
    modelUri: 's3://w/c2',
    weightsDigest: null,
  },
};
const live = (): AbortSignal => new AbortController().signal;

let outbound: Outbound;
beforeEach(() => {
  outbound = createOutbound({ allow: ['loopback'] });
});
afterEach(() => outbound.close());

describe("by the site's programs", () => {
  let site: string;
  beforeEach(() => {
    site = mkdtempSync(join(tmpdir(), 'interlock-isolation-'));
    program('isolate', `cat >> "${site}/asked"; [ "$SITE_TOKEN" = "${TOKEN}" ] || exit 77`);
    program('status', `cat >> "${site}/asked-status"; echo '{"state":"isolated","detail":"2 buckets"}'`);
  });
  afterEach(() => rmSync(site, { recursive: true }));

  function program(name: string, text: string): void {
    writeFileSync(join(site, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  }

  function isolator(environment: Readonly<Record<string, string>> = { SITE_TOKEN: TOKEN }): Isolator {
    const config = IsolationConfigSchema.parse({
      commands: {
        vault: {
          isolate: [join(site, 'isolate')],
          status: [join(site, 'status')],
          timeout: '2s',
          environment: ['SITE_TOKEN'],
        },
      },
    });
    const made = openIsolators({
      config,
      outbound,
      now: () => new Date(),
      secrets: () => [],
      variable: (reference) => environment[reference.slice('env:'.length)],
    })({ step: 'lock-weights', kind: 'command', command: 'vault', within: '5m' });
    if (made === null) throw new Error('not opened');
    return made;
  }
  const isolates = (by = isolator()): Promise<IsolationOutcome> => by.isolate(message, live());

  it('is done when its status says so, in its own words', async () => {
    expect(await isolates()).toEqual({ kind: 'isolated', detail: 'status of vault: 2 buckets' });
  });

  it('tells both programs what it is about on standard input, and nowhere else', async () => {
    await isolates();
    const asked = JSON.parse(readFileSync(join(site, 'asked'), 'utf8'));
    expect(asked).toEqual({ ...message, ask: 'isolate' });
    expect(JSON.parse(readFileSync(join(site, 'asked-status'), 'utf8'))).toEqual({
      ...message,
      ask: 'status',
    });
  });

  it.each([
    ['still open', `echo '{"state":"open"}'`],
    ['not known', `echo '{"state":"unknown"}'`],
    ['said in other words', `echo '{"state":"stopped"}'`],
    ['said with more beside it', `echo '{"state":"isolated","really":true}'`],
    ['said twice', `echo '{"state":"isolated"}{"state":"isolated"}'`],
    ['said and taken back', `echo '{"state":"isolated"}'; exit 1`],
    ['not said', 'exit 0'],
    ['said for ever', `yes '{"state":"isolated"}'`],
    ['never said', 'sleep 30'],
  ])('is not done where that is %s', async (_, status) => {
    program('status', status);
    expect((await isolates()).kind).toBe('accepted');
  });

  it.each([
    ['fails', 'exit 1', 'retry'],
    ['has no right to', 'exit 77', 'retry'],
    ['cannot ever do it', 'exit 65', 'rejected'],
    ['hangs', 'sleep 30', 'retry'],
    ['is killed', 'kill -9 $$', 'retry'],
  ] as const)('is tried again where the program %s, and its status is not asked', async (_, text, kind) => {
    program('isolate', text);
    expect((await isolates()).kind).toBe(kind);
    expect(() => readFileSync(join(site, 'asked-status'))).toThrow(/ENOENT/);
  });

  it('says which variable was missing, and shows none', async () => {
    const outcome = await isolates(isolator({}));
    expect(outcome).toMatchObject({
      kind: 'retry',
      detail: expect.stringContaining('run without SITE_TOKEN'),
    });
    program('status', `echo "{\\"state\\":\\"isolated\\",\\"detail\\":\\"$SITE_TOKEN\\"}"`);
    expect(JSON.stringify(await isolates())).not.toContain(TOKEN);
  });

  it('cannot be done by a program that is not there or may not be run', async () => {
    chmodSync(join(site, 'isolate'), 0o644);
    expect((await isolates()).kind).toBe('retry');
  });
});

describe('by webhook', () => {
  let target: HttpTarget;
  beforeEach(async () => {
    target = await startHttpTarget();
  });
  afterEach(() => target.close());

  const isolator = (secrets: readonly WebhookSecret[] = [secret]): Isolator => {
    const made = openIsolators({
      config: IsolationConfigSchema.parse({}),
      outbound,
      now: () => new Date(),
      secrets: () => secrets,
      variable: () => undefined,
    })({
      step: 'lock-weights',
      kind: 'webhook',
      url: `${target.url}/lock`,
      secret: 'env:LOCK',
      within: '5m',
    });
    if (made === null) throw new Error('not opened');
    return made;
  };
  const isolates = (by = isolator()): Promise<IsolationOutcome> => by.isolate(message, live());
  const behaves = (behaviour: Behaviour): void => target.behave(behaviour);

  it.each([
    [200, '{"state":"isolated"}', 'isolated'],
    [202, '{"state":"isolated","since":"now"}', 'isolated'],
    [200, '{"state":"open"}', 'accepted'],
    [202, '', 'accepted'],
    [200, 'isolated', 'accepted'],
    [200, '"isolated"', 'accepted'],
    [200, '{"state":"isolated","error":"not really"}', 'retry'],
    [404, '{"state":"isolated"}', 'retry'],
    [500, '', 'retry'],
    [302, '', 'retry'],
  ] as const)('HTTP %d with %s is %s', async (status, body, kind) => {
    behaves({ kind: 'status', status, body });
    expect((await isolates()).kind).toBe(kind);
  });

  it('is signed, and the same message each time', async () => {
    behaves({ kind: 'status', status: 202 });
    await isolates();
    await isolates();
    const [first, second] = target.received;
    expect(first?.headers['webhook-id']).toBe(second?.headers['webhook-id']);
    const verified = verifyWebhook({
      rawHeaders: first?.rawHeaders ?? [],
      body: first?.body ?? Buffer.alloc(0),
      secrets: [secret],
      now: new Date(),
    });
    expect(verified.ok).toBe(true);
    expect(JSON.parse(String(first?.body))).toMatchObject({
      type: 'quarantine.isolate',
      data: { runId: 'gpt-next', step: 'lock-weights', order: 'a.b.c', revert: { checkpointId: 'c2' } },
    });
  });

  it('goes out unsigned where the secret is not set, and says so', async () => {
    behaves({ kind: 'status', status: 200, body: '{"state":"isolated"}' });
    const outcome = await isolates(isolator([]));
    expect(outcome).toMatchObject({
      kind: 'isolated',
      detail: expect.stringContaining('env:LOCK is not set'),
    });
    expect(target.received[0]?.headers['webhook-signature']).toBeUndefined();
  });

  it('is tried again where nobody answers, and refused for good outside of outbound.allow', async () => {
    behaves({ kind: 'reset' });
    expect((await isolates()).kind).toBe('retry');
    const closed = createOutbound({ allow: [] });
    try {
      const made = openIsolators({
        config: IsolationConfigSchema.parse({}),
        outbound: closed,
        now: () => new Date(),
        secrets: () => [secret],
        variable: () => undefined,
      })({ step: 'x', kind: 'webhook', url: target.url, secret: 'env:LOCK', within: '5m' });
      expect((await made?.isolate(message, live()))?.kind).toBe('rejected');
    } finally {
      await closed.close();
    }
  });
});

it('a command that interlock.yaml does not name is none', () => {
  const open = openIsolators({
    config: IsolationConfigSchema.parse({}),
    outbound,
    now: () => new Date(),
    secrets: () => [],
    variable: () => undefined,
  });
  expect(open({ step: 'x', kind: 'command', command: 'toString', within: '5m' })).toBeNull();
});
