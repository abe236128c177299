/**
 * MONITOR: clients that see every command that this server is sent, a line for each.
 *
 *   +1339518083.107412 [0 127.0.0.1:60866] "set" "k" "v\x00"
 *
 * A line is written when a command starts, for those that run at once when they have run, so that SELECT shows the
 * database that it chose, as in Redis. Not shown are commands that were refused at the door, those whose row says `admin`
 * or `skip_monitor`, and passwords. What other servers of the cluster are sent is seen there, not here.
 *
 * A client that monitors and does not read is disconnected at the limits of the class `pubsub`
 * (client-output-buffer-limit). In Redis it has no limit unless all normal clients have one, and can take all memory.
 */
import type { CommandRow } from '../kv/command.ts';
import { fromLatin1 } from '../lib/bytes.ts';
import type { Clock } from '../lib/env.ts';
import type { Client } from '../resp/client.ts';
import { ErrorReply } from '../resp/reply.ts';
import { redacted } from './redaction.ts';

export class Monitors {
  readonly #clock: Clock;
  readonly #clients = new Set<Client>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether anybody listens: else nothing needs to be put together. */
  get active(): boolean {
    return this.#clients.size > 0;
  }

  add(client: Client): void {
    client.monitoring = true;
    this.#clients.add(client);
  }

  /** Harmless when it is none: RESET, or the end of any connection. */
  remove(client: Client): void {
    client.monitoring = false;
    this.#clients.delete(client);
  }

  /** `client` has sent the command; `name` is that of the table, `config|get`. */
  show(client: Client, row: CommandRow, name: string, argv: readonly Uint8Array[], db = client.db): void {
    if (!this.active || row.flags.some((flag) => flag === 'admin' || flag === 'skip_monitor')) return;
    const nowMs = this.#clock.wallMs();
    const seconds = `${Math.floor(nowMs / 1000)}.${`${nowMs % 1000}`.padStart(3, '0')}000`;
    const words = redacted(name, argv).map(quotedBytes).join(' ');
    const line = fromLatin1(`+${seconds} [${db} ${client.address}] ${words}\r\n`);
    // One that has asked for silence with CLIENT REPLY gets it, as in Redis.
    for (const monitor of this.#clients) if (!monitor.silent) monitor.outlet?.push(line);
  }
}

const NAMED_ESCAPES: Readonly<Record<number, string>> = {
  ...{ 7: '\\a', 8: '\\b', 9: '\\t', 10: '\\n', 13: '\\r', 34: '\\"', 92: '\\\\' },
};
const ESCAPED = Array.from({ length: 256 }, (_, byte) => escapeByte(byte));

function escapeByte(byte: number): string {
  const isPrintable = byte >= 0x20 && byte <= 0x7e;
  const plain = isPrintable ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, '0')}`;
  return NAMED_ESCAPES[byte] ?? plain;
}

/** Bytes in quotes, as redis-cli shows them and reads them back (sds.c, sdscatrepr). */
export function quotedBytes(bytes: Uint8Array): string {
  let text = '"';
  for (const byte of bytes) text += ESCAPED[byte]!;
  return `${text}"`;
}

const KEYSPACE_REFUSED = new ErrorReply('ERR', "Replica can't interact with the keyspace");

/** To Redis a client that monitors is a kind of replica, and has nothing to do with keys. */
export function refusedToMonitor(client: Client, row: CommandRow): ErrorReply | undefined {
  if (!client.monitoring) return undefined;
  return row.flags.some((flag) => flag === 'write' || flag === 'readonly') ? KEYSPACE_REFUSED : undefined;
}
