/** `BulkNetwork` with the operating system's sockets, clock and chance, for any thread of the program. */
import type { BulkNetwork, BulkTls } from '../lib/bulk-network.ts';
import type { Log } from '../lib/env.ts';
import { SystemClock } from './clock.ts';
import { SystemRandom } from './random.ts';
import { TcpNetwork } from './tcp.ts';
import { TlsNetwork } from './tls.ts';

/** A connection lives for one task, with deadlines of its own. */
const TCP = { keepAliveMs: 0 };

export function openBulkNetwork(tls: BulkTls | undefined, log: Log): BulkNetwork {
  const network =
    tls === undefined ? new TcpNetwork(log, TCP) : new TlsNetwork(log, TCP, { ...tls, verify: 'yes' });
  return { network, clock: new SystemClock(), random: new SystemRandom() };
}
