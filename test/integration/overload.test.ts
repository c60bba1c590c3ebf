/**
 * More than the service can do at once: what is refused is told when to come again, what stops a run is never refused,
 * and nothing that was taken is lost.
 *
 * The overload is made, not hoped for: while somebody else holds the ledger's head no append ends, so that requests
 * pile up to the limit however fast the machine is.
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LOAD_LIMITS } from '../../src/http/load.ts';
import { testPolicy } from '../support/evaluation-policy.ts';
import { type Sent, startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { Halts, soon } from '../support/run-driver.ts';

const RUNS = 20;
let interlock: TestInterlock;

beforeAll(async () => {
  interlock = await startTestInterlock({ policies: { main: testPolicy() } });
  for (let i = 0; i < RUNS; i += 1) {
    const targets = [{ kind: 'webhook', url: 'http://127.0.0.1:9/halt' }];
    await interlock.call('POST', '/v1/runs', { as: 'trainer', body: { runId: `r${i}`, targets } });
    // The first is evaluated; those after it, between two doublings, are recorded.
    await report(i, 'first', '1e21');
  }
});

afterAll(() => interlock.close());

const report = (i: number, checkpointId: string, effectiveCompute = '1.1e21'): Promise<Sent> =>
  interlock.signed('/v1/checkpoints', {
    runId: `r${i % RUNS}`,
    checkpointId,
    effectiveCompute,
    modelUri: 's3://weights/x',
  });

/** Nothing is appended while `work` goes on. */
async function withHeldLedger<T>(work: () => Promise<T>): Promise<T> {
  return interlock.withStore(async ({ database }) => {
    const client = await database.pool.connect();
    try {
      await client.query('BEGIN');
      await client.query('SELECT 1 FROM ledger_head FOR UPDATE');
      return await work();
    } finally {
      await client.query('ROLLBACK');
      client.release();
    }
  });
}

describe('an overload', () => {
  it('refuses intake with a time to come again, lets a halt in, and loses nothing of what it took', async () => {
    const total = LOAD_LIMITS.intakeInFlightMax + 60;
    const answers: Promise<Sent>[] = [];
    const early: Sent[] = [];
    const pressed: Promise<Sent>[] = [];
    await withHeldLedger(async () => {
      for (let i = 0; i < total; i += 1) {
        const answer = report(i, `burst-${i}`);
        answers.push(answer);
        answer.then((sent) => early.push(sent));
      }
      await soon(() => expect(early.length).toBeGreaterThan(0));
      expect(early.every(({ status }) => status === 503)).toBe(true);
      const reason = { reason: 'now' };
      pressed.push(interlock.call('POST', '/v1/runs/r0/halt', { as: 'leadership', body: reason }));
      // Probes see it through, too.
      expect((await interlock.call('GET', '/healthz')).status).toBe(200);
    });
    const [halt] = await Promise.all(pressed);
    expect(halt?.status, halt?.text).toBe(202);
    expect(Halts.parse(halt?.body).halts).toHaveLength(1);

    const first = await Promise.all(answers);
    const refused = first.flatMap(({ status }, i) => (status === 503 ? [i] : []));
    for (const { status, headers, text } of first) {
      expect([202, 503], text).toContain(status);
      if (status === 503) expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
    }
    const again = await Promise.all(refused.map((i) => report(i, `burst-${i}`)));
    expect(again.map(({ status }) => status)).toEqual(refused.map(() => 202));
    // What was taken is known when it comes once more.
    const taken = first.flatMap(({ status }, i) => (status === 202 ? [i] : [])).slice(0, 100);
    const known = await Promise.all(taken.map((i) => report(i, `burst-${i}`)));
    expect(known.map(({ status }) => status)).toEqual(taken.map(() => 200));
  });

  it('keeps the connection of whoever is to come again', async () => {
    await withHeldLedger(async () => {
      const filling = Array.from({ length: LOAD_LIMITS.intakeInFlightMax }, (_, i) => report(i, `fill-${i}`));
      const socket = connect(Number(new URL(interlock.url).port), '127.0.0.1');
      await once(socket, 'connect');
      const body = JSON.stringify({ runId: 'r1', checkpointId: 'again', effectiveCompute: '1.1e21' });
      const head = `host: x\r\nauthorization: Bearer ${interlock.tokens['trainer']}\r\ncontent-type: application/json\r\n`;
      for (let refusals = 0; refusals < 2; ) {
        // Until the others have been let in it may be one of them: only refusals are counted.
        socket.write(`POST /v1/checkpoints HTTP/1.1\r\n${head}content-length: ${body.length}\r\n\r\n${body}`);
        const [chunk] = await once(socket, 'data');
        if (!String(chunk).startsWith('HTTP/1.1 503')) continue;
        expect(String(chunk)).not.toMatch(/connection: close/i);
        refusals += 1;
      }
      socket.destroy();
      return filling;
    }).then((filling) => Promise.all(filling));
  });
});
