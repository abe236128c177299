/**
 * A simulated network of byte streams, as TCP makes them: in order and exactly once, until a connection breaks.
 *
 * Every connection is two pipes. What is written passes the sender's kernel (which takes so much and no more), the
 * road, and the receiver's kernel, where it waits until the process reads; it is read in pieces cut anywhere.
 *
 *   write -> unsent (backlogBytes) -> road, in order, late -> arrived -> onData
 *                                |<------- windowBytes ------->|
 *
 * Which roads are open, and how slow they are, is asked of the network of packets, so that the same partitions and
 * faults hold for both. A road that is cut loses nothing that TCP would send again: the bytes wait, and come late. What
 * breaks a connection is a reset, which leaves a part of what was on the way; the end of a process; or nobody telling
 * (half-open): then everything written vanishes.
 */
import { assert } from '../../src/lib/assert.ts';
import type { Address, Connection, ConnectionEvents, Listener, Network } from '../../src/lib/env.ts';
import { InUseError } from '../../src/lib/errors.ts';
import type { SimNetwork } from './network.ts';
import type { SimRandom } from './random.ts';
import type { Life, Scheduler } from './scheduler.ts';

/** What the two kernels and the road hold of one direction. */
const WINDOW_BYTES = 64 << 10;
const SEGMENT_BYTES_MAX = 8 << 10;
/** How soon TCP tries again. */
const RETRANSMIT_MS = 200;
/** How long an ended connection waits for the other side's end, as in io/tcp.ts. */
const LINGER_MS = 1000;

type Item = { readonly bytes: Uint8Array } | 'open' | 'accept' | 'fin' | 'reset';

/** A machine in the network. It may be down, or up without a process. */
interface Host {
  up: boolean;
  readonly listeners: Map<number, SimListener>;
  readonly sockets: Set<SimSocket>;
}

export class StreamNetwork {
  readonly scheduler: Scheduler;
  readonly random: SimRandom;
  readonly roads: SimNetwork;
  /** Every write of every process, for the tests that count. */
  writes = 0;
  readonly #hosts = new Map<number, Host>();
  #lastPort = 40_000;

  constructor(scheduler: Scheduler, random: SimRandom, roads: SimNetwork) {
    this.scheduler = scheduler;
    this.random = random;
    this.roads = roads;
  }

  /** The network as one life of one server sees it. Its machine is up from now on. */
  open(id: number, life: Life): Network {
    const host = this.host(id);
    host.up = true;
    return {
      listen: async (address, onConnection) => this.#listen(host, life, address, onConnection),
      connect: (address, events) => this.#connect(id, life, address, events),
    };
  }

  host(id: number): Host {
    let host = this.#hosts.get(id);
    if (host === undefined) {
      host = { up: true, listeners: new Map(), sockets: new Set() };
      this.#hosts.set(id, host);
    }
    return host;
  }

  /** Its process has ended. Peers are told by the kernel; or, when the machine lost its power, by nobody. */
  crash(id: number, how: 'killed' | 'power lost'): void {
    const host = this.host(id);
    host.listeners.clear();
    host.up = how === 'killed';
    const sockets = [...host.sockets];
    host.sockets.clear();
    for (const socket of sockets) socket.orphan(how === 'killed');
  }

  /** Breaks a connection between the two. Whether there was one. */
  reset(a: number, b: number): boolean {
    const socket = this.#pick(a, b);
    socket?.breakOff();
    return socket !== undefined;
  }

  /** A connection between the two stops carrying anything, and neither side is told. */
  halfOpen(a: number, b: number): boolean {
    const socket = this.#pick(a, b);
    if (socket === undefined) return false;
    socket.outgoing.vanishes = true;
    socket.peer!.outgoing.vanishes = true;
    return true;
  }

  /** Nothing moves for a while on one connection, in one direction. */
  stall(from: number, to: number, forMs: number): boolean {
    const socket = this.#pick(from, to);
    if (socket === undefined) return false;
    socket.outgoing.stalledUntilMs = this.scheduler.nowMs + forMs;
    return true;
  }

