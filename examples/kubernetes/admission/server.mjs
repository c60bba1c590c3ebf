/**
 * A validating admission webhook: what is labelled `interlock/run` is let in only where Interlock says that the run may start.
 *
 *   node server.mjs --url https://interlock.internal:8080 --token-file /etc/interlock/token \
 *     --cert /tls/tls.crt --key /tls/tls.key [--port 8443]
 *
 * Nothing but Node. Default-deny: every answer of Interlock's but 200, and none within five seconds, is a no; so is a review
 * that cannot be read. `failurePolicy: Fail` in webhook.yaml makes a webhook that is away a no as well.
 * Deletions and changes that stop something are none of its business: webhook.yaml asks about CREATE, and about UPDATE,
 * where what stands still (`suspend: true`, `parallelism: 0`, `replicas: 0`, being deleted) is let through whatever is said of
 * the run. A change that takes the label off, or puts another one on, is asked about for both runs.
 */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { parseArgs } from 'node:util';

const LABEL = 'interlock/run';
const RUN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const BODY_MAX = 3 * 1024 * 1024;
const ANSWER_MS = 5_000;

const { values: options } = parseArgs({
  options: {
    url: { type: 'string' },
    'token-file': { type: 'string' },
    cert: { type: 'string' },
    key: { type: 'string' },
    port: { type: 'string', default: '8443' },
    host: { type: 'string', default: '0.0.0.0' },
  },
});
for (const name of ['url', 'token-file', 'cert', 'key']) {
  if (options[name] === undefined) {
    console.error(`--${name} is missing`);
    process.exit(2);
  }
}

/** @returns {Promise<{ allowed: boolean, message: string }>} */
async function judge({ operation, object, oldObject }) {
  if (operation === 'DELETE') return { allowed: true, message: 'it is being deleted' };
  if (typeof object !== 'object' || object === null)
    return { allowed: false, message: 'the review holds no object' };
  const labels = [object, oldObject].map((each) => each?.metadata?.labels?.[LABEL]);
  const runs = [...new Set(labels)].filter((run) => run !== undefined && run !== null);
  if (runs.length === 0) return { allowed: true, message: `no label ${LABEL}` };
  if (isStandingStill(object)) return { allowed: true, message: 'it asks for nothing to run' };
  const answers = await Promise.all(runs.map(mayStart));
  return answers.find(({ allowed }) => !allowed) ?? answers[0];
}

async function mayStart(run) {
  if (typeof run !== 'string' || !RUN.test(run))
    return { allowed: false, message: `the label ${LABEL} names no run` };
  try {
    const answer = await fetch(`${options.url}/v1/runs/${run}/may-start`, {
      headers: { authorization: `Bearer ${readFileSync(options['token-file'], 'utf8').trim()}` },
      redirect: 'error',
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    const text = (await answer.text()).slice(0, 4096);
    if (answer.status === 200) return { allowed: true, message: `run ${run} may start` };
    return {
      allowed: false,
      message: `Interlock lets nothing of run ${run} start: ${detailOf(text) ?? answer.status}`,
    };
  } catch (error) {
    return { allowed: false, message: `Interlock cannot be asked about run ${run}: ${error.name}` };
  }
}

function isStandingStill({ spec, metadata }) {
  return (
    // No controller starts pods for it any more, and what waits for its end must be able to note it.
    typeof metadata?.deletionTimestamp === 'string' ||
    spec?.suspend === true ||
    spec?.runPolicy?.suspend === true ||
    spec?.parallelism === 0 ||
    spec?.replicas === 0
  );
}

function detailOf(text) {
  try {
    const { detail } = JSON.parse(text);
    return typeof detail === 'string' ? detail.slice(0, 500) : undefined;
  } catch {
    return undefined;
  }
}

async function bodyOf(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > BODY_MAX) throw new RangeError('the review is too long');
    chunks.push(chunk);
  }
  return JSON.parse(Buffer.concat(chunks).toString('utf8'));
}

const server = createServer(
  { cert: readFileSync(options.cert), key: readFileSync(options.key) },
  async (request, response) => {
    let review;
    try {
      review = await bodyOf(request);
    } catch {
      response.writeHead(400).end();
      return;
    }
    const uid = review?.request?.uid;
    const { allowed, message } = await judge(review?.request ?? {});
    console.log(JSON.stringify({ at: new Date().toISOString(), uid, allowed, message }));
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(
      JSON.stringify({
        apiVersion: 'admission.k8s.io/v1',
        kind: 'AdmissionReview',
        // Without a code a refusal comes out as 400, as if the object were malformed.
        response: { uid, allowed, status: allowed ? { message } : { code: 403, message } },
      }),
    );
  },
);
server.listen(Number(options.port), options.host, () => {
  console.log(JSON.stringify({ listening: server.address().port }));
});
