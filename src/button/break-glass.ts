/**
 * Printed codes that press the red button once each, for the day when the identity provider is down.
 *
 * 130 random bits in Crockford's base32, grouped to be typed, two characters of checksum against slips of the pen.
 * Stored as plain SHA-256: stretching and salts slow down whoever guesses, and there is nothing to guess in 130 bits.
 * A code opens nothing else, and is worth what its identity is worth on the day it is used: one that left the
 * configuration, or every group, presses nothing.
 *
 * Used once: a claim names the press before it is written down, and is made by giving a file that is written already a
 * name that may not exist, which only one process can and nobody sees half done. A claim whose press was never finished (the process died in between) is taken up by
 * the next use with the same press id, so that a crash costs nobody their code, and entering it twice changes nothing.
 * With a disk so full that no claim can be made the code presses all the same; it is remembered in memory alone.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import {
  closeSync,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { InterlockError } from '../errors.ts';
import { type ButtonFiles, makeButtonDirectories, syncDirectory } from './layout.ts';
import { isSameProcess, thisProcess } from './process-identity.ts';

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const RANDOM_CHARACTERS = 26;
const CHECK_CHARACTERS = 2;
const GROUP = 4;
const CODE = new RegExp(`^[${ALPHABET}]{${RANDOM_CHARACTERS + CHECK_CHARACTERS}}$`);
const CODES_MAX = 1_000;

const CodeSchema = z.strictObject({
  codeId: z.string().regex(/^bg_[0-9a-f]{12}$/),
  hash: z.string().regex(/^[0-9a-f]{64}$/),
  identity: z.string(),
  createdAt: z.iso.datetime(),
});
const FileSchema = z.strictObject({
  format: z.literal('interlock-break-glass/1'),
  codes: z.array(CodeSchema).max(CODES_MAX),
});
type StoredCode = z.infer<typeof CodeSchema>;

const ClaimSchema = z.object({
  pressId: z.string(),
  at: z.iso.datetime(),
  pid: z.int(),
  startTime: z.string().nullable(),
});
type Claim = z.infer<typeof ClaimSchema>;

// --- the code itself -----------------------------------------------------------------------------------

export function generateCode(): string {
  const random = Array.from(randomBytes(RANDOM_CHARACTERS), (byte) => ALPHABET[byte & 31]).join('');
  const code = random + checkOf(random);
  return (code.match(new RegExp(`.{${GROUP}}`, 'g')) ?? []).join('-');
}

function checkOf(random: string): string {
  const digest = createHash('sha256').update(`interlock-break-glass-check\n${random}`).digest();
  return `${ALPHABET[(digest[0] ?? 0) & 31]}${ALPHABET[(digest[1] ?? 0) & 31]}`;
}

/** As it was meant: case, spaces, dashes and the letters that look like digits do not matter. Null: no code. */
export function normaliseCode(typed: string): string | null {
  if (typed.length > 200) return null;
  const text = typed.toUpperCase().replaceAll(/[\s-]/g, '').replaceAll('O', '0').replaceAll(/[IL]/g, '1');
  if (!CODE.test(text)) return null;
  const random = text.slice(0, RANDOM_CHARACTERS);
  return text.slice(RANDOM_CHARACTERS) === checkOf(random) ? text : null;
}

function hashOf(normalised: string): string {
  return createHash('sha256').update(`interlock-break-glass/1\n${normalised}`).digest('hex');
}

// --- making, listing, revoking -------------------------------------------------------------------------

export interface ListedCode {
  readonly codeId: string;
  readonly identity: string;
  readonly createdAt: string;
  readonly usedAt: string | null;
}

/** The codes, to be shown once. */
export function createCodes(
  files: ButtonFiles,
  identity: string,
  count: number,
  now: Date,
): { codeId: string; code: string }[] {
  makeButtonDirectories(files);
  const stored = readCodes(files);
  const made = Array.from({ length: count }, () => generateCode()).map((code) => {
    const hash = hashOf(normaliseCode(code) ?? '');
    return {
      code,
      stored: { codeId: `bg_${hash.slice(0, 12)}`, hash, identity, createdAt: now.toISOString() },
    };
  });
  writeCodes(files, [...stored, ...made.map((each) => each.stored)]);
  return made.map(({ code, stored: { codeId } }) => ({ codeId, code }));
}

export function listCodes(files: ButtonFiles): ListedCode[] {
  return readCodes(files).map(({ codeId, identity, createdAt }) => ({
    codeId,
    identity,
    createdAt,
    usedAt: claimIn(files, `${codeId}.used`)?.at ?? null,
  }));
}

/** Which of these were there and are no more. */
export function revokeCodes(files: ButtonFiles, isMeant: (code: ListedCode) => boolean): string[] {
  const gone = new Set(
    listCodes(files)
      .filter(isMeant)
      .map(({ codeId }) => codeId),
  );
  if (gone.size > 0) {
    writeCodes(
      files,
      readCodes(files).filter(({ codeId }) => !gone.has(codeId)),
    );
  }
  return [...gone];
}

function readCodes({ codes: path }: ButtonFiles): StoredCode[] {
  let handle: number;
  try {
    handle = openSync(path, 'r');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw new InterlockError(`${path} cannot be read`, { code: 'break-glass.unreadable', cause: error });
  }
  try {
    if (process.platform !== 'win32' && (fstatSync(handle).mode & 0o077) !== 0) {
      throw new InterlockError(`${path} can be read by others than its owner: run chmod 600 on it`, {
        code: 'break-glass.exposed',
      });
    }
    return FileSchema.parse(JSON.parse(readFileSync(handle, 'utf8'))).codes;
  } catch (error) {
    if (error instanceof InterlockError) throw error;
    throw new InterlockError(`${path} is damaged`, { code: 'break-glass.unreadable' });
  } finally {
    closeSync(handle);
  }
}

