/**
 * A client as the server knows it: what HELLO, AUTH, SELECT and CLIENT set, and what CLIENT LIST shows.
 *
 * The connection (connection.ts) keeps the counters, the commands change the rest.
 */
import type { Address } from '../lib/env.ts';
import type { Protocol } from './encode.ts';

export class Client {
  /** Unique in this server's life, growing. */
  readonly id: number;
  readonly address: string;
  readonly localAddress: string;
  /** By the monotonic clock. */
  readonly createdAtMs: number;
  lastInteractionMs: number;

  name = '';
  db = 0;
  protocol: Protocol = 2;
  /** Also true when no password is asked for. */
  authenticated: boolean;
  user = 'default';
  libName = '';
  libVer = '';
  /** Lower case, a subcommand after a bar: `client|list`. Set by who looks the command up. */
  lastCommand = 'NULL';
  /** Set by QUIT: the connection closes once the reply to the present request has been sent. */
  closeAfterReply = false;

  bytesIn = 0;
  bytesOut = 0;
  /** Bytes of an unfinished request, and of requests that wait or are executed. */
  queryBytes = 0;
  argvBytes = 0;
  /** Bytes of replies that the client has not taken yet. */
  outputBytes = 0;

  constructor(options: {
    id: number;
    remote: Address;
    local: Address;
    nowMs: number;
    authenticated: boolean;
  }) {
    this.id = options.id;
    this.address = addressText(options.remote);
    this.localAddress = addressText(options.local);
    this.createdAtMs = options.nowMs;
    this.lastInteractionMs = options.nowMs;
    this.authenticated = options.authenticated;
  }

  /** RESET: back to what it was on connecting; `authenticated` tells whether no password is asked for. */
  reset(authenticated: boolean): void {
    this.name = '';
    this.db = 0;
    this.protocol = 2;
    this.authenticated = authenticated;
    this.user = 'default';
  }

  get flags(): string {
    return this.closeAfterReply ? 'c' : 'N';
  }
}

/**
 * A line of CLIENT LIST, without its end, field by field as Redis 7.0 has it. What hstore does not have is shown as Redis
 * shows its absence; `lib-name` and `lib-ver`, which clients set on every connect, are those of Redis 7.2.
 */
export function describeClient(client: Client, nowMs: number): string {
  const fields: readonly (readonly [name: string, value: string | number])[] = [
    ['id', client.id],
    ['addr', client.address],
    ['laddr', client.localAddress],
    ['fd', -1],
    ['name', client.name],
    ['age', seconds(nowMs - client.createdAtMs)],
    ['idle', seconds(nowMs - client.lastInteractionMs)],
    ['flags', client.flags],
    ['db', client.db],
    ['sub', 0],
    ['psub', 0],
    ['ssub', 0],
    ['multi', -1],
    ['qbuf', client.queryBytes],
    ['qbuf-free', 0],
    ['argv-mem', client.argvBytes],
    ['multi-mem', 0],
    ['rbs', 0],
    ['rbp', 0],
    ['obl', 0],
    ['oll', 0],
    ['omem', client.outputBytes],
    ['tot-mem', client.queryBytes + client.argvBytes + client.outputBytes],
    ['events', client.outputBytes > 0 ? 'rw' : 'r'],
    ['cmd', client.lastCommand],
    ['user', client.user],
    ['redir', -1],
    ['resp', client.protocol],
    ['lib-name', client.libName],
    ['lib-ver', client.libVer],
  ];
  return fields.map(([name, value]) => `${name}=${value}`).join(' ');
}

function seconds(ms: number): number {
  return Math.max(0, Math.floor(ms / 1000));
}

/** `127.0.0.1:6379`, `[::1]:6379`. */
function addressText(address: Address): string {
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}
