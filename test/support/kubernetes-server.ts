/**
 * As much of a Kubernetes API server as a halt touches, with a Job controller: for what a real one of an old version lacks
 * (a Job's `suspend`) and for what no real one does (hostile answers). Held to the real one by running the
 * same cases on both (describe-kubernetes.ts).
 *
 * There is no kubelet: a pod that has a node stays, with a deletionTimestamp, until it is deleted with no grace.
 */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { selfSigned } from './self-signed.ts';

type Json = Record<string, unknown>;
export interface Stored {
  metadata: Json & { name: string; uid: string; labels?: Record<string, string> };
  spec: Json;
  status: Json;
  [key: string]: unknown;
}

export interface Reply {
  status: number;
  body?: unknown;
  text?: string;
  headers?: Record<string, string>;
}
export type Ask = { method: string; path: string; query: URLSearchParams; body: Json; user: string | null };

export interface KubernetesServer {
  readonly url: string;
  readonly ca: string;
  /** Token to user. Only `admin` may do everything. */
  readonly tokens: Map<string, string>;
  /** What a user other than admin may do. */
  may: (ask: { user: string; verb: string; resource: string }) => boolean;
  /** Answers in place of the server; undefined lets it answer itself. A promise that never settles hangs. */
  intercept: (ask: Ask) => Reply | undefined | Promise<Reply>;
  readonly asked: string[];
  connections(): Promise<number>;
  close(): Promise<void>;
}

const VERBS: Readonly<Record<string, string>> = {
  GET: 'get',
  POST: 'create',
  PATCH: 'patch',
  DELETE: 'delete',
  PUT: 'update',
};
const GROUPS = new Set([
  'v1',
  'batch/v1',
  'apps/v1',
  'authorization.k8s.io/v1',
  'jobset.x-k8s.io/v1alpha2',
  'kubeflow.org/v1',
  'trainer.kubeflow.org/v1alpha1',
  'ray.io/v1',
  'kueue.x-k8s.io/v1beta1',
]);