  /** Open connections between the two, seen from `a`. */
  between(a: number, b: number): SimSocket[] {
    return [...this.host(a).sockets].filter((socket) => socket.remoteId === b && socket.peer !== undefined);
  }

  #pick(a: number, b: number): SimSocket | undefined {
    const sockets = this.between(a, b);
    return sockets.length === 0 ? undefined : this.random.pick(sockets);
  }

  #listen(
    host: Host,
    life: Life,
    { host: name, port }: Address,
    onConnection: (connection: Connection) => void,
  ): Listener {
    const taken = port === 0 ? ++this.#lastPort : port;
    if (host.listeners.has(taken)) throw new InUseError(`address ${name}:${taken} is already in use`);
    const listener = { life, onConnection };
    host.listeners.set(taken, listener);
    const close = () => {
      if (host.listeners.get(taken) === listener) host.listeners.delete(taken);
    };
    return { address: { host: name, port: taken }, close };
  }

  #connect(
    from: number,
    life: Life,
    address: Address,
    events: ConnectionEvents & { onConnect: () => void },
  ): Connection {
    const to = hostIdOf(address.host);
    const local = { host: `n${from}`, port: ++this.#lastPort };
    const socket = new SimSocket(this, { life, localId: from, remoteId: to, local, remote: address });
    socket.onConnect = () => events.onConnect();
    socket.handle(events);
    this.host(from).sockets.add(socket);
    socket.outgoing.push('open');
    return socket;
  }
}

/** Server 3 is at the host `n3`. */
function hostIdOf(name: string): number {
  return Number(name.slice(1));
}

interface SimListener {
  readonly life: Life;
  readonly onConnection: (connection: Connection) => void;
}

interface Ends {
  readonly life: Life;
  readonly localId: number;
  readonly remoteId: number;
  readonly local: Address;
  readonly remote: Address;
}

/** One direction of a connection: a road on which things keep their order. */
class Pipe {
  vanishes = false;
  stalledUntilMs = 0;
  /** Bytes the sender's kernel has taken and the receiver's process has not read. */
  heldBytes = 0;
  readonly #network: StreamNetwork;
  readonly #from: SimSocket;
  readonly #road: { readonly item: Item; readonly dueMs: number }[] = [];
  #moving = false;

  constructor(network: StreamNetwork, from: SimSocket) {
    this.#network = network;
    this.#from = from;
  }

  push(item: Item): void {
    const { scheduler } = this.#network;
    const before = this.#road.at(-1)?.dueMs ?? 0;
    this.#road.push({ item, dueMs: Math.max(before, scheduler.nowMs + this.#delayMs()) });
    this.#move();
  }

  /** All that is on the road but a part of the first bytes is lost, and the end of the connection follows. */
  breakOff(): void {
    const first = this.#road[0]?.item;
    this.#road.length = 0;
    if (typeof first === 'object') {
      const bytes = first.bytes.subarray(0, this.#network.random.below(first.bytes.length));
      if (bytes.length > 0) this.push({ bytes });
    }
    this.push('reset');
  }

  /** Loss is what makes a packet of TCP late, and all that follow it. */
  #delayMs(): number {
    const { random, roads } = this.#network;
    const { faults } = roads;
    if (random.chance(faults.longDelayChance)) return random.between(200, 2200);
    const retransmitMs = random.chance(faults.lossChance) ? RETRANSMIT_MS : 0;
    return faults.delayMinMs + random.exponential(faults.delayMeanMs) + retransmitMs;
  }

  #move(): void {
    const first = this.#road[0];
    if (first === undefined || this.#moving) return;
    this.#moving = true;
    this.#network.scheduler.at(first.dueMs, undefined, () => this.#arrive());
  }

