import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { hashToken } from '../../src/config/credentials.ts';
import { readIdentities } from '../../src/config/load.ts';
import { keepTokenUse, TOKEN_USE_FILE } from '../../src/config/token-use.ts';
import { createAuthenticator } from '../../src/http/authentication.ts';
import { type Said, say } from './cli-terminal.ts';

const HASH = `sha256:${'a'.repeat(64)}`;
const IDENTITIES = `# Reviewed each quarter.
identities:
  # The cluster in hall 2.
  - id: trainer # do not rename
    name: Training cluster
    roles: [trainer]
    webhookSecrets: ["env:TRAINER_SECRET"]
  - id: board
    name: Board
    groups: [board]
    tokenHashes: ["${HASH}"] # from before tokens had ends
`;

let directory: string;
let config: string;
let identities: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'interlock-tokens-'));
  config = join(directory, 'interlock.yaml');
  identities = join(directory, 'identities.yaml');
  await writeFile(config, 'policies: { default: p }\n');
  await writeFile(identities, IDENTITIES);
  await chmod(identities, 0o640);
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const call = (...argv: string[]): Promise<Said> => say([...argv, '--config', config]);
const Made = z.object({ id: z.string(), token: z.string(), expiresAt: z.string(), createdAt: z.string() });

describe('interlock token', () => {
  it('creates a token that is shown once, good at once, and ends; comments and mode stay', async () => {
    const { code, out } = await call(
      'token',
      'create',
      '--identity',
      'trainer',
      '--expires',
      '2d',
      '--note',
      'hall # 2',
      '--json',
    );
    expect(code).toBe(0);
    const made = Made.parse(JSON.parse(out));
    expect(Date.parse(made.expiresAt) - Date.parse(made.createdAt)).toBe(2 * 86_400_000);
    const text = await readFile(identities, 'utf8');
    expect(text).toContain(hashToken(made.token));
    expect(text).not.toContain(made.token);
    for (const comment of [
      '# Reviewed each quarter.',
      '# The cluster in hall 2.',
      '# do not rename',
      '# from before tokens had ends',
    ]) {
      expect(text).toContain(comment);
    }
    expect((await stat(identities)).mode & 0o777).toBe(0o640);
    expect((await readdir(directory)).sort()).toEqual(['identities.yaml', 'interlock.yaml']);

    const read = await readIdentities(identities, {
      TRAINER_SECRET: `whsec_${Buffer.alloc(32, 7).toString('base64')}`,
    });
    if (!read.ok) throw new Error('refused');
    const auth = createAuthenticator({ identities: read.identities });
    expect(auth.bearer(made.token, ['bearer']).identity.id).toBe('trainer');

    const use = keepTokenUse(directory, auth.lastUsed);
    await use.close();
    expect((await stat(join(directory, TOKEN_USE_FILE))).mode & 0o777).toBe(0o600);
    await writeFile(config, `policies: { default: p }\ndataDir: .\n`);
    const listed = await call('token', 'list', '--identity', 'trainer');
    expect(listed.out).toContain(made.id);
    expect(listed.out).toMatch(/expires soon .*\d{4}-\d\d-\d\dT\d\d:\d\d:00Z {2}hall # 2/);
    expect(listed.out).not.toContain('board');
  });

  it('revokes one or all, bare hashes too, and says where there was none', async () => {
    const one = Made.parse(JSON.parse((await call('token', 'create', '--identity', 'board', '--json')).out));
    const two = Made.parse(JSON.parse((await call('token', 'create', '--identity', 'board', '--json')).out));
    expect((await call('token', 'revoke', '--identity', 'board', '--id', one.id)).code).toBe(0);
    expect((await call('token', 'revoke', '--identity', 'board', '--id', one.id)).code).toBe(1);
    expect((await call('token', 'list', '--identity', 'board')).out).toContain(two.id);
    expect((await call('token', 'revoke', '--identity', 'board', '--all', '--json')).out).toContain(
      '"revoked": 2',
    );
    expect(await readFile(identities, 'utf8')).not.toMatch(/tokenHashes|tk_/);
    expect((await call('token', 'revoke', '--identity', 'board')).code).toBe(2);
  });

  it.each<[string, string[], RegExp]>([
    ['an identity that is not there', ['create', '--identity', 'eve'], /no identity eve/],
    ['a life of more than a year', ['create', '--identity', 'board', '--expires', '400d'], /366d/],
    ['no life at all', ['create', '--identity', 'board', '--expires', 'never'], /366d/],
  ])('refuses %s and changes nothing', async (_, argv, words) => {
    const { code, err } = await call('token', ...argv);
    expect([code, err]).toEqual([2, expect.stringMatching(words)]);
    expect(await readFile(identities, 'utf8')).toBe(IDENTITIES);
  });

  it('leaves a file alone that is not right as it is, and repeats nothing of it', async () => {
    const broken = `${IDENTITIES}rolez: whsec_verysecret\n`;
    await writeFile(identities, broken);
    const { code, err } = await call('token', 'create', '--identity', 'board');
    expect([code, await readFile(identities, 'utf8')]).toEqual([2, broken]);
    expect(err).not.toContain('verysecret');
  });

  it('changes what a symbolic link names, and not the link', async () => {
    const real = join(directory, 'real');
    await mkdir(real);
    await writeFile(join(real, 'ids.yaml'), IDENTITIES, { mode: 0o600 });
    await rm(identities);
    await symlink(join(real, 'ids.yaml'), identities);
    expect((await call('token', 'create', '--identity', 'board')).code).toBe(0);
    expect(await readFile(join(real, 'ids.yaml'), 'utf8')).toMatch(/tk_/);
  });
});
