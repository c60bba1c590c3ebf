/**
 * Sessions of the status page: a person shows a token once and then has a cookie that is good for the page alone.
 *
 * No route of the API takes it, so a forged request has nothing to ride on. The cookie is 256 random bits that only
 * this process's memory knows by their hash: a restart signs everybody out. It is HttpOnly, SameSite=Strict, and
 * where people come by https Secure and bound to this host (`__Host-`). A session ends after twelve hours, at sign-out,
 * and as soon as the credential it was opened with would not be let in any more. Who opens many loses the oldest.
 */
import { createHash, createHmac, randomBytes } from 'node:crypto';
import type { Identity } from '../config/identities.ts';
import type { Authenticated } from './authentication.ts';

export interface Sessions {
  /** The Set-Cookie of a new session. */
  open(authenticated: Authenticated): string;
  find(cookies: string | undefined): Identity | null;
  /** Ends it here and in the browser. */
  close(cookies: string | undefined): string;
  readonly size: number;
}

const LIFE_MS = 12 * 3_600_000;
const SESSIONS_MAX = 1_000;
const PER_IDENTITY_MAX = 20;
const VALUE = /^[A-Za-z0-9_-]{43}$/;

interface Session {
  readonly authenticated: Authenticated;
  readonly expiresAtMs: number;
}

export function createSessions({
  isSecure,
  now = () => new Date(),
}: {
  /** Whether people reach the page by https. */
  isSecure: () => boolean;
  now?: () => Date;
}): Sessions {
  const key = randomBytes(32);
  const sessions = new Map<string, Session>();
  const name = (): string => (isSecure() ? '__Host-interlock' : 'interlock-session');
  /** Looked up by a keyed hash: the time it takes says nothing about what is stored. */
  const keyOf = (value: string): string =>
    createHmac('sha256', key).update(createHash('sha256').update(value).digest()).digest('base64');

  function valueIn(cookies: string | undefined): string | null {
    const values = (cookies ?? '').split(';').flatMap((pair) => {
      const at = pair.indexOf('=');
      return at > 0 && pair.slice(0, at).trim() === name() ? [pair.slice(at + 1).trim()] : [];
    });
    const [value, ...more] = values;
    return value !== undefined && more.length === 0 && VALUE.test(value) ? value : null;
  }

  function isGood({ authenticated, expiresAtMs }: Session): boolean {
    return now().getTime() < expiresAtMs && authenticated.isCurrent();
  }

  function makeRoom(identityId: string): void {
    for (const [id, session] of sessions) if (!isGood(session)) sessions.delete(id);
    const own = [...sessions].filter(([, { authenticated }]) => authenticated.identity.id === identityId);
    for (const [id] of own.slice(0, Math.max(0, own.length - PER_IDENTITY_MAX + 1))) sessions.delete(id);
    for (const id of sessions.keys()) {
      if (sessions.size < SESSIONS_MAX) break;
      sessions.delete(id);
    }
  }

  const cookie = (value: string, ageS: number): string =>
    `${name()}=${value}; Path=/; HttpOnly; SameSite=Strict; Max-Age=${ageS}${isSecure() ? '; Secure' : ''}`;

  return {
    open(authenticated) {
      makeRoom(authenticated.identity.id);
      const value = randomBytes(32).toString('base64url');
      sessions.set(keyOf(value), { authenticated, expiresAtMs: now().getTime() + LIFE_MS });
      return cookie(value, LIFE_MS / 1000);
    },
    find(cookies) {
      const value = valueIn(cookies);
      if (value === null) return null;
      const id = keyOf(value);
      const session = sessions.get(id);
      if (session === undefined) return null;
      if (isGood(session)) return session.authenticated.identity;
      sessions.delete(id);
      return null;
    },
    close(cookies) {
      const value = valueIn(cookies);
      if (value !== null) sessions.delete(keyOf(value));
      return cookie('', 0);
    },
    get size() {
      return sessions.size;
    },
  };
}
