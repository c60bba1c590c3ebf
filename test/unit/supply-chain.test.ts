/**
 * What is installed, and what installing may do: no scripts, no version below a known fix, a bill of materials.
 *
 * The floors are the versions that mend published advisories, looked up by hand (the audit command needs an endpoint
 * that not every registry has). A package that comes in by way of another is held to them as well.
 */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';

const root = new URL('../../', import.meta.url);
const read = (name: string): string => readFileSync(new URL(name, root), 'utf8');

const { packages } = z
  .object({
    packages: z.record(
      z.string(),
      z.object({
        version: z.string().optional(),
        dev: z.boolean().default(false),
        optional: z.boolean().default(false),
        devOptional: z.boolean().default(false),
        hasInstallScript: z.boolean().default(false),
      }),
    ),
  })
  .parse(JSON.parse(read('package-lock.json')));
const manifest = z
  .object({
    allowScripts: z.record(z.string(), z.boolean()),
    dependencies: z.record(z.string(), z.string()),
    devDependencies: z.record(z.string(), z.string()),
  })
  .parse(JSON.parse(read('package.json')));

const nameOf = (path: string): string =>
  path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
const locked = Object.entries(packages)
  .filter(([path]) => path !== '')
  .map(([path, entry]) => ({ path, name: nameOf(path), ...entry }));

function isAtLeast(version: string, floor: string): boolean {
  const parts = (text: string): number[] => (text.split('-')[0] ?? '').split('.').map(Number);
  const [have, want] = [parts(version), parts(floor)];
  for (const [index, least] of want.entries()) {
    const own = have[index] ?? 0;
    if (own !== least) return own > least;
  }
  return true;
}

/** The lowest version without a known hole, per major where a major has its own. */
const FLOORS: readonly (readonly [name: string, floor: string, why: string])[] = [
  ['fastify', '5.12.5', 'content-type and host spoofing advisories of 2025 and 2026'],
  ['@fastify/proxy-addr', '5.1.1', 'CVE-2026-92395'],
  ['undici', '7.29.0', 'smuggling, CRLF and redirect advisories of 2026'],
  ['ioredis', '6.0.0', 'prototype pollution by MOVED, values in traces'],
  ['bullmq', '6.7.0', 'LISTEN connection rebuilt, deadlock fixes'],
  ['jose', '6.0.0', 'older majors lack required claims'],
  ['fast-uri', '3.1.0', 'parsing advisories of the 2.x line'],
  ['msgpackr', '1.11.0', 'out-of-bounds reads before'],
];
const REFUSED = ['@fastify/http-proxy', '@fastify/reply-from', 'follow-redirects', 'request'];

describe('supply chain', () => {
  it.each(FLOORS)('%s is at %s or above (%s)', (name, floor) => {
    const found = locked.filter((entry) => entry.name === name);
    expect(found).not.toEqual([]);
    expect(found.filter(({ version = '0' }) => !isAtLeast(version, floor))).toEqual([]);
  });

  it('knows which of two versions is the lower', () => {
    expect(isAtLeast('7.28.9', '7.29.0')).toBe(false);
    expect(isAtLeast('7.29.0', '7.29.0')).toBe(true);
    expect(isAtLeast('8.0.0', '7.29.0')).toBe(true);
    expect(isAtLeast('10.0.0', '9.9.9')).toBe(true);
  });

  it('installs none of the packages that are not to be used here', () => {
    expect(locked.filter(({ name }) => REFUSED.includes(name))).toEqual([]);
  });

  it('pins every direct dependency to one exact version', () => {
    const loose = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies }).filter(
      ([, version]) => !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version),
    );
    expect(loose).toEqual([]);
  });

  it('runs no install script, and names every package that carries one as refused', () => {
    expect(read('.npmrc')).toMatch(/^ignore-scripts=true$/m);
    const carriers = [
      ...new Set(locked.filter((each) => each.hasInstallScript).map(({ name }) => name)),
    ].sort();
    const refused = Object.entries(manifest.allowScripts)
      .filter(([, allowed]) => !allowed)
      .map(([name]) => name)
      .sort();
    expect(refused).toEqual(carriers);
    expect(Object.values(manifest.allowScripts)).not.toContain(true);
  });

  it('writes a CycloneDX bill of materials that names all that runs in production and nothing else', async () => {
    const { stdout } = await promisify(execFile)('npm', ['run', '--silent', 'sbom'], {
      cwd: root,
      maxBuffer: 64 * 1024 * 1024,
    });
    const sbom = z
      .object({
        bomFormat: z.literal('CycloneDX'),
        components: z.array(z.object({ name: z.string(), version: z.string(), purl: z.string() })),
      })
      .parse(JSON.parse(stdout));
    const named = new Set(sbom.components.map(({ name, version }) => `${name}@${version}`));
    const runs = locked
      .filter(({ dev, optional, devOptional }) => !dev && !optional && !devOptional)
      .map(({ name, version }) => `${name}@${version}`);
    expect(runs.filter((each) => !named.has(each))).toEqual([]);
    // A dependency may itself depend on what is a tool here: @kubernetes/client-node on the types of Node.
    const needed = new Set(runs);
    const tools = Object.keys(manifest.devDependencies);
    expect(
      sbom.components.filter(
        ({ name, version }) => tools.includes(name) && !needed.has(`${name}@${version}`),
      ),
    ).toEqual([]);
  });
});
