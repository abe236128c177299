/**
 * The real world: `Env` made of the operating system's clock, randomness, files, sockets, and classic-level.
 */
import type { Env, Log, SecureNetworks } from '../lib/env.ts';
import { SystemClock } from './clock.ts';
import { SystemDisk } from './disk.ts';
import { LevelStores } from './level.ts';
import { createLog, type LevelledLog, type LogOptions } from './log.ts';
import { SystemRandom } from './random.ts';
import { ProcessSystem } from './system.ts';
import { TcpNetwork, type TcpOptions } from './tcp.ts';
import { TlsNetwork, type TlsOptions } from './tls.ts';

export interface SystemOptions {
  readonly log: LogOptions;
  readonly tcp: TcpOptions;
  /** For clients; peers are always checked. Undefined: no TLS. */
  readonly tls?: TlsOptions | undefined;
}

export interface SystemEnv extends Env {
  readonly log: LevelledLog;
}

/** Throws what the operating system says when the log file cannot be opened. */
export function createEnv(options: SystemOptions): SystemEnv {
  const log = createLog(options.log);
  const disk = new SystemDisk();
  const { tcp, tls } = options;
  return {
    clock: new SystemClock(),
    random: new SystemRandom(),
    disk,
    network: new TcpNetwork(log, tcp),
    ...(tls === undefined ? {} : { secure: secureNetworks(log, tcp, tls) }),
    stores: new LevelStores(disk),
    system: new ProcessSystem(),
    log,
  };
}

function secureNetworks(log: Log, tcp: TcpOptions, tls: TlsOptions): SecureNetworks {
  return {
    clients: new TlsNetwork(log, tcp, tls),
    peers: new TlsNetwork(log, tcp, { ...tls, verify: 'yes' }),
  };
}
