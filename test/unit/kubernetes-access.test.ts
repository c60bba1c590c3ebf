import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readAccess } from '../../src/orchestrators/kubernetes/access.ts';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'interlock-access-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const SECRET = 'secret-7f3a';
const noVariable = { variable: () => undefined };
const base64 = (text: string): string => Buffer.from(text).toString('base64');

interface Parts {
  cluster?: object;
  user?: object;
  top?: object;
}

function write({ cluster = {}, user = { token: SECRET }, top = {} }: Parts): string {
  const file = join(directory, 'config');
  writeFileSync(
    file,
    JSON.stringify({
      'current-context': 'here',
      contexts: [{ name: 'here', context: { cluster: 'c', user: 'u' } }],
      clusters: [{ name: 'c', cluster: { server: 'https://10.0.0.1:6443/', ...cluster } }],
      users: [{ name: 'u', user }],
      ...top,
    }),
  );
  return file;
}

describe('access to a Kubernetes cluster', () => {
  test('is read from a kubeconfig, with files beside it, and read again each time', async () => {
    writeFileSync(join(directory, 'ca.pem'), 'CA');
    writeFileSync(join(directory, 'token'), 'first\n');
    const kubeconfig = write({
      cluster: { 'certificate-authority': 'ca.pem', 'tls-server-name': 'kubernetes' },
      user: { tokenFile: 'token', token: 'stale' },
    });
    expect(await readAccess({ kubeconfig }, noVariable)).toEqual({
      ok: true,
      access: {
        server: 'https://10.0.0.1:6443',
        tls: { ca: 'CA', servername: 'kubernetes' },
        headers: { authorization: 'Bearer first' },
      },
    });
    writeFileSync(join(directory, 'token'), 'second');
    expect(await readAccess({ kubeconfig }, noVariable)).toMatchObject({
      access: { headers: { authorization: 'Bearer second' } },
    });
  });

  test('by a client certificate carries no token', async () => {
    const user = { 'client-certificate-data': base64('CERT'), 'client-key-data': base64('KEY') };
    expect(await readAccess({ kubeconfig: write({ user }) }, noVariable)).toMatchObject({
      ok: true,
      access: { tls: { cert: 'CERT', key: 'KEY' }, headers: {} },
    });
  });

  test('of the pod that Interlock runs in is its service account', async () => {
    writeFileSync(join(directory, 'ca.crt'), 'CA');
    writeFileSync(join(directory, 'token'), 'pod-token');
    const env: Record<string, string> = {
      'env:KUBERNETES_SERVICE_HOST': 'fd00::1',
      'env:KUBERNETES_SERVICE_PORT': '443',
    };
    const deps = { variable: (name: string) => env[name], serviceAccountRoot: directory };
    expect(await readAccess({ inCluster: true }, deps)).toMatchObject({
      ok: true,
      access: {
        server: 'https://[fd00::1]',
        tls: { ca: 'CA' },
        headers: { authorization: 'Bearer pod-token' },
      },
    });
    expect(await readAccess({ inCluster: true }, noVariable)).toMatchObject({ ok: false });
  });

  test.each<[string, Parts, RegExp]>([
    [
      'does not verify',
      { cluster: { 'insecure-skip-tls-verify': true } },
      /cluster.insecure-skip-tls-verify/,
    ],
    ['goes by a proxy', { cluster: { 'proxy-url': 'http://proxy' } }, /cluster.proxy-url/],
    ['speaks in the clear', { cluster: { server: 'http://10.0.0.1' } }, /must be an https URL/],
    [
      'has a password in its address',
      { cluster: { server: `https://u:${SECRET}@10.0.0.1` } },
      /must be an https URL/,
    ],
    ['starts a program', { user: { exec: { command: '/bin/sh' } } }, /user.exec/],
    ['asks a provider', { user: { 'auth-provider': { name: 'oidc' } } }, /user.auth-provider/],
    ['has a password', { user: { username: 'u', password: SECRET } }, /user.username/],
    ['acts as another', { user: { token: SECRET, as: 'admin' } }, /user.as/],
    ['has no credential', { user: {} }, /neither a token nor a client certificate/],
    ['has an empty token', { user: { token: ' ' } }, /token is empty/],
    ['has a token of two lines', { user: { token: `${SECRET}\nx-header: y` } }, /not printable ASCII/],
    [
      'names a file that is not there',
      { user: { tokenFile: 'nowhere' } },
      /tokenFile cannot be read \(ENOENT\)/,
    ],
    ['names no context', { top: { 'current-context': undefined } }, /no current-context/],
    ['names a context that is not there', { top: { contexts: [] } }, /no such context/],
    ['names a cluster that is not there', { top: { clusters: [] } }, /cluster is missing/],
    ['is something else', { top: { clusters: SECRET } }, /not a kubeconfig/],
  ])('is refused where the kubeconfig %s', async (_, parts, reason) => {
    const result = await readAccess({ kubeconfig: write(parts) }, noVariable);
    expect(result).toMatchObject({ ok: false, reason: expect.stringMatching(reason) });
    expect(JSON.stringify(result)).not.toContain(SECRET);
  });

  test('is refused where there is no file, or one that is not YAML or too long', async () => {
    const kubeconfig = join(directory, 'odd');
    expect(await readAccess({ kubeconfig }, noVariable)).toMatchObject({
      reason: 'the kubeconfig cannot be read (ENOENT)',
    });
    writeFileSync(kubeconfig, `token: "${SECRET}`);
    expect(await readAccess({ kubeconfig }, noVariable)).toEqual({
      ok: false,
      reason: 'the kubeconfig is not YAML',
    });
    writeFileSync(kubeconfig, 'x'.repeat(2_000_000));
    expect(await readAccess({ kubeconfig }, noVariable)).toMatchObject({
      reason: expect.stringMatching(/longer than/),
    });
  });
});