  #arrive(): void {
    this.#moving = false;
    const { scheduler, random, roads } = this.#network;
    if (this.#road.length === 0) return;
    if (this.vanishes) {
      this.#road.length = 0;
      return;
    }
    const from = this.#from;
    const open = roads.connected(from.localId, from.remoteId) && this.#network.host(from.remoteId).up;
    const waitMs = open ? this.stalledUntilMs - scheduler.nowMs : random.between(0.5, 2) * RETRANSMIT_MS;
    if (waitMs > 0) {
      this.#moving = true;
      scheduler.after(waitMs, undefined, () => this.#arrive());
      return;
    }
    const { item } = this.#road.shift()!;
    from.deliver(item);
    this.#move();
  }
}

export class SimSocket implements Connection {
  readonly local: Address;
  readonly remote: Address;
  readonly localId: number;
  readonly remoteId: number;
  readonly outgoing: Pipe;
  /** The other end; undefined until it is there. */
  peer: SimSocket | undefined;
  onConnect: (() => void) | undefined;
  readonly #network: StreamNetwork;
  readonly #life: Life;
  #events: ConnectionEvents | undefined;
  /** `ending`: no more is sent or heard by the process; `closed`: the kernel too is done with it. */
  #state: 'connecting' | 'open' | 'ending' | 'closed' = 'open';
  #unsent: Uint8Array[] = [];
  #unsentBytes = 0;
  #arrived: Uint8Array[] = [];
  #finArrived = false;
  #finSent = false;
  #finDue = false;
  #paused = false;
  #readComing = false;
  #owesDrain = false;

  constructor(network: StreamNetwork, ends: Ends, accepted = false) {
    this.#network = network;
    this.#life = ends.life;
    this.local = ends.local;
    this.remote = ends.remote;
    this.localId = ends.localId;
    this.remoteId = ends.remoteId;
    this.outgoing = new Pipe(network, this);
    this.#state = accepted ? 'open' : 'connecting';
  }

  get backlogBytes(): number {
    return this.#unsentBytes;
  }

  // What the process does

