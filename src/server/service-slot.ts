/**
 * The place of a service in a server: it is started with each node and stopped before it, gets the commands of clients
 * and the questions of peers, and may be missing, as it is in most tests.
 *
 *   begin(node) --> running --end()--> stopping --(its promise, or STOP_MS_MAX)--> empty
 *
 * A server that is let into a cluster goes through it again. Whoever waits for a reply when the service stops gets one.
 */
import type { Clock, Log, Random } from '../lib/env.ts';
import type { NodeId } from '../raft/types.ts';
import { ErrorReply, type Reply } from '../resp/reply.ts';
import type { Call, ServiceDoor } from './context.ts';
import { isOnThisMachine } from './loopback.ts';
import type { Node } from './node.ts';
import type { ServiceMessage } from './peer-message.ts';
import { UNBLOCKED } from './replies.ts';
import type { Service, ServiceRequest, StartService } from './service.ts';
import { ServiceCalls } from './service-calls.ts';
import { NodeServiceHost } from './service-host.ts';

/** How long a service may take to stop; then the server goes on without it. */
const STOP_MS_MAX = 5000;

const NOT_AVAILABLE = new ErrorReply('ERR', 'MapReduce is not available on this server');
const STOPPING = new ErrorReply('CLUSTERDOWN', 'This server is stopping. The command was not executed');
const STOPPED_WHILE_ASKED = new ErrorReply(
  'TIMEOUT',
  'This server has stopped meanwhile. Whether the command was executed is unknown',
);
/** Nothing is carried out by it: a client may wait elsewhere. */
const WAIT = 'wait';

export interface ServiceSlotOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Undefined: there is no service. */
  readonly start: StartService | undefined;
  readonly unavailable: () => ErrorReply | undefined;
}

interface Running {
  readonly service: Service;
  readonly host: NodeServiceHost;
  readonly calls: ServiceCalls;
  /** Set when it has begun to stop. */
  stopping: Promise<void> | undefined;
}

export class ServiceSlot implements ServiceDoor {
  readonly #options: ServiceSlotOptions;
  readonly #requests = new Set<PendingCommand>();
  #running: Running | undefined;

  constructor(options: ServiceSlotOptions) {
    this.#options = options;
  }

  /** The node has started, and is the server's. */
  begin(node: Node, directory: string): void {
    const { clock, random, log, start, unavailable } = this.#options;
    if (start === undefined) return;
    const calls = new ServiceCalls({
      ...{ clock, random, self: node.id, transport: node.links },
      onCall: (from, payload, answer) => {
        if (this.#running?.calls === calls && this.#running.stopping === undefined) {
          this.#running.service.onCall(from, payload, answer);
        }
      },
    });
    const host = new NodeServiceHost({ clock, random, log, directory, node, calls, unavailable });
    this.#running = { service: start(host), host, calls, stopping: undefined };
  }

  receive(from: NodeId, message: ServiceMessage): void {
    this.#running?.calls.receive(from, message);
  }

  get holdsData(): boolean {
    return this.#running?.service.holdsData ?? false;
  }

  info(): readonly (readonly [string, string | number])[] {
    return this.#running?.service.info() ?? [];
  }

  execute(name: string, call: Call): Reply | undefined {
    const running = this.#running;
    if (this.#options.start === undefined) return NOT_AVAILABLE;
    const unavailable = this.#options.unavailable();
    if (unavailable !== undefined) return unavailable;
    if (running === undefined || running.stopping !== undefined) return STOPPING;
    const request = new PendingCommand(name, call, () => this.#requests.delete(request));
    this.#requests.add(request);
    if (name === WAIT) request.unblockable();
    running.service.execute(request);
    return undefined;
  }

  /** The server is to stop, and finishes what is under way: but for those who wait for something that lasts. */
  endWaits(): void {
    for (const request of [...this.#requests]) if (request.name === WAIT) request.resolve(STOPPING);
  }

  /** Resolves when the service has stopped, or takes too long. Harmless when there is none. */
  end(): Promise<void> {
    const running = this.#running;
    if (running === undefined) return Promise.resolve();
    running.stopping ??= this.#end(running);
    return running.stopping;
  }

  async #end({ service, host, calls }: Running): Promise<void> {
    const { clock, log } = this.#options;
    this.endWaits();
    let late: (() => void) | undefined;
    const timer = clock.after(STOP_MS_MAX, () => late?.());
    const deadline = new Promise<string>((resolve) => {
      late = () => resolve('it took too long');
    });
    const stopped = service.stop().then(
      () => undefined,
      (error: unknown) => `${error}`,
    );
    const failure = await Promise.race([stopped, deadline]);
    timer.cancel();
    if (failure !== undefined) log.warning('MapReduce did not stop in order', { reason: failure });
    host.close();
    calls.stop();
    this.#running = undefined;
    for (const request of [...this.#requests]) request.resolve(STOPPED_WHILE_ASKED);
  }
}

/** A client's command until it is answered: by the service, or by the end of its patience. */
class PendingCommand implements ServiceRequest {
  readonly name: string;
  readonly args: readonly Uint8Array[];
  readonly db: number;
  readonly loopback: boolean;
  readonly #call: Call;
  readonly #onAnswered: () => void;
  #answered = false;

  constructor(name: string, call: Call, onAnswered: () => void) {
    const { argv, client } = call;
    this.name = name;
    // A service may keep them for longer than the request is there, or hand them to a thread.
    this.args = argv.slice(1).map((arg) => Uint8Array.from(arg));
    this.db = client.db;
    this.loopback = isOnThisMachine(client);
    this.#call = call;
    this.#onAnswered = onAnswered;
  }

  get closed(): boolean {
    const { server, client } = this.#call;
    return this.#answered || !server.clients.has(client.id);
  }

  /** CLIENT UNBLOCK ends it. */
  unblockable(): void {
    this.#call.client.unblock = (reason) => this.resolve(reason === 'error' ? UNBLOCKED : null);
  }

  /** The first reply counts: whoever has been answered otherwise waits for none. */
  resolve(reply: Reply): void {
    if (this.#answered) return;
    this.#answered = true;
    this.#call.client.unblock = undefined;
    this.#onAnswered();
    this.#call.request.resolve(reply);
  }
}