function writeCodes({ codes: path }: ButtonFiles, codes: readonly StoredCode[]): void {
  const file = { format: 'interlock-break-glass/1', codes: [...codes] };
  if (codes.length > CODES_MAX) {
    throw new InterlockError(`there are too many codes (at most ${CODES_MAX}); revoke some`, {
      code: 'break-glass.too-many',
    });
  }
  const beside = `${path}.${process.pid}.new`;
  writeDurably(beside, 'w', `${JSON.stringify(file, null, 2)}\n`);
  renameSync(beside, path);
  syncDirectory(dirname(path));
}

// --- using ---------------------------------------------------------------------------------------------

export type CodeUse =
  | {
      readonly outcome: 'valid';
      readonly codeId: string;
      readonly identity: string;
      readonly pressId: string;
    }
  | { readonly outcome: 'used'; readonly codeId: string; readonly at: string; readonly pressId: string }
  | { readonly outcome: 'unknown' };

export interface BreakGlass {
  /** Whose code this is, used or not; claims nothing. */
  holder(typed: string): string | null;
  /** Claims the code for a press. What is wrong with the file of codes makes every code unknown. */
  claim(typed: string, pressId: string): CodeUse;
  /** The press is written down and sent: the code is spent. */
  spend(codeId: string): void;
}

export function openBreakGlass(files: ButtonFiles, clock: () => Date): BreakGlass {
  const spentHere = new Map<string, { at: string; pressId: string }>();
  return {
    holder: (typed) => find(files, typed)?.identity ?? null,
    claim(typed, pressId) {
      const code = find(files, typed);
      if (code === undefined) return { outcome: 'unknown' };
      const { codeId, identity } = code;
      const spent = spentHere.get(codeId) ?? claimIn(files, `${codeId}.used`);
      if (spent !== null && spent !== undefined) {
        return { outcome: 'used', codeId, at: spent.at, pressId: spent.pressId };
      }
      const claim = { pressId, at: clock().toISOString(), ...thisProcess() };
      const mine = join(files.usedCodes, `${codeId}.claim`);
      let isMine = false;
      let earlier: Claim | null = null;
      try {
        createWhole(mine, JSON.stringify(claim));
        isMine = true;
        syncDirectory(files.usedCodes);
      } catch {
        earlier = isMine ? null : claimIn(files, `${codeId}.claim`);
      }
      // Asked again, after the claim: another process may have claimed and spent the code since the first look, which
      // makes room for a claim of ours, or takes the one away that was in our way.
      const overtaken = claimIn(files, `${codeId}.used`);
      if (overtaken !== null) {
        if (isMine) clearAway(mine);
        return { outcome: 'used', codeId, at: overtaken.at, pressId: overtaken.pressId };
      }
      // Somebody presses with it in this moment; whoever died over it left the code to be used.
      if (earlier !== null && isSameProcess(earlier)) {
        return { outcome: 'used', codeId, at: earlier.at, pressId: earlier.pressId };
      }
      if (earlier !== null) return { outcome: 'valid', codeId, identity, pressId: earlier.pressId };
      spentHere.set(codeId, { at: claim.at, pressId });
      return { outcome: 'valid', codeId, identity, pressId };
    },
    spend(codeId) {
      const claimed = join(files.usedCodes, `${codeId}.claim`);
      try {
        renameSync(claimed, join(files.usedCodes, `${codeId}.used`));
        syncDirectory(files.usedCodes);
      } catch {
        // In memory at least; the claim, if there is one, is settled by the next use.
      }
    },
  };
}

function find(files: ButtonFiles, typed: string): StoredCode | undefined {
  const normalised = normaliseCode(typed);
  if (normalised === null) return undefined;
  const offered = Buffer.from(hashOf(normalised), 'hex');
  try {
    // Every code is looked at whatever matched before: the time taken tells nothing.
    const [match] = readCodes(files).filter(({ hash }) => timingSafeEqual(Buffer.from(hash, 'hex'), offered));
    return match;
  } catch {
    return undefined;
  }
}

function claimIn({ usedCodes }: ButtonFiles, name: string): Claim | null {
  try {
    if (!readdirSync(usedCodes).includes(name)) return null;
    return ClaimSchema.parse(JSON.parse(readFileSync(join(usedCodes, name), 'utf8')));
  } catch {
    // There and unreadable: torn by a crash, before its press was written down.
    return null;
  }
}

/** All of it under its name at once, and only if nobody has the name. */
function createWhole(path: string, text: string): void {
  const beside = `${path}.${process.pid}.new`;
  try {
    writeDurably(beside, 'w', text);
    linkSync(beside, path);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && LINKLESS.has(String(error.code)))) throw error;
    // A file system without links: the name alone is exclusive there, and its content comes a moment later.
    writeDurably(path, 'wx', text);
  } finally {
    clearAway(beside);
  }
}

/** A name that nobody looks for: that it stays must not cost a code its press. */
function clearAway(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // A disk that turned read-only in this moment.
  }
}

const LINKLESS = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS']);

function writeDurably(path: string, flags: 'w' | 'wx', text: string): void {
  const handle = openSync(path, flags, 0o600);
  try {
    writeSync(handle, text);
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
