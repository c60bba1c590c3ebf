/**
 * Policies by name (as configured now) and by digest (as pinned by runs, from the ledger).
 *
 * A policy is recorded in the ledger, under its digest, before the first run pins it: whoever has the ledger
 * has every policy that ever decided anything.
 */
import { readdir, readFile } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { z } from 'zod';
import { readStrictYaml } from '../config/yaml-file.ts';
import { type Json, plainJson } from '../domain/canonical-json.ts';
import { checkPolicy, type PolicyCheck, type PolicyProblem } from '../domain/policy/check.ts';
import { type Policy, PolicySchema } from '../domain/policy/schema.ts';
import { InterlockError } from '../errors.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { digestOf } from './digest.ts';

export interface PinnedPolicy {
  readonly digest: string;
  readonly policy: Policy;
}

export interface PolicyBook {
  readonly names: readonly string[];
  byName(name: string): PinnedPolicy | null;
  byDigest(digest: string): Promise<Policy>;
  /** Makes sure the ledger holds it. Idempotent. */
  record(pinned: PinnedPolicy, actor: string): Promise<void>;
}

export const policyStream = (digest: string): string => `policy-${digest}`;
export const PolicyStateSchema = z.object({ policy: PolicySchema });

/** The policy as plain data, which is what is hashed, recorded and pinned. */
export function policyJson(policy: Policy): Json {
  return plainJson(policy);
}

export function pin(policy: Policy): PinnedPolicy {
  return { policy, digest: digestOf(policyJson(policy)) };
}

export type FileCheck =
  | { readonly file: string; readonly check: PolicyCheck }
  | {
      readonly file: string;
      readonly check: {
        readonly ok: false;
        readonly problems: readonly PolicyProblem[];
        readonly warnings: readonly [];
      };
    };

export async function checkPolicyFile(file: string): Promise<FileCheck> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    throw new InterlockError(`cannot read the policy ${file}`, { code: 'policy.unreadable', cause: error });
  }
  const yaml = readStrictYaml(text);
  if (!yaml.ok) {
    const problems = yaml.problems.map(({ line, message }) => ({
      path: line === null ? '' : `line ${line}`,
      message,
    }));
    return { file, check: { ok: false, problems, warnings: [] } };
  }
  return { file, check: checkPolicy(yaml.yaml.value) };
}

/** Every policy of the directory, or one error that names every problem of every file. */
export async function loadPolicies(directory: string): Promise<PinnedPolicy[]> {
  let names: string[];
  try {
    names = (await readdir(directory)).filter((name) => ['.yaml', '.yml'].includes(extname(name))).sort();
  } catch (error) {
    throw new InterlockError(`cannot read the policies directory ${directory}`, {
      code: 'policy.unreadable',
      cause: error,
    });
  }
  const problems: string[] = [];
  const loaded: PinnedPolicy[] = [];
  for (const name of names) {
    const file = join(directory, name);
    const { check } = await checkPolicyFile(file);
    if (!check.ok) {
      problems.push(...check.problems.map(({ path, message }) => `  ${file}: ${path} ${message}`));
      continue;
    }
    const expected = basename(name, extname(name));
    if (check.policy.policy !== expected) {
      problems.push(`  ${file}: policy must be named as its file, ${expected}`);
    }
    loaded.push(pin(check.policy));
  }
  if (problems.length > 0) {
    throw new InterlockError(`the policies have problems:\n${problems.join('\n')}`, {
      code: 'policy.invalid',
    });
  }
  return loaded;
}

export function createPolicyBook(ledger: Ledger, configured: readonly PinnedPolicy[]): PolicyBook {
  const known = new Map(configured.map(({ digest, policy }) => [digest, policy]));
  const recorded = new Set<string>();
  return {
    names: configured.map(({ policy }) => policy.policy),
    byName: (name) => configured.find(({ policy }) => policy.policy === name) ?? null,
    async byDigest(digest) {
      const cached = known.get(digest);
      if (cached !== undefined) return cached;
      const stream = await ledger.load(policyStream(digest));
      if (stream === null) {
        throw new InterlockError(`the ledger holds no policy ${digest}`, { code: 'policy.unknown' });
      }
      const { policy } = PolicyStateSchema.parse(stream.state);
      known.set(digest, policy);
      return policy;
    },
    async record(pinned, actor) {
      if (recorded.has(pinned.digest)) return;
      const data = { policy: policyJson(pinned.policy) };
      // A version conflict means that it is there already: the stream's name is the content.
      await ledger.append({
        stream: policyStream(pinned.digest),
        expectedVersion: 0,
        events: [{ kind: 'PolicyRecorded', data }],
        actor,
        snapshot: { state: data, dueAt: null },
        views: [],
      });
      recorded.add(pinned.digest);
      known.set(pinned.digest, pinned.policy);
    },
  };
}
