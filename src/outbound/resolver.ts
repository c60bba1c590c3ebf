/**
 * Names to addresses, asked of given DNS servers rather than of the system.
 *
 * For a deployment that does not trust what the host's resolver (its hosts file, its search list, its cache) says,
 * and for tests that put a lying server in its place: the answers come over the wire either way. Nothing is kept: each
 * dial asks again, and what it is told is judged by the allow list at that moment.
 * All addresses of both families are given, so that a mixed answer is seen as a whole. A family that the name does not
 * have is no fault; a family that could not be asked is one, because half an answer cannot be judged.
 */
import { NODATA, Resolver } from 'node:dns';
import type { Resolve } from './outbound.ts';

const TIMEOUT_MS = 2_000;
const TRIES = 2;

/** `servers` as node:dns takes them: an address, or `address:port`. */
export function resolverOf(servers: readonly string[]): Resolve {
  return async (hostname) => {
    const resolver = new Resolver({ timeout: TIMEOUT_MS, tries: TRIES });
    resolver.setServers([...servers]);
    const [four, six] = await Promise.all([ask(resolver, hostname, 4), ask(resolver, hostname, 6)]);
    return [...four, ...six];
  };
}

function ask(resolver: Resolver, hostname: string, family: 4 | 6): ReturnType<Resolve> {
  return new Promise((resolve, reject) => {
    const answered = (error: NodeJS.ErrnoException | null, addresses: string[]): void => {
      if (error === null) resolve(addresses.map((address) => ({ address, family })));
      else if (error.code === NODATA) resolve([]);
      else reject(error);
    };
    if (family === 4) resolver.resolve4(hostname, answered);
    else resolver.resolve6(hostname, answered);
  });
}
