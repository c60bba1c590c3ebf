/**
 * What kind of place an IP address is. Pure.
 *
 * Four classes: `public`; `private` (reached only where an allow entry names it); `loopback`; and
 * `forbidden`, which no configuration opens: link-local and cloud metadata, multicast, unspecified,
 * broadcast, deprecated transition ranges, and whatever IPv6 has not assigned. An IPv4 address inside an
 * IPv6 one (mapped, NAT64, 6to4) is judged by the IPv4 address, for that is where the packet goes.
 *
 * Fails closed: text that is not plainly an address is not one, and unknown IPv6 space is forbidden.
 */
import { isIPv4, isIPv6 } from 'node:net';

export type AddressClass = 'public' | 'private' | 'loopback' | 'forbidden';

export interface Address {
  family: 4 | 6;
  value: bigint;
}

export interface Cidr extends Address {
  prefix: number;
}

const IPV4_MAPPED = 0xffffn;

/** Reads dotted decimal or IPv6 text; a mapped IPv6 address comes back as the IPv4 address it means. */
export function parseAddress(text: string): Address | null {
  if (isIPv4(text)) return { family: 4, value: parseIpv4(text) };
  if (!isIPv6(text) || text.includes('%')) return null; // a zone names an interface, hence link-local
  const value = parseIpv6(text);
  return value >> 32n === IPV4_MAPPED ? { family: 4, value: low32(value) } : { family: 6, value };
}

function parseIpv4(text: string): bigint {
  return text.split('.').reduce((value, octet) => (value << 8n) | BigInt(octet), 0n);
}

function parseIpv6(text: string): bigint {
  // A dotted tail is two groups.
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  if (dotted !== null) {
    const tail = parseIpv4(dotted[2] ?? '');
    return parseIpv6(`${dotted[1]}${(tail >> 16n).toString(16)}:${(tail & 0xffffn).toString(16)}`);
  }
  const [left = '', right] = text.split('::');
  const head = left === '' ? [] : left.split(':');
  const tail = right === undefined || right === '' ? [] : right.split(':');
  const zeros = right === undefined ? 0 : 8 - head.length - tail.length;
  const groups = [...head, ...Array<string>(zeros).fill('0'), ...tail];
  return groups.reduce((value, group) => (value << 16n) | BigInt(`0x${group}`), 0n);
}

/** `address/prefix` without bits beyond the prefix; an address alone is not a CIDR. */
export function parseCidr(text: string): Cidr | null {
  const match = /^([^/]+)\/(\d{1,3})$/.exec(text);
  const address = match === null ? null : parseAddress(match[1] ?? '');
  const prefix = Number(match?.[2]);
  if (address === null || prefix > width(address)) return null;
  const hostBits = BigInt(width(address) - prefix);
  if ((address.value >> hostBits) << hostBits !== address.value) return null;
  return { ...address, prefix };
}

export function covers(cidr: Cidr, address: Address): boolean {
  if (cidr.family !== address.family) return false;
  const hostBits = BigInt(width(cidr) - cidr.prefix);
  return cidr.value >> hostBits === address.value >> hostBits;
}

export function classify(address: Address): AddressClass {
  return rangeOf(address)?.class ?? 'public';
}

/**
 * Whether an allow entry opens this address. A CIDR opens a private or loopback address only when it lies
 * inside that special range itself: `0.0.0.0/0` means the whole internet, never the network behind it.
 */
export function opens(cidr: Cidr, address: Address): boolean {
  if (!covers(cidr, address)) return false;
  const range = rangeOf(address);
  if (range === null) return true;
  return range.class !== 'forbidden' && cidr.prefix >= range.prefix;
}

/** Whether the entry lies wholly in forbidden space, so that listing it is a mistake. */
export function opensNothing(entry: Cidr): boolean {
  const range = rangeOf(entry);
  return range !== null && range.class === 'forbidden' && entry.prefix >= range.prefix;
}

interface SpecialRange {
  prefix: number;
  class: Exclude<AddressClass, 'public'>;
}

/** The IANA special-purpose registries, and the metadata services that live outside link-local. First match wins. */
const SPECIAL_RANGES: readonly (Cidr & SpecialRange)[] = (
  [
    ['0.0.0.0/8', 'forbidden'],
    ['10.0.0.0/8', 'private'],
    ['100.100.100.200/32', 'forbidden'], // metadata (Alibaba)
    ['100.64.0.0/10', 'private'],
    ['127.0.0.0/8', 'loopback'],
    ['168.63.129.16/32', 'forbidden'], // metadata (Azure)
    ['169.254.0.0/16', 'forbidden'],
    ['172.16.0.0/12', 'private'],
    ['192.0.0.0/24', 'forbidden'], // protocol assignments; metadata (Oracle)
    ['192.0.2.0/24', 'private'],
    ['192.88.99.0/24', 'forbidden'], // 6to4 relays
    ['192.168.0.0/16', 'private'],
    ['198.18.0.0/15', 'private'],
    ['198.51.100.0/24', 'private'],
    ['203.0.113.0/24', 'private'],
    ['224.0.0.0/4', 'forbidden'],
    ['240.0.0.0/4', 'forbidden'],
    ['::1/128', 'loopback'],
    ['fd00:ec2::254/128', 'forbidden'], // metadata (Amazon)
    ['fd20:ce::254/128', 'forbidden'], // metadata (Google)
    ['fc00::/7', 'private'],
    ['2001:db8::/32', 'private'],
    ['2001::/23', 'forbidden'], // Teredo and other protocol assignments
    ['3fff::/20', 'private'],
  ] as const
).map(([text, addressClass]) => {
  const cidr = parseCidr(text);
  if (cidr === null) throw new TypeError(`not a CIDR: ${text}`);
  return { ...cidr, class: addressClass };
});

const GLOBAL_UNICAST = cidr('2000::/3');

/** Ranges whose address carries an IPv4 address, `shift` bits from the right. */
const EMBEDDING_RANGES: readonly { range: Cidr; shift: bigint }[] = [
  { range: cidr('64:ff9b::/96'), shift: 0n }, // NAT64
  { range: cidr('::ffff:0:0:0/96'), shift: 0n }, // stateless translation
  { range: cidr('2002::/16'), shift: 80n }, // 6to4
];

function rangeOf(address: Address): SpecialRange | null {
  const embedding = EMBEDDING_RANGES.find(({ range }) => covers(range, address));
  if (embedding !== undefined) {
    const inner: Address = { family: 4, value: low32(address.value >> embedding.shift) };
    // A gateway must carry public addresses only (RFC 6052 3.1); nothing opens the others.
    return classify(inner) === 'public' ? null : { prefix: 128, class: 'forbidden' };
  }
  const special = SPECIAL_RANGES.find((range) => covers(range, address));
  if (special !== undefined) return special;
  if (address.family === 6 && !covers(GLOBAL_UNICAST, address)) return { prefix: 3, class: 'forbidden' };
  return null;
}

function cidr(text: string): Cidr {
  const parsed = parseCidr(text);
  if (parsed === null) throw new TypeError(`not a CIDR: ${text}`);
  return parsed;
}

function low32(value: bigint): bigint {
  return value & 0xffffffffn;
}

function width({ family }: Address): number {
  return family === 4 ? 32 : 128;
}
