/**
 * A real DNS server on a free UDP port of this machine that says what a test tells it to, with a life of 0 seconds.
 * Each name has its answers in turn, and the last one stays: an honest name has one, one that rebinds has two.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { type Answer, decode, encode, RECURSION_AVAILABLE, RECURSION_DESIRED } from 'dns-packet';

export interface Zone {
  [name: string]: readonly (readonly string[])[];
}

export interface DnsServer {
  /** As a resolver is given it: `127.0.0.1:port`. */
  readonly address: string;
  /** `A a.test`, in the order asked. */
  readonly asked: string[];
  close(): Promise<void>;
}

const NXDOMAIN = 3;

export async function startDnsServer(zone: Zone): Promise<DnsServer> {
  const asked: string[] = [];
  const turns = new Map<string, number>();
  const socket = createSocket('udp4');
  socket.on('message', (message, { address, port }) => {
    const query = decode(message);
    const [question] = query.questions ?? [];
    if (question === undefined) return;
    const { name, type } = question;
    asked.push(`${type} ${name}`);
    const known = Object.hasOwn(zone, name) ? (zone[name] ?? []) : null;
    const key = `${type} ${name}`;
    const turn = turns.get(key) ?? 0;
    turns.set(key, turn + 1);
    const addresses = known === null ? [] : (known[Math.min(turn, known.length - 1)] ?? []);
    const answers = addresses
      .filter((each) => (type === 'AAAA') === each.includes(':'))
      .map((data): Answer => ({ name, type: type === 'AAAA' ? 'AAAA' : 'A', ttl: 0, data }));
    socket.send(
      encode({
        type: 'response',
        id: query.id ?? 0,
        flags: RECURSION_DESIRED | RECURSION_AVAILABLE | (known === null ? NXDOMAIN : 0),
        questions: [question],
        answers,
      }),
      port,
      address,
    );
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return {
    address: `127.0.0.1:${socket.address().port}`,
    asked,
    async close() {
      socket.close();
      await once(socket, 'close');
    },
  };
}
