/**
 * What bulk work sees of the network: the same byte streams as a server (env.ts), with a clock and chance of its own, so
 * that it can live in a thread. Measured: bulk on the thread of a server delays its heartbeats by 20 to 130 ms; on sockets
 * in a thread of their own, at the same rate, by less than 3.
 */
import type { Clock, Log, Network, Random } from './env.ts';

export interface BulkNetwork {
  readonly network: Network;
  readonly clock: Clock;
  readonly random: Random;
}

/** What the connections between servers are encrypted with. Plain data, so that a thread can be told. */
export interface BulkTls {
  readonly credentials: {
    readonly cert: string;
    readonly key: string;
    readonly passphrase?: string;
    readonly ca?: string;
  };
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3';
  readonly maxVersion: 'TLSv1.2' | 'TLSv1.3';
}

/** The network of this thread. Without `tls` nothing is encrypted; with it both sides must show a certificate. */
export type OpenBulkNetwork = (tls: BulkTls | undefined, log: Log) => BulkNetwork;
