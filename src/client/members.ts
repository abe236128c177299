/**
 * The servers that a client knows: those it was given, and those that the cluster names.
 */
export interface ServerAddress {
  readonly host: string;
  readonly port: number;
}

const DEFAULT_PORT = 6379;

/** `host`, `host:port` or `[::1]:port`. Throws TypeError. */
export function parseAddress(text: string): ServerAddress {
  const match = /^(?:\[([^\]]+)\]|([^:[\]\s]+))(?::(\d{1,5}))?$/.exec(text.trim());
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3] === undefined ? DEFAULT_PORT : Number(match[3]);
  if (host === undefined || port < 1 || port > 65_535) {
    throw new TypeError(`'${text}' is no address: give HOST:PORT`);
  }
  return { host, port };
}

/** What `CLUSTER NODES` says: a line for each member, its second word `host:port@peerport`. */
export function parseClusterNodes(text: string): ServerAddress[] {
  const found: ServerAddress[] = [];
  for (const line of text.split('\n')) {
    const address = line.split(' ')[1]?.split('@')[0];
    const at = address?.lastIndexOf(':') ?? 0;
    // Without a host: the member has no address, or the line is empty.
    if (address === undefined || at < 1) continue;
    found.push({ host: address.slice(0, at), port: Number(address.slice(at + 1)) });
  }
  return found;
}

export class Members {
  readonly #given: readonly ServerAddress[];
  #known: readonly ServerAddress[];
  #turn: number;

  /** `first`: with which of them to begin, so that clients spread over the servers; a number in [0, 1). */
  constructor(given: readonly ServerAddress[], first: number) {
    if (given.length === 0) throw new TypeError('give the address of at least one server');
    this.#given = given;
    this.#known = given;
    this.#turn = Math.floor(first * given.length);
  }

  get all(): readonly ServerAddress[] {
    return this.#known;
  }

  /** The next one to try. */
  next(): ServerAddress {
    this.#turn = (this.#turn + 1) % this.#known.length;
    return this.#known[this.#turn]!;
  }

  /** What a member has told. Those given stay, at the end: they may come back when all others are gone. */
  learn(members: readonly ServerAddress[]): void {
    if (members.length === 0) return;
    const others = this.#given.filter((given) => !members.some((member) => same(member, given)));
    this.#known = [...members, ...others];
  }
}

function same(a: ServerAddress, b: ServerAddress): boolean {
  return a.host === b.host && a.port === b.port;
}