  handle(events: ConnectionEvents): void {
    assert(this.#events === undefined, 'a connection gets its handlers once');
    this.#events = events;
  }

  write(bytes: Uint8Array): void {
    if ((this.#state !== 'open' && this.#state !== 'connecting') || bytes.length === 0) return;
    this.#network.writes++;
    this.#unsent.push(bytes);
    this.#unsentBytes += bytes.length;
    this.#send();
    if (this.#unsentBytes > 0) this.#owesDrain = true;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#readSoon();
  }

  end(): void {
    if (this.#state !== 'open' && this.#state !== 'connecting') return;
    this.#state = 'ending';
    this.#finDue = true;
    this.#send();
    // What still comes is read and thrown away.
    this.#readSoon();
    this.#network.scheduler.after(LINGER_MS, this.#life, () => this.destroy());
  }

  destroy(): void {
    if (this.#state === 'closed') return;
    const unread = this.#arrived.length > 0;
    if (!this.#finSent) this.outgoing.push(unread || this.#state === 'connecting' ? 'reset' : 'fin');
    this.#finSent = true;
    this.#close(null);
  }

  // What its kernel does

  /** The process is gone. */
  orphan(tellPeer: boolean): void {
    if (this.#state === 'closed') return;
    if (tellPeer && !this.#finSent) this.outgoing.push(this.#arrived.length > 0 ? 'reset' : 'fin');
    this.#state = 'closed';
    this.#unsent = [];
    this.#unsentBytes = 0;
  }

  /** Both ends hear of it, after a part of what was on the way. */
  breakOff(): void {
    this.outgoing.breakOff();
    this.peer!.outgoing.breakOff();
  }

  /** Something that this end has sent is at the other. */
  deliver(item: Item): void {
    if (item === 'open') this.#reachListener();
    else if (this.peer !== undefined) this.peer.arrive(item);
  }

  arrive(item: Item): void {
    if (this.#state === 'closed') {
      // Whoever sends to a connection that is not there is told so.
      if (typeof item === 'object' || item === 'accept') this.outgoing.push('reset');
      return;
    }
    if (item === 'accept') {
      this.#state = this.#state === 'connecting' ? 'open' : this.#state;
      this.#inProcess(() => {
        if (this.#state === 'open') this.onConnect?.();
      });
      this.#send();
    } else if (item === 'reset') {
      const connecting = this.#state === 'connecting';
      this.#inProcess(() => this.#close(new Error(connecting ? 'connect ECONNREFUSED' : 'read ECONNRESET')));
    } else if (item === 'fin') {
      this.#finArrived = true;
      this.#readSoon();
    } else if (typeof item === 'object') {
      this.#arrived.push(item.bytes);
      this.#readSoon();
    }
  }

  /** A dial has come to the other machine. */
  #reachListener(): void {
    if (this.#state !== 'connecting') return;
    const { remoteId, localId } = this;
    const listener = this.#network.host(remoteId).listeners.get(this.remote.port);
    const ends = { localId: remoteId, remoteId: localId, local: this.remote, remote: this.local };
    // Without a listener it is the kernel that answers, from a socket that nobody has.
    const life = listener?.life ?? { alive: true, paused: false, held: [] };
    const accepted = new SimSocket(this.#network, { ...ends, life }, true);
    accepted.peer = this;
    if (listener === undefined) {
      accepted.#state = 'closed';
      accepted.outgoing.push('reset');
      return;
    }
    this.peer = accepted;
    this.#network.host(remoteId).sockets.add(accepted);
    accepted.outgoing.push('accept');
    accepted.#inProcess(() => {
      listener.onConnection(accepted);
      assert(accepted.#events !== undefined, 'an accepted connection has handlers');
      accepted.#readSoon();
    });
  }

  #send(): void {
    if (this.#state === 'connecting' || this.#finSent) return;
    const { random, scheduler } = this.#network;
    while (this.#unsentBytes > 0 && this.outgoing.heldBytes < WINDOW_BYTES) {
      const first = this.#unsent[0]!;
      const room = WINDOW_BYTES - this.outgoing.heldBytes;
      const length = Math.min(first.length, room, 1 + random.below(SEGMENT_BYTES_MAX));
      // A copy, as the kernel makes one: what is not in `backlogBytes` any more may be changed. (Buffer.slice is none.)
      this.outgoing.push({ bytes: Uint8Array.from(first.subarray(0, length)) });
      this.outgoing.heldBytes += length;
      this.#unsentBytes -= length;
      if (length === first.length) this.#unsent.shift();
      else this.#unsent[0] = first.subarray(length);
    }
    if (this.#unsentBytes > 0) return;
    if (this.#finDue) {
      this.#finSent = true;
      this.outgoing.push('fin');
    }
    if (!this.#owesDrain) return;
    this.#owesDrain = false;
    scheduler.after(0, this.#life, () => {
      if (this.#state === 'open' && this.#unsentBytes === 0) this.#events?.onDrain?.();
    });
  }

  #inProcess(run: () => void): void {
    this.#network.scheduler.after(0, this.#life, run);
  }

  #readSoon(afterMs = 0): void {
    if (this.#readComing || this.#paused || this.#events === undefined) return;
    if (this.#arrived.length === 0 && !this.#finArrived) return;
    this.#readComing = true;
    this.#network.scheduler.after(afterMs, this.#life, () => {
      this.#readComing = false;
      if (this.#state !== 'closed' && !this.#paused) this.#read();
    });
  }

  /** Hands some of what has arrived to the process: all, or a part cut off anywhere. */
  #read(): void {
    const { random } = this.#network;
    if (this.#arrived.length === 0) return this.#readEnd();
    let bytes: Uint8Array = Buffer.concat(this.#arrived);
    this.#arrived = [];
    if (random.chance(0.2)) {
      const length = 1 + random.below(bytes.length);
      if (length < bytes.length) this.#arrived = [bytes.slice(length)];
      bytes = bytes.slice(0, length);
    }
    const from = this.peer!;
    from.outgoing.heldBytes -= bytes.length;
    if (from.#unsentBytes > 0) this.#network.scheduler.after(0, undefined, () => from.#send());
    if (this.#state === 'open') this.#events!.onData(bytes);
    this.#readSoon(random.between(0, 0.3));
  }

  #readEnd(): void {
    this.#finArrived = false;
    if (this.#state === 'ending' && this.#finSent) return this.#close(null);
    if (this.#events!.onEnd !== undefined) return this.#events!.onEnd();
    this.#finDue = true;
    this.#send();
    this.#close(null);
  }

  #close(error: Error | null): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#unsent = [];
    this.#unsentBytes = 0;
    this.#network.host(this.localId).sockets.delete(this);
    this.#inProcess(() => this.#events?.onClose(error));
  }
}
