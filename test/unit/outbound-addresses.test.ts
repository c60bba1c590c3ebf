import { describe, expect, test } from 'vitest';
import { classify, covers, parseAddress, parseCidr } from '../../src/outbound/addresses.ts';
import type { Destination } from '../../src/outbound/allow-list.ts';
import { admit, admitAddresses, parseAllowList } from '../../src/outbound/allow-list.ts';

describe('address classes', () => {
  test.each<[string, string]>([
    ['8.8.8.8', 'public'],
    ['1.1.1.1', 'public'],
    ['172.15.255.255', 'public'],
    ['172.32.0.0', 'public'],
    ['2606:4700::1111', 'public'],
    ['10.0.0.1', 'private'],
    ['172.16.0.1', 'private'],
    ['172.31.255.255', 'private'],
    ['192.168.1.1', 'private'],
    ['100.64.0.1', 'private'],
    ['fd12:3456::1', 'private'],
    ['127.0.0.1', 'loopback'],
    ['127.255.255.254', 'loopback'],
    ['::1', 'loopback'],
    ['0.0.0.0', 'forbidden'],
    ['0.1.2.3', 'forbidden'],
    ['::', 'forbidden'],
    ['169.254.169.254', 'forbidden'],
    ['169.254.0.1', 'forbidden'],
    ['100.100.100.200', 'forbidden'],
    ['168.63.129.16', 'forbidden'],
    ['192.0.0.192', 'forbidden'],
    ['fd00:ec2::254', 'forbidden'],
    ['fd20:ce::254', 'forbidden'],
    ['fe80::1', 'forbidden'],
    ['fec0::1', 'forbidden'],
    ['ff02::1', 'forbidden'],
    ['224.0.0.1', 'forbidden'],
    ['239.255.255.255', 'forbidden'],
    ['255.255.255.255', 'forbidden'],
    ['240.0.0.1', 'forbidden'],
    ['2001::1', 'forbidden'], // Teredo
    ['4000::1', 'forbidden'], // unassigned
    ['::127.0.0.1', 'forbidden'], // IPv4-compatible
    ['64:ff9b:1::1', 'forbidden'], // local-use NAT64
    // The IPv4 address inside decides.
    ['::ffff:127.0.0.1', 'loopback'],
    ['::ffff:7f00:1', 'loopback'],
    ['::ffff:169.254.169.254', 'forbidden'],
    ['::ffff:10.0.0.1', 'private'],
    ['::ffff:8.8.8.8', 'public'],
    ['64:ff9b::8.8.8.8', 'public'],
    ['64:ff9b::169.254.169.254', 'forbidden'],
    ['64:ff9b::a00:1', 'forbidden'],
    ['2002:808:808::1', 'public'],
    ['2002:7f00:1::', 'forbidden'],
    ['2002:a9fe:a9fe::1', 'forbidden'],
    ['2002:c0a8:101::1', 'forbidden'],
    ['::ffff:0:127.0.0.1', 'forbidden'],
  ])('%s is %s', (text, expected) => {
    const address = parseAddress(text);
    expect(address && classify(address)).toBe(expected);
  });

  test.each([
    '',
    'localhost',
    '127.1',
    '0x7f.0.0.1',
    '0177.0.0.1',
    '2130706433',
    '1.2.3.4.5',
    '256.1.1.1',
    '::1%lo',
    '1::2::3',
    ' 1.2.3.4',
  ])('%j is no address', (text) => expect(parseAddress(text)).toBeNull());

  test.each([
    '10.0.0.0',
    '10.0.0.1/8',
    '10.0.0.0/33',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '::/129',
    '/8',
    '::ffff:10.0.0.0/104',
  ])('%j is no network', (text) => expect(parseCidr(text)).toBeNull());

  test('a network covers exactly its addresses', () => {
    const network = parseCidr('172.16.0.0/12');
    const inside = (text: string): boolean => {
      const address = parseAddress(text);
      return network !== null && address !== null && covers(network, address);
    };
    expect(['172.16.0.0', '172.31.255.255', '::ffff:172.20.0.1'].map(inside)).toEqual([true, true, true]);
    expect(['172.15.255.255', '172.32.0.0', '::ac10:0'].map(inside)).toEqual([false, false, false]);
  });
});

