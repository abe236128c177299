/**
 * Real servers in this process with a service that does nothing by itself: the test sees what it was asked, answers for
 * it, and asks through its host.
 */
import { Config } from '../../src/config/config.ts';
import { createEnv } from '../../src/io/env.ts';
import { fromLatin1, latin1 } from '../../src/lib/bytes.ts';
import type { Reply } from '../../src/resp/reply.ts';
import { type RunningServer, startServer } from '../../src/server/server.ts';
import type { Service, ServiceHost, ServiceRequest, ServiceTransaction } from '../../src/server/service.ts';
import { temporaryDirectory } from '../io/temporary.ts';
import { words } from '../kv/log-script.ts';
import { takePorts } from '../ports.ts';

const WAIT_MS_MAX = 10_000;
const LOOK_EVERY_MS = 5;

export async function until(holds: () => boolean): Promise<void> {
  const untilMs = Date.now() + WAIT_MS_MAX;
  while (!holds()) {
    if (Date.now() > untilMs) throw new Error(`not within ${WAIT_MS_MAX} ms: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

/** In the order of what happened to it. */
export class RecordingService implements Service {
  readonly host: ServiceHost;
  readonly requests: ServiceRequest[] = [];
  readonly calls: { readonly from: number; readonly question: string }[] = [];
  /** Settled by the test; until then a stop lasts. */
  stopping: { readonly resolve: () => void } | undefined;
  stopsByItself = true;
  stops = 0;

  constructor(host: ServiceHost) {
    this.host = host;
  }

  execute(request: ServiceRequest): void {
    this.requests.push(request);
  }

  onCall(from: number, payload: Uint8Array, answer: (payload: Uint8Array) => void): void {
    this.calls.push({ from, question: latin1(payload) });
    answer(fromLatin1(`heard: ${latin1(payload)}`));
  }

  holdsData = false;

  info(): readonly (readonly [string, string | number])[] {
    return [
      ['mapreduce_role', 'recorder'],
      ['mapreduce_requests', this.requests.length],
    ];
  }

  stop(): Promise<void> {
    this.stops++;
    if (this.stopsByItself) return Promise.resolve();
    return new Promise((resolve) => {
      this.stopping = { resolve };
    });
  }

  /** The next command that a client has sent. */
  async asked(count: number): Promise<ServiceRequest> {
    await until(() => this.requests.length >= count);
    return this.requests[count - 1]!;
  }
}

export class ServiceServer {
  readonly dir = temporaryDirectory();
  /** One for each start, the last one runs. */
  readonly services: RecordingService[] = [];
  port = 0;
  #server: RunningServer | undefined;

  async start(flags: Record<string, string> = {}, withService = true): Promise<this> {
    if (this.port === 0) this.port = (await takePorts(1))[0]!;
    const own = { port: `${this.port}`, dir: this.dir };
    const config = new Config({ flags: Object.entries({ ...own, ...flags }), environment: {} });
    const env = createEnv({ log: { level: 'warning' }, tcp: { keepAliveMs: 0 } });
    const startService = (host: ServiceHost): Service => {
      const service = new RecordingService(host);
      this.services.push(service);
      return service;
    };
    this.#server = await startServer(env, config, {
      version: 'test',
      onFatal: (error) => {
        throw error;
      },
      ...(withService ? { startService } : {}),
    });
    return this;
  }

  get service(): RecordingService {
    return this.services.at(-1)!;
  }

  get host(): ServiceHost {
    return this.service.host;
  }

  async stop(): Promise<void> {
    await this.#server?.stop();
    this.#server = undefined;
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  // Of its host, with promises and text

  async transact(commands: ServiceTransaction['commands'], watched: ServiceTransaction['watched'] = []) {
    const told = await answered<Reply>((done) => this.host.transact({ watched, commands }, done));
    return words(told);
  }

  async get(key: string): Promise<unknown> {
    return words(await answered<Reply>((done) => this.host.read({ argv: argvOf('GET', key) }, done)));
  }

  versionOf(key: string): Promise<Reply> {
    return answered((done) => this.host.versionOf(fromLatin1(key), done));
  }

  async call(member: number, question: string): Promise<string | undefined> {
    const ask = (done: (answer: Uint8Array | undefined) => void) =>
      this.host.call(member, fromLatin1(question), done);
    const answer = await answered(ask);
    return answer === undefined ? undefined : latin1(answer);
  }
}

export function argvOf(...words: string[]): Uint8Array[] {
  return words.map(fromLatin1);
}

/** In the system database. */
export function commandOf(...words: string[]): { argv: Uint8Array[] } {
  return { argv: argvOf(...words) };
}

export function answered<T>(ask: (done: (answer: T) => void) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    let returned = false;
    ask((answer) => {
      if (!returned) reject(new Error('the answer came before the call had returned'));
      resolve(answer);
    });
    returned = true;
  });
}
