/**
 * The MapReduce service on the servers of a simulated cluster: the real one, over the real replica, with threads in virtual
 * time. Clients ask any server that is up.
 */
import { assert } from '../../../src/lib/assert.ts';
import { fromLatin1, latin1 } from '../../../src/lib/bytes.ts';
import { decodeMessage, encodeMessage, type Question } from '../../../src/mapreduce/cluster/messages.ts';
import { mapReduceService } from '../../../src/mapreduce/cluster/service.ts';
import type { Configuration } from '../../../src/raft/configuration.ts';
import type { Reply } from '../../../src/resp/reply.ts';
import type { Member } from '../../../src/server/member.ts';
import type { Node } from '../../../src/server/node.ts';
import type { Replica } from '../../../src/server/replica.ts';
import type { Service, ServiceHost } from '../../../src/server/service.ts';
import { ServiceSlot } from '../../../src/server/service-slot.ts';
import type { Cluster, ServiceSurroundings, SimServer, SimService } from '../../sim/cluster.ts';
import type { Life } from '../../sim/scheduler.ts';
import { type Audit, auditedTransact } from './sim-journal-audit.ts';
import type { SimMachines } from './sim-machines.ts';

export interface SimJobServiceOptions {
  readonly machines: SimMachines;
  readonly slots: number;
  readonly resultBytesMax: number;
  readonly audit: (server: SimServer) => Audit;
  /** A chunk of a result that is to be written now is held up so long. */
  readonly heldUpMs: () => number;
  /** Of a job that reads keys: there are too few here for more than one otherwise. */
  readonly splitsOf: (token: string) => number;
}

interface Running {
  readonly life: Life;
  readonly service: Service;
}

/** How often a client looks whether its connection still is there. */
const LOOK_EVERY_MS = 50;
const SUBMIT = '{"ask":"submit"';

export class SimJobServices {
  readonly #cluster: () => Cluster;
  readonly #options: () => SimJobServiceOptions;
  readonly #running = new Map<SimServer, Running>();

  /** Both are asked for when the first server starts. */
  constructor(cluster: () => Cluster, options: () => SimJobServiceOptions) {
    this.#cluster = cluster;
    this.#options = options;
  }

  /** For `ClusterOptions.startService`. */
  start(server: SimServer, { env, life, replica, transport }: ServiceSurroundings): SimService {
    const { scheduler } = this.#cluster();
    const options = this.#options();
    const { machines, slots, resultBytesMax } = options;
    const machine = machines.machine(server.id);
    const start = mapReduceService({
      ...{ threads: machine.threads(life, slots + 1), files: machine.files, slots },
      ...{ listen: { host: `n${server.id}`, port: 0 }, tls: undefined, modules: '' },
      ...{ filesAllowed: 'yes', resultBytesMax: () => resultBytesMax },
    });
    const settle = () => scheduler.settle();
    const slot = new ServiceSlot({
      ...{ clock: env.clock, random: env.random, log: env.log, unavailable: () => undefined },
      start: (host) => {
        const service = start(settlingHost(host, settle, { ...options, audit: options.audit(server) }));
        this.#running.set(server, { life, service });
        const onCall: Service['onCall'] = (...question) => {
          settle();
          service.onCall(...question);
        };
        const { execute, info, stop } = service;
        const bound = { execute: execute.bind(service), info: info.bind(service), stop: stop.bind(service) };
        return { ...bound, onCall, holdsData: false };
      },
    });
    slot.begin(nodeOf(server, replica, transport) as unknown as Node, 'data');
    return { receive: (from, message) => slot.receive(from, message) };
  }

