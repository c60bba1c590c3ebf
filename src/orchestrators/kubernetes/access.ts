/**
 * How a cluster of interlock.yaml is reached: its address, what to trust, and what to show for ourselves.
 *
 * Everything is read at every use, so that a token or certificate that was rotated counts at once. The kubeconfig is
 * read here and not by the client library, whose own reading passes over `tokenFile`, starts the programs that `exec`
 * names, and takes `insecure-skip-tls-verify` at its word. What we do not do is refused by name, never passed over.
 */

import { readFile, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import type { KubernetesCluster } from '../../config/orchestrators-kubernetes.ts';
import { withoutTrailingSlashes } from '../../outbound/base-url.ts';
import type { OutboundTls } from '../../outbound/outbound.ts';

export interface ClusterAccess {
  /** Without a slash at its end. */
  readonly server: string;
  readonly tls: OutboundTls;
  readonly headers: Readonly<Record<string, string>>;
}

export type AccessResult =
  | { readonly ok: true; readonly access: ClusterAccess }
  | { readonly ok: false; readonly reason: string };

export interface AccessDeps {
  /** The value of an environment variable, `env:NAME`. */
  readonly variable: (reference: string) => string | undefined;
  /** Another place for the files of a pod's service account. */
  readonly serviceAccountRoot?: string;
}

const FILE_BYTES_MAX = 1_048_576;
const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

/** What stands in the way, said without a word of any file's content. */
class Obstacle extends Error {}

export async function readAccess(cluster: KubernetesCluster, deps: AccessDeps): Promise<AccessResult> {
  try {
    const access = 'kubeconfig' in cluster ? await fromKubeconfig(cluster) : await fromPod(deps);
    return { ok: true, access };
  } catch (error) {
    const reason = error instanceof Obstacle ? error.message : 'its access cannot be read';
    return { ok: false, reason };
  }
}

async function fromPod({
  variable,
  serviceAccountRoot = SERVICE_ACCOUNT,
}: AccessDeps): Promise<ClusterAccess> {
  const host = variable('env:KUBERNETES_SERVICE_HOST');
  const port = variable('env:KUBERNETES_SERVICE_PORT');
  if (!host || !port) throw new Obstacle('KUBERNETES_SERVICE_HOST is not set: Interlock runs in no pod');
  const [token, ca] = await Promise.all([
    readText(join(serviceAccountRoot, 'token'), 'the service account token'),
    readText(join(serviceAccountRoot, 'ca.crt'), 'the certificate of the cluster'),
  ]);
  return {
    server: httpsOrigin(`https://${host.includes(':') ? `[${host}]` : host}:${port}`),
    tls: { ca },
    headers: bearer(token),
  };
}

const refusedHere = z.never().optional();

const kubeconfigSchema = z.object({
  'current-context': z.string().optional(),
  contexts: z.array(z.object({ name: z.string(), context: z.unknown().optional() })).default([]),
  clusters: z.array(z.object({ name: z.string(), cluster: z.unknown().optional() })).default([]),
  users: z.array(z.object({ name: z.string(), user: z.unknown().optional() })).default([]),
});

const contextSchema = z.object({ cluster: z.string(), user: z.string() });

const clusterSchema = z.object({
  server: z.string(),
  'certificate-authority': z.string().optional(),
  'certificate-authority-data': z.string().optional(),
  'tls-server-name': z.string().optional(),
  'insecure-skip-tls-verify': z.literal(false).optional(),
  'proxy-url': refusedHere,
});

const userSchema = z.object({
  token: z.string().optional(),
  tokenFile: z.string().optional(),
  'client-certificate': z.string().optional(),
  'client-certificate-data': z.string().optional(),
  'client-key': z.string().optional(),
  'client-key-data': z.string().optional(),
  exec: refusedHere,
  'auth-provider': refusedHere,
  username: refusedHere,
  password: refusedHere,
  as: refusedHere,
  'as-uid': refusedHere,
  'as-groups': refusedHere,
  'as-user-extra': refusedHere,
});

async function fromKubeconfig(cluster: {
  readonly kubeconfig: string;
  readonly context?: string | undefined;
}): Promise<ClusterAccess> {
  const file = kubeconfigSchema.safeParse(parseYaml(await readText(cluster.kubeconfig, 'the kubeconfig')));
  if (!file.success) throw new Obstacle('the kubeconfig is not a kubeconfig');
  const contextName = cluster.context ?? file.data['current-context'];
  if (contextName === undefined) throw new Obstacle('the kubeconfig has no current-context');
  const context = file.data.contexts.find(({ name }) => name === contextName);
  if (context === undefined) throw new Obstacle('the kubeconfig has no such context');
  const { cluster: clusterName, user: userName } = section(contextSchema, 'context', context.context);
  const stated = file.data.clusters.find(({ name }) => name === clusterName);
  const user = file.data.users.find(({ name }) => name === userName);
  const to = section(clusterSchema, 'cluster', stated?.cluster);
  const as = section(userSchema, 'user', user?.user ?? {});

  const from = dirname(cluster.kubeconfig);
  const read = async (data: string | undefined, path: string | undefined, what: string) => {
    if (data !== undefined) return Buffer.from(data, 'base64').toString('utf8');
    return path === undefined ? undefined : readText(resolve(from, path), what);
  };
  const [ca, cert, key, token] = await Promise.all([
    read(to['certificate-authority-data'], to['certificate-authority'], 'the certificate-authority'),
    read(as['client-certificate-data'], as['client-certificate'], 'the client-certificate'),
    read(as['client-key-data'], as['client-key'], 'the client-key'),
    // As kubectl has it: the file is what counts where both are given, since that is what gets rotated.
    as.tokenFile === undefined ? as.token : readText(resolve(from, as.tokenFile), 'the tokenFile'),
  ]);
  if (token === undefined && (cert === undefined || key === undefined)) {
    throw new Obstacle('the kubeconfig names neither a token nor a client certificate with its key');
  }
  return {
    server: httpsOrigin(to.server),
    tls: {
      ...(ca === undefined ? {} : { ca }),
      ...(to['tls-server-name'] === undefined ? {} : { servername: to['tls-server-name'] }),
      ...(cert === undefined || key === undefined ? {} : { cert, key }),
    },
    headers: token === undefined ? {} : bearer(token),
  };
}

function section<T extends z.ZodType>(schema: T, what: string, value: unknown): z.output<T> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const field = issue?.path.length ? `${what}.${issue.path.join('.')}` : what;
  throw new Obstacle(`the kubeconfig's ${field} is missing, wrong, or not supported`);
}

function parseYaml(text: string): unknown {
  try {
    return parse(text, { maxAliasCount: 0 });
  } catch {
    throw new Obstacle('the kubeconfig is not YAML');
  }
}

function httpsOrigin(server: string): string {
  const url = URL.canParse(server) ? new URL(server) : null;
  if (url === null || url.protocol !== 'https:' || url.username !== '' || url.search !== '') {
    throw new Obstacle('the address of the cluster must be an https URL without credentials or query');
  }
  return withoutTrailingSlashes(url.href.split('#', 1)[0] ?? '');
}

function bearer(text: string): Record<string, string> {
  const token = text.trim();
  if (!/^[\x21-\x7e]{1,16384}$/.test(token)) throw new Obstacle('the token is empty or not printable ASCII');
  return { authorization: `Bearer ${token}` };
}

async function readText(path: string, what: string): Promise<string> {
  try {
    const { size } = await stat(path);
    if (size > FILE_BYTES_MAX) throw new Obstacle(`${what} is longer than ${FILE_BYTES_MAX} bytes`);
    return await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Obstacle) throw error;
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
    throw new Obstacle(`${what} cannot be read (${code})`);
  }
}
