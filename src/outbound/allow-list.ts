/**
 * The allow list: which destinations Interlock may call, decided before DNS by name and after DNS by address.
 *
 * Entries: `host`, `host:port`, `scheme://host[:port]`, a CIDR, `loopback`. A host entry opens a name, not
 * the network behind it: a listed name that resolves to a private address needs a CIDR for that address as
 * well, or whoever runs its DNS could point it inside (an address listed as the host, and `localhost`,
 * speak for themselves). A CIDR opens any name whose every address lies in it.
 *
 * Fails closed: an entry that cannot be read, or that could never match, is refused at start.
 */
import { InterlockError } from '../errors.ts';
import type { Address, Cidr } from './addresses.ts';
import { classify, opens, opensNothing, parseAddress, parseCidr } from './addresses.ts';

export interface Destination {
  scheme: 'http' | 'https';
  /** As the URL parser writes it (lower case, punycode, canonical IPv4), without the brackets of IPv6. */
  host: string;
  port: number;
}

interface HostEntry {
  host: string;
  scheme: Destination['scheme'] | null;
  port: number | null;
}

export interface AllowList {
  hosts: readonly HostEntry[];
  cidrs: readonly Cidr[];
  loopback: boolean;
}

export function parseAllowList(entries: readonly string[]): AllowList {
  const hosts: HostEntry[] = [];
  const cidrs: Cidr[] = [];
  let loopback = false;
  for (const entry of entries) {
    if (entry === 'loopback') loopback = true;
    else if (entry.includes('/') && !entry.includes('://')) cidrs.push(parseCidrEntry(entry));
    else hosts.push(parseHostEntry(entry));
  }
  return { hosts, cidrs, loopback };
}

const STAYS_CLOSED = 'link-local, metadata, multicast and reserved addresses are never allowed';

function parseCidrEntry(entry: string): Cidr {
  const cidr = parseCidr(entry);
  if (cidr === null)
    throw badEntry(entry, 'it is not a network such as 10.0.0.0/8 with no bits beyond the prefix');
  if (opensNothing(cidr)) throw badEntry(entry, STAYS_CLOSED);
  return cidr;
}

const HOST_ENTRY = /^(?:(https?):\/\/)?(\[[0-9a-f:.]+\]|[^\s:/?#@[\]*\\%]+)(?::(\d{1,5}))?$/i;

function parseHostEntry(entry: string): HostEntry {
  const text = parseAddress(entry)?.family === 6 ? `[${entry}]` : entry;
  const match = HOST_ENTRY.exec(text);
  if (match === null)
    throw badEntry(entry, 'it is not a host, host:port, http(s)://host[:port], network or "loopback"');
  const scheme = readScheme(match[1]);
  const host = canonicalHost(match[2] ?? '');
  const port = match[3] === undefined ? null : Number(match[3]);
  if (host === null || port === 0 || (port ?? 1) > 65_535)
    throw badEntry(entry, 'its host or port is not valid');
  const address = parseAddress(host);
  if (address !== null && classify(address) === 'forbidden') {
    throw badEntry(entry, STAYS_CLOSED);
  }
  // A scheme without a port means its own port, as in a URL.
  return { host, scheme, port: port ?? (scheme === null ? null : defaultPort(scheme)) };
}

function readScheme(text: string | undefined): Destination['scheme'] | null {
  if (text === undefined) return null;
  return text.toLowerCase() === 'https' ? 'https' : 'http';
}

function canonicalHost(text: string): string | null {
  try {
    return bareHost(new URL(`http://${text}/`).hostname);
  } catch {
    return null;
  }
}

export function bareHost(hostname: string): string {
  return hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
}

export function defaultPort(scheme: Destination['scheme']): number {
  return scheme === 'https' ? 443 : 80;
}

export type Admission =
  | { admitted: true }
  | { admitted: 'by-address'; named: boolean } // ask `admitAddresses` with what DNS says
  | { admitted: false; why: string };

/** Before any dial. Settles address literals, which never reach DNS. */
export function admit(list: AllowList, to: Destination): Admission {
  const named = list.hosts.some((entry) => matches(entry, to));
  const literal = parseAddress(to.host);
  if (literal !== null) {
    if (classify(literal) === 'forbidden') return { admitted: false, why: 'its address is never allowed' };
    return named || addressOpen(list, literal) ? { admitted: true } : NOT_LISTED;
  }
  const mayResolveInside = list.cidrs.length > 0 || (list.loopback && isLocalhost(to.host));
  return named || mayResolveInside ? { admitted: 'by-address', named } : NOT_LISTED;
}

const NOT_LISTED = { admitted: false, why: 'it is not in outbound.allow' } as const;

/**
 * At connect time, over every address of the answer. One that is not allowed spoils all, and so does a
 * mixture of classes: an honest name does not live both on the internet and behind it.
 */
export function admitAddresses(
  list: AllowList,
  to: Destination,
  named: boolean,
  answer: readonly string[],
): { admitted: true } | { admitted: false; why: string } {
  const addresses = answer.map(parseAddress);
  if (addresses.length === 0) return { admitted: false, why: 'its name has no address' };
  for (const address of addresses) {
    if (address === null)
      return { admitted: false, why: 'its name resolves to something that is no address' };
    const addressClass = classify(address);
    const open =
      addressOpen(list, address) ||
      (named && addressClass === 'public') ||
      (named && addressClass === 'loopback' && isLocalhost(to.host));
    if (!open)
      return { admitted: false, why: `its name resolves to a ${addressClass} address not in outbound.allow` };
  }
  const classes = new Set(addresses.map((address) => address && classify(address)));
  return classes.size === 1
    ? { admitted: true }
    : { admitted: false, why: 'its name resolves to public and internal addresses at once' };
}

function matches(entry: HostEntry, to: Destination): boolean {
  return (
    entry.host === to.host &&
    (entry.scheme === null || entry.scheme === to.scheme) &&
    (entry.port === null || entry.port === to.port)
  );
}

function addressOpen(list: AllowList, address: Address): boolean {
  if (list.loopback && classify(address) === 'loopback') return true;
  return list.cidrs.some((cidr) => opens(cidr, address));
}

function isLocalhost(host: string): boolean {
  return host === 'localhost' || host.endsWith('.localhost');
}

function badEntry(entry: string, why: string): InterlockError {
  return new InterlockError(`outbound.allow: ${JSON.stringify(entry)} is refused: ${why}`, {
    code: 'outbound.bad-allow-entry',
  });
}
