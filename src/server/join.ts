/**
 * `--join HOST:PORT`: a server without data asks a running cluster, through the client address of any of its members, to
 * be let in. It says CLUSTER MEET with its own address, as a person could with redis-cli; all else follows from that. It
 * asks again until it is let in, or told that it never will be.
 */
import { assert } from '../lib/assert.ts';
import { fromLatin1, MalformedError } from '../lib/bytes.ts';
import type { Address, Clock, Connection, Log, Network, Timer } from '../lib/env.ts';
import { ConfigError } from '../lib/errors.ts';
import { ReplyDecoder } from '../resp/decode.ts';
import { ErrorReply, type Reply } from '../resp/reply.ts';

export interface JoinOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly network: Network;
  /** Of a member, for clients. */
  readonly address: Address;
  /** Where the members find this server; without a host, where its connections come from. */
  readonly own: { readonly host: string | undefined; readonly port: number; readonly peerPort: number };
  /** What the member asks of its clients; empty: nothing. */
  readonly password: string;
  /** Whether this server is in a cluster by now. */
  readonly isMember: () => boolean;
  /** It will not be let in. */
  readonly onRefused: (error: ConfigError) => void;
}

const TRY_AGAIN_MS = 1000;
const ANSWER_WITHIN_MS = 30_000;
/** Errors that say that this will not do, now or later. */
const FINAL = ['ERR', 'NOAUTH', 'WRONGPASS', 'DENIED', 'NOPERM'];

export class Join {
  readonly #options: JoinOptions;
  #connection: Connection | undefined;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(options: JoinOptions) {
    this.#options = options;
    this.#try();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#drop();
  }

  #try(): void {
    if (this.#stopped || this.#options.isMember()) return;
    const { network, address, password, own, clock } = this.#options;
    const asked = password === '' ? 1 : 2;
    const requests = (): string => {
      const meet = ['CLUSTER', 'MEET', own.host ?? connection.local.host, `${own.port}`, `${own.peerPort}`];
      return (asked === 1 ? [meet] : [['AUTH', password], meet]).map(encodeRequest).join('');
    };
    let answers = 0;
    const mine = () => this.#connection === connection;
    const decoder = new ReplyDecoder((reply) => {
      answers++;
      if (mine()) this.#heard(reply, answers === asked);
    });
    const connection = network.connect(address, {
      onConnect: () => connection.write(fromLatin1(requests())),
      onData: (bytes) => {
        if (mine()) this.#decode(decoder, bytes);
      },
      onClose: (error) => {
        if (mine()) this.#failed(error?.message ?? 'the connection was closed');
      },
    });
    this.#connection = connection;
    this.#timer = clock.after(ANSWER_WITHIN_MS, () => this.#failed('no answer'));
  }

  #decode(decoder: ReplyDecoder, bytes: Uint8Array): void {
    try {
      decoder.feed(bytes);
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      this.#failed(`what answers is no Redis server: ${error.message}`);
    }
  }

  #heard(reply: Reply, last: boolean): void {
    const { address } = this.#options;
    if (reply instanceof ErrorReply) {
      if (this.#options.isMember()) this.#drop();
      else if (FINAL.includes(reply.code)) this.#refused(`${reply.code} ${reply.message}`);
      else this.#failed(`${reply.code} ${reply.message}`);
      return;
    }
    if (!last) return;
    assert(!this.#stopped, 'a join that was stopped hears nothing', address.host, address.port);
    this.#drop();
    // The invitation has come by the link between servers. If it was lost, ask again.
    this.#timer = this.#options.clock.after(TRY_AGAIN_MS, () => this.#try());
  }

  #refused(text: string): void {
    const { host, port } = this.#options.address;
    this.#stopped = true;
    this.#drop();
    this.#options.onRefused(new ConfigError(`${host}:${port} does not let this server join: ${text}`));
  }

  #failed(reason: string): void {
    const { log, address, clock } = this.#options;
    this.#drop();
    if (this.#stopped || this.#options.isMember()) return;
    log.warning('could not join yet', { through: `${address.host}:${address.port}`, reason });
    this.#timer = clock.after(TRY_AGAIN_MS, () => this.#try());
  }

  #drop(): void {
    const connection = this.#connection;
    this.#connection = undefined;
    this.#timer?.cancel();
    connection?.destroy();
  }
}

function encodeRequest(words: readonly string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join('')}`;
}