export async function startKubernetesServer(): Promise<KubernetesServer> {
  const { key, cert } = selfSigned({ notAfter: new Date(Date.now() + 3_600_000) });
  /** By resource, namespace and name. */
  const store = new Map<string, Stored>();
  const server = createServer({ key, cert }, (request, response) => {
    handle(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;

  const self: KubernetesServer = {
    url: `https://127.0.0.1:${port}`,
    ca: cert,
    tokens: new Map([['admin-token', 'admin']]),
    may: () => false,
    intercept: () => undefined,
    asked: [],
    connections: () =>
      new Promise((resolve, reject) => {
        server.getConnections((error, count) => (error === null ? resolve(count) : reject(error)));
      }),
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const url = new URL(request.url ?? '/', 'https://server');
    const text = Buffer.concat(chunks).toString('utf8');
    const token = (request.headers.authorization ?? '').replace(/^Bearer /, '');
    const ask: Ask = {
      method: request.method ?? 'GET',
      path: url.pathname,
      query: url.searchParams,
      body: text === '' ? {} : (JSON.parse(text) as Json),
      user: self.tokens.get(token) ?? null,
    };
    self.asked.push(`${ask.method} ${ask.path}${url.search}`);
    const type = request.headers['content-type'] ?? '';
    const reply = (await self.intercept(ask)) ?? answer(ask, type);
    response.writeHead(reply.status, { 'content-type': 'application/json', ...reply.headers });
    response.end(reply.text ?? JSON.stringify(reply.body ?? {}));
  }

  function answer(ask: Ask, contentType: string): Reply {
    const { user, method, path, query, body } = ask;
    if (user === null) return status(401, 'Unauthorized');
    const match = /^\/apis?\/((?:[^/]+\/)?v[^/]+)(?:\/namespaces(?:\/([^/]+))?)?(?:\/(.+))?$/.exec(path);
    if (match === null || !GROUPS.has(match[1] ?? '')) {
      // The order of the real one: who has no right is not told what there is.
      return user === 'admin' || match === null
        ? { status: 404, text: '404 page not found', headers: { 'content-type': 'text/plain' } }
        : status(403, 'Forbidden');
    }
    const [resource = 'namespaces', name, sub] = (match[3] ?? '').split('/').filter((part) => part !== '');
    if (resource === 'selfsubjectaccessreviews') return review(user, body);
    const isNamespace = resource === 'namespaces';
    const namespace = isNamespace ? '' : (match[2] ?? '');
    const object = isNamespace ? match[2] : name;
    const verb =
      object !== undefined
        ? (VERBS[method] ?? '')
        : method === 'GET'
          ? 'list'
          : method === 'DELETE'
            ? 'deletecollection'
            : 'create';
    const right = sub === undefined ? resource : `${resource}/${sub}`;
    if (user !== 'admin' && !self.may({ user, verb, resource: right })) return status(403, 'Forbidden');
    const of = { resource, namespace, name: object ?? '' };
    if (verb === 'create') return create(of, body);
    if (verb === 'list') return list(of, query);
    if (verb === 'deletecollection') {
      const items = select(of, query);
      for (const item of items) remove({ ...of, name: item.metadata.name }, query);
      settle();
      return { status: 200, body: { kind: 'PodList', apiVersion: 'v1', metadata: {}, items } };
    }
    const found = store.get(keyOf(of));
    if (found === undefined) return missing(of);
    if (verb === 'get') return { status: 200, body: found };
    if (verb === 'delete') {
      remove(of, query);
      settle();
      return { status: 200, body: found };
    }
    if (method === 'PATCH' && contentType !== 'application/merge-patch+json')
      return status(400, 'BadRequest');
    const target = query.get('dryRun') === 'All' ? structuredClone(found) : found;
    merge(target, sub === 'scale' ? { spec: body['spec'] } : body);
    settle();
    return { status: 200, body: sub === 'scale' ? scaleOf(target) : target };
  }

  function create({ resource, namespace, name: _ }: Name, body: Json): Reply {
    const object = structuredClone(body) as unknown as Stored;
    const name = object.metadata.name;
    if (store.has(keyOf({ resource, namespace, name }))) return status(409, 'AlreadyExists');
    object.metadata.uid = randomUUID();
    object.metadata['creationTimestamp'] = new Date().toISOString();
    object.spec ??= {};
    object.status ??= resource === 'pods' ? { phase: 'Pending' } : {};
    store.set(keyOf({ resource, namespace, name }), object);
    settle();
    return { status: 201, body: object };
  }

  function list(of: Name, query: URLSearchParams): Reply {
    const items = select(of, query);
    const from = Number(query.get('continue') ?? '0');
    const limit = Number(query.get('limit') ?? items.length);
    const page = items.slice(from, from + limit);
    const more = from + limit < items.length;
    const kind = of.resource === 'pods' ? 'PodList' : 'WorkloadList';
    return {
      status: 200,
      body: { kind, metadata: more ? { continue: String(from + limit) } : {}, items: page },
    };
  }

  function select({ resource, namespace }: Name, query: URLSearchParams): Stored[] {
    const labels = termsOf(query.get('labelSelector'));
    const fields = termsOf(query.get('fieldSelector'));
    return [...store]
      .filter(([key]) => key.startsWith(`${resource}/${namespace}/`))
      .map(([, object]) => object)
      .filter((object) => labels.every((term) => holds(term, (key) => object.metadata.labels?.[key])))
      .filter((object) =>
        fields.every((term) =>
          holds(term, (key) =>
            key === 'metadata.name' ? object.metadata.name : String(object.status['phase']),
          ),
        ),
      );
  }

  /** A pod that has a node is its kubelet's to end. */
  function remove(of: Name, query: URLSearchParams): void {
    const object = store.get(keyOf(of));
    if (object === undefined) return;
    const grace = query.get('gracePeriodSeconds');
    if (of.resource === 'pods' && typeof object.spec['nodeName'] === 'string' && grace !== '0') {
      object.metadata['deletionTimestamp'] ??= new Date().toISOString();
      object.metadata['deletionGracePeriodSeconds'] = Number(grace ?? '30');
    } else store.delete(keyOf(of));
  }

  /** The Job controller: as many pods as it says, none of a suspended or deleted Job, and no more of one that has ended. */
  function settle(): void {
    for (const [key, pod] of store) {
      const [resource, namespace = '', name = ''] = key.split('/');
      const job = pod.metadata.labels?.['controller-uid'];
      const isOrphan = job !== undefined && ![...store.values()].some(({ metadata }) => metadata.uid === job);
      if (resource === 'pods' && isOrphan) remove({ resource, namespace, name }, new URLSearchParams());
    }
    for (const [key, job] of store) {
      if (!key.startsWith('jobs/') || hasEnded(job)) continue;
      const [, namespace = ''] = key.split('/');
      const { name, uid } = job.metadata;
      const own = podsOfJob(namespace, name);
      const wanted = job.spec['suspend'] === true ? 0 : Number(job.spec['parallelism'] ?? 1);
      for (const pod of own.slice(wanted)) {
        remove({ resource: 'pods', namespace, name: pod.metadata.name }, new URLSearchParams());
      }
      for (let n = own.length; n < wanted; n += 1) {
        const template = structuredClone(job.spec['template']) as { spec: Json };
        const podName = `${name}-${randomUUID().slice(0, 5)}`;
        store.set(keyOf({ resource: 'pods', namespace, name: podName }), {
          metadata: {
            name: podName,
            uid: randomUUID(),
            labels: { 'job-name': name, 'controller-uid': uid },
            ownerReferences: [{ apiVersion: 'batch/v1', kind: 'Job', name, uid, controller: true }],
          },
          spec: template.spec,
          status: { phase: 'Pending' },
        });
      }
    }
  }

  function podsOfJob(namespace: string, name: string): Stored[] {
    return [...store]
      .filter(([key]) => key.startsWith(`pods/${namespace}/`))
      .map(([, pod]) => pod)
      .filter(
        ({ metadata, status: { phase } }) =>
          metadata.labels?.['job-name'] === name &&
          phase !== 'Succeeded' &&
          phase !== 'Failed' &&
          metadata['deletionTimestamp'] === undefined,
      );
  }

  function review(user: string, body: Json): Reply {
    const { resourceAttributes: at = {} } = body['spec'] as { resourceAttributes?: Record<string, string> };
    const resource =
      at['subresource'] === undefined ? at['resource'] : `${at['resource']}/${at['subresource']}`;
    const allowed = user === 'admin' || self.may({ user, verb: at['verb'] ?? '', resource: resource ?? '' });
    return { status: 201, body: { ...body, status: { allowed } } };
  }

  return self;
}

interface Name {
  resource: string;
  namespace: string;
  name: string;
}

/** By its conditions, as a controller reads them. */
function hasEnded({ status: { conditions } }: Stored): boolean {
  const all: { type?: unknown; status?: unknown }[] = Array.isArray(conditions) ? conditions : [];
  return all.some(({ type, status: is }) => (type === 'Complete' || type === 'Failed') && is === 'True');
}

const keyOf = ({ resource, namespace, name }: Name): string => `${resource}/${namespace}/${name}`;

function status(code: number, reason: string, details: Json = {}): Reply {
  return {
    status: code,
    body: { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason, details, code, message: reason },
  };
}

function missing({ resource, name }: Name): Reply {
  return status(404, 'NotFound', { name, kind: resource });
}

function scaleOf({ metadata, spec }: Stored): Json {
  const replicas = spec['replicas'];
  return { kind: 'Scale', metadata, spec: replicas === 0 ? {} : { replicas } };
}

/** RFC 7386. */
function merge(into: Json, patch: Json): void {
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete into[key];
    else if (typeof value === 'object' && !Array.isArray(value)) {
      into[key] ??= {};
      merge(into[key] as Json, value as Json);
    } else into[key] = value;
  }
}

/** On the commas outside parentheses. */
function termsOf(selector: string | null): string[] {
  return selector === null ? [] : selector.split(/,(?![^(]*\))/);
}

function holds(term: string, read: (key: string) => string | undefined): boolean {
  const within = /^(\S+) in \(([^)]*)\)$/.exec(term);
  if (within !== null) return (within[2] ?? '').split(',').includes(read(within[1] ?? '') ?? '');
  const [key = '', value] = term.split(/!?=/);
  if (value === undefined) return read(key) !== undefined;
  return (read(key) === value) !== term.includes('!=');
}