  /** Undefined: the server is down, or falls before it has replied. */
  ask(server: SimServer, name: string, args: readonly (string | number)[]): Promise<Reply | undefined> {
    const { scheduler } = this.#cluster();
    const running = this.#running.get(server);
    return new Promise((resolve) => {
      let closed = false;
      const settle = (reply: Reply | undefined): void => {
        if (closed) return;
        closed = true;
        scheduler.settle();
        resolve(reply);
      };
      const isThere = () => running?.life.alive === true && server.life === running.life;
      const look = (): void => {
        if (closed) return;
        if (isThere()) scheduler.after(LOOK_EVERY_MS, undefined, look, true);
        else settle(undefined);
      };
      scheduler.after(LOOK_EVERY_MS, undefined, look, true);
      const request = {
        ...{ name, args: args.map((arg) => fromLatin1(`${arg}`)), db: 0, loopback: true },
        get closed() {
          return closed;
        },
        resolve: settle,
      };
      const send = () => {
        if (isThere()) running!.service.execute(request);
      };
      scheduler.after(0, running?.life, send, true);
    });
  }

  infoOf(server: SimServer): ReadonlyMap<string, string | number> {
    const running = this.#running.get(server);
    assert(running !== undefined, 'the server was started', server.id);
    return new Map(running.service.info());
  }
}

/** Promises that wait for an answer go on before the next event. */
function settlingHost(
  host: ServiceHost,
  settle: () => void,
  {
    audit,
    splitsOf,
    heldUpMs,
  }: Pick<SimJobServiceOptions, 'splitsOf' | 'heldUpMs'> & { readonly audit: Audit },
): ServiceHost {
  const audited = auditedTransact(host, audit);
  const transact: ServiceHost['transact'] = (transaction, done) => {
    const ms = transaction.commands.some(({ argv }) => isChunk(argv)) ? heldUpMs() : 0;
    if (ms === 0) audited(transaction, done);
    else host.clock.after(ms, () => audited(transaction, done));
  };
  const settling =
    <T extends readonly unknown[]>(done: (...told: T) => void) =>
    (...told: T): void => {
      settle();
      done(...told);
    };
  return {
    ...{ clock: host.clock, random: host.random, log: host.log, directory: host.directory },
    get self() {
      return host.self;
    },
    get members() {
      return host.members;
    },
    get leader() {
      return host.leader;
    },
    get term() {
      return host.term;
    },
    get views() {
      return host.views;
    },
    get diskFull() {
      return host.diskFull;
    },
    transact: (transaction, done) => transact(transaction, settling(done)),
    read: (command, done) => host.read(command, settling(done)),
    versionOf: (key, done) => host.versionOf(key, settling(done)),
    call: (member, payload, done) => host.call(member, withSplits(payload, splitsOf), settling(done)),
    freeze: (id, done) => host.freeze(id, settling(done)),
    view: (id) => host.view(id),
    release: (id) => host.release(id),
  };
}

function isChunk([name, key]: readonly Uint8Array[]): boolean {
  return name !== undefined && latin1(name) === 'SET' && latin1(key!).startsWith('mr:out:');
}

/** The question, if it submits a job that reads keys, with so many splits. */
function withSplits(payload: Uint8Array, splitsOf: (token: string) => number): Uint8Array {
  if (latin1(payload.subarray(0, SUBMIT.length)) !== SUBMIT) return payload;
  const question = decodeMessage<Question>(payload);
  if (question?.ask !== 'submit' || question.order.input.kind !== 'keys') return payload;
  const { order } = question;
  const input = { ...question.order.input, splits: splitsOf(order.token) };
  return encodeMessage({ ...question, order: { ...order, input } });
}

/** Of a node what a service's host sees of it. */
function nodeOf(server: SimServer, replica: Replica, transport: ServiceSurroundings['transport']) {
  let members: readonly Member[] = [];
  let of: Configuration | undefined;
  return {
    ...{ id: server.id, self: memberOf(server.id), replica, links: transport },
    get joining() {
      return replica.raft.configuration.members.length === 0;
    },
    get members(): readonly Member[] {
      const { configuration } = replica.raft;
      if (of !== configuration) members = configuration.members.map(({ id }) => memberOf(id));
      of = configuration;
      return members;
    },
  };
}

function memberOf(id: number): Member {
  return { id, name: `n${id}`, host: `n${id}`, port: 6379, peerPort: 16379 };
}