describe('the allow list', () => {
  const to = (url: string): Destination => {
    const { protocol, hostname, port } = new URL(url);
    const scheme = protocol === 'https:' ? 'https' : 'http';
    const fallback = scheme === 'https' ? 443 : 80;
    return { scheme, host: hostname.replace(/^\[|\]$/g, ''), port: port === '' ? fallback : Number(port) };
  };
  /** yes: at once; dns: as far as DNS agrees; no: at once. */
  const ask = (allow: string[], url: string): 'yes' | 'dns' | 'no' => {
    const { admitted } = admit(parseAllowList(allow), to(url));
    return admitted === true ? 'yes' : admitted === false ? 'no' : 'dns';
  };

  test.each<[string[], string, string]>([
    [[], 'https://example.com/', 'no'],
    [['example.com'], 'https://example.com/', 'dns'],
    [['Example.COM'], 'https://example.com:8443/', 'dns'],
    [['example.com'], 'https://api.example.com/', 'no'],
    [['example.com'], 'https://example.com.evil.test/', 'no'],
    [['example.com:8443'], 'https://example.com:8443/', 'dns'],
    [['example.com:8443'], 'https://example.com/', 'no'],
    [['example.com:80'], 'http://example.com/', 'dns'],
    [['example.com:80'], 'https://example.com/', 'no'],
    [['https://example.com'], 'https://example.com/', 'dns'],
    [['https://example.com'], 'http://example.com/', 'no'],
    [['https://example.com'], 'https://example.com:8443/', 'no'],
    [['https://example.com:8443'], 'https://example.com:8443/', 'dns'],
    [['bücher.example'], 'https://xn--bcher-kva.example/', 'dns'],
    [['bucher.example'], 'https://bücher.example/', 'no'],
    // Loopback, however it is written; the URL parser undoes octal, hex, decimal and short forms.
    [['loopback'], 'http://127.0.0.1:9000/', 'yes'],
    [['loopback'], 'http://[::1]:9000/', 'yes'],
    [['loopback'], 'http://localhost:9000/', 'dns'],
    [['loopback'], 'http://example.com/', 'no'],
    [['loopback'], 'http://10.0.0.1/', 'no'],
    [['127.0.0.1:9000'], 'http://127.0.0.1:9000/', 'yes'],
    [['127.0.0.1:9000'], 'http://127.0.0.1:9001/', 'no'],
    [['example.com'], 'http://127.0.0.1/', 'no'],
    [['example.com'], 'http://2130706433/', 'no'],
    [['example.com'], 'http://0x7f000001/', 'no'],
    [['example.com'], 'http://0177.0.0.1/', 'no'],
    [['example.com'], 'http://127.1/', 'no'],
    [['example.com'], 'http://[::ffff:127.0.0.1]/', 'no'],
    [['10.0.0.0/8'], 'http://10.1.2.3/', 'yes'],
    [['10.0.0.0/8'], 'http://0x0a010203/', 'yes'],
    [['10.0.0.0/8'], 'http://[::ffff:10.1.2.3]/', 'yes'],
    [['10.0.0.0/8'], 'http://11.1.2.3/', 'no'],
    [['10.0.0.0/8'], 'http://slurm.internal/', 'dns'],
    [['[fd12::1]:80'], 'http://[fd12::1]/', 'yes'],
    [['fd12::1'], 'http://[fd12:0:0::1]/', 'yes'],
    [['8.8.8.8'], 'https://8.8.8.8/', 'yes'],
    // The whole internet is not the network behind it.
    [['0.0.0.0/0'], 'http://8.8.8.8/', 'yes'],
    [['0.0.0.0/0'], 'http://10.0.0.1/', 'no'],
    [['0.0.0.0/0'], 'http://127.0.0.1/', 'no'],
    [['0.0.0.0/0', '::/0', 'loopback'], 'http://169.254.169.254/latest/meta-data/', 'no'],
    [['0.0.0.0/0', '::/0', 'loopback'], 'http://[::ffff:169.254.169.254]/', 'no'],
    [['0.0.0.0/0', '::/0', 'loopback'], 'http://[64:ff9b::a9fe:a9fe]/', 'no'],
    [['0.0.0.0/0', '::/0', 'loopback'], 'http://0.0.0.0/', 'no'],
    [['0.0.0.0/0', '::/0', 'loopback'], 'http://[::]/', 'no'],
    [['0.0.0.0/0', '::/0', 'loopback'], 'http://[fd00:ec2::254]/', 'no'],
    [['fd00::/8'], 'http://[fd00:ec2::254]/', 'no'],
    [['0.0.0.0/0', '::/0', 'loopback'], 'http://2852039166/', 'no'],
  ])('%j and %s: %s', (allow, url, expected) => expect(ask(allow, url)).toBe(expected));

  const resolved = (allow: string[], url: string, answer: string[]): boolean => {
    const list = parseAllowList(allow);
    const admission = admit(list, to(url));
    if (admission.admitted !== 'by-address') throw new Error('decided without DNS');
    return admitAddresses(list, to(url), admission.named, answer).admitted;
  };

  test.each<[string[], string, string[], boolean]>([
    [['a.test'], 'https://a.test/', ['8.8.8.8', '2606:4700::1'], true],
    [['a.test'], 'https://a.test/', [], false],
    [['a.test'], 'https://a.test/', ['10.0.0.1'], false],
    [['a.test'], 'https://a.test/', ['127.0.0.1'], false],
    [['a.test'], 'https://a.test/', ['169.254.169.254'], false],
    [['a.test'], 'https://a.test/', ['8.8.8.8', '10.0.0.1'], false],
    [['a.test'], 'https://a.test/', ['8.8.8.8', 'fe80::1%eth0'], false],
    [['a.test', '10.0.0.0/8'], 'https://a.test/', ['10.0.0.1'], true],
    [['a.test', '10.0.0.0/8'], 'https://a.test/', ['10.0.0.1', '192.168.0.1'], false],
    [['a.test', '10.0.0.0/8'], 'https://a.test/', ['8.8.8.8', '10.0.0.1'], false], // both allowed, still a mixture
    [['a.test', 'loopback'], 'https://a.test/', ['127.0.0.1'], true],
    [['a.test', '0.0.0.0/0'], 'https://a.test/', ['10.0.0.1'], false],
    [['localhost'], 'http://localhost/', ['127.0.0.1', '::1'], true],
    [['localhost'], 'http://localhost/', ['10.0.0.1'], false],
    [['loopback'], 'http://localhost/', ['8.8.8.8'], false],
    [['10.0.0.0/8'], 'http://any.test/', ['10.9.9.9'], true],
    [['10.0.0.0/8'], 'http://any.test/', ['8.8.8.8'], false],
    [['64:ff9b::/96'], 'http://any.test/', ['64:ff9b::a9fe:a9fe'], false],
  ])('%j and %s resolving to %j: %s', (allow, url, answer, expected) => {
    expect(resolved(allow, url, answer)).toBe(expected);
  });

  test.each([
    '',
    '*',
    '*.example.com',
    'ftp://example.com',
    'https://example.com/path',
    'https://user@example.com',
    'example.com:0',
    'example.com:70000',
    'example.com:http',
    '10.0.0.1/8',
    '10.0.0.0/40',
    '169.254.169.254',
    '169.254.0.0/16',
    'fe80::/10',
    '[fd00:ec2::254]',
    'http://169.254.169.254',
    'exa mple.com',
    'example.com#',
    'http://',
  ])('the entry %j is refused at start', (entry) => {
    expect(() => parseAllowList([entry])).toThrow(/outbound\.allow: .* is refused/);
  });
});
