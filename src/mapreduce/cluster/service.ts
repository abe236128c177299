/**
 * MapReduce in a server: the commands of clients, the coordinator (which is at work on the leader), and the worker that this
 * server is, as one service beside the store.
 *
 *   client --MR.*--> commands --ask--> coordination, on the leader --facts--> the log
 *                                        ^    | orders
 *                                 report |    v
 *                                      worker node --> slots: threads that map and reduce; shuffle thread
 */

import type { BulkFiles, Threads } from '../../lib/bulk.ts';
import type { BulkTls } from '../../lib/bulk-network.ts';
import { ConfigError, CorruptionError } from '../../lib/errors.ts';
import { ErrorReply, type Reply } from '../../resp/reply.ts';
import {
  SERVICE_PAYLOAD_BYTES_MAX,
  type Service,
  type ServiceHost,
  type ServiceRequest,
  type StartService,
} from '../../server/service.ts';
import type { TaskFailure } from '../tasks.ts';
import type { ClusterMission } from './cluster-worker-protocol.ts';
import { Commands, UnansweredError } from './commands.ts';
import { Coordination } from './coordination.ts';
import { type Answer, decodeQuestion, encodeMessage, type Order } from './messages.ts';
import { ShuffleSide } from './shuffle-side.ts';
import { jobDirectory, secretBytes } from './slot.ts';
import { StoreError } from './system-keys.ts';
import { WorkerNode } from './worker-node.ts';

export interface MapReduceOptions {
  readonly threads: Threads;
  readonly files: BulkFiles;
  /** Threads that work; 0: one less than cores, and one at least. */
  readonly slots: number;
  /** Of the shuffle server; port 0: any. */
  readonly listen: { readonly host: string; readonly port: number };
  readonly tls: BulkTls | undefined;
  /** Where modules of the operator's choice are; empty: nowhere. Absolute. */
  readonly modules: string;
  readonly filesAllowed: 'no' | 'local' | 'yes';
  readonly resultBytesMax: () => number;
}

const TOO_LARGE: Answer = { answer: 'refused', message: 'the answer is too large' };
const MODULE = /^[^/\\\0]+\.[cm]?[jt]s$/;

export function mapReduceService(options: MapReduceOptions): StartService {
  return (host) => new MapReduce(host, options);
}

class MapReduce implements Service {
  readonly #host: ServiceHost;
  readonly #options: MapReduceOptions;
  readonly #root: string;
  readonly #coordination: Coordination;
  readonly #shuffle: ShuffleSide;
  readonly #node: WorkerNode;
  readonly #commands: Commands;
  readonly #slots: number;
  #stopped = false;

  constructor(host: ServiceHost, options: MapReduceOptions) {
    const { threads, files, listen, tls, modules, filesAllowed, resultBytesMax } = options;
    const { clock, log, directory } = host;
    this.#host = host;
    this.#options = options;
    this.#root = `${directory}/mapreduce`;
    this.#slots = options.slots === 0 ? Math.max(1, threads.cores - 1) : options.slots;
    const hasLeftovers = files.stat(this.#root) !== undefined;
    this.#coordination = new Coordination(host, { resultBytesMax });
    this.#shuffle = new ShuffleSide({ threads, clock, log, root: this.#root, listen, tls, hasLeftovers });
    this.#node = new WorkerNode({
      ...{ host, threads, slots: this.#slots, shuffle: this.#shuffle, partBytesMax: resultBytesMax },
      mission: (order) => this.#mission(order),
    });
    this.#commands = new Commands({ host, threads, slots: this.#slots, modules, files: filesAllowed });
  }

  execute(request: ServiceRequest): void {
    this.#commands.execute(request).then(
      (reply) => request.resolve(reply),
      (error: unknown) => request.resolve(replyOf(error)),
    );
  }

  onCall(from: number, payload: Uint8Array, answer: (payload: Uint8Array) => void): void {
    const question = decodeQuestion(payload);
    const reply = (told: Answer): void => {
      const bytes = encodeMessage(told);
      answer(bytes.length <= SERVICE_PAYLOAD_BYTES_MAX ? bytes : encodeMessage(TOO_LARGE));
    };
    if (question === undefined) return reply({ answer: 'refused', message: 'the question makes no sense' });
    if (question.ask === 'wake') {
      this.#node.wake();
      return reply({ answer: 'awake' });
    }
    void this.#coordination.answer(from, question).then((told) => {
      if (!this.#stopped) reply(told);
    });
  }

  get holdsData(): boolean {
    return this.#coordination.hasJobs;
  }

  info(): readonly (readonly [string, string | number])[] {
    const { counts } = this.#node;
    const { index, coordinator } = this.#coordination;
    return [
      ['mapreduce_threads', this.#slots],
      ['mapreduce_threads_busy', this.#node.busy],
      ['mapreduce_coordinator', coordinator === undefined ? 0 : 1],
      ['mapreduce_jobs_active', coordinator?.jobs.length ?? 0],
      ['mapreduce_jobs_kept', index?.jobs.length ?? 0],
      ['mapreduce_attempts_done', counts.done],
      ['mapreduce_attempts_failed', counts.failed],
      ['mapreduce_attempts_unfetched', counts.unfetched],
      ['mapreduce_shuffle_port', this.#shuffle.port],
      ['mapreduce_shuffle_bytes_sent', this.#shuffle.servedBytes],
      ['mapreduce_views', this.#host.views.length],
    ];
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#coordination.stop();
    this.#node.stop();
    this.#shuffle.stop();
  }

  #mission(order: Order): ClusterMission | TaskFailure {
    const { brief, split } = order;
    const { name } = this.#host.self;
    if (this.#options.filesAllowed === 'no' && split !== undefined && split.kind !== 'keys') {
      return {
        message: `the server ${name} reads no files for jobs (mr-files no)`,
        deterministic: true,
        local: true,
      };
    }
    const job = jobDirectory(order);
    const spec = {
      ...{ job: brief.job, args: brief.args, reducers: brief.reducers, memoryBytes: brief.memoryBytes },
      ...{ output: 'keyed' as const, temporary: `${this.#root}/${job}` },
    };
    const mission = {
      ...{ spec, job, key: secretBytes(brief.secret), node: this.#host.self.id, tls: this.#options.tls },
    };
    if (brief.job.kind === 'builtin') return mission;
    const { modules } = this.#options;
    if (modules === '' || !MODULE.test(brief.job.path)) {
      const message = `the server ${name} runs no code of its users: start it with --mr-modules DIR`;
      return { message, deterministic: true, local: true };
    }
    const located = { ...brief.job, path: `${modules}/${brief.job.path}` };
    return { ...mission, spec: { ...spec, job: located } };
  }
}

/** Throws what is a bug. */
function replyOf(error: unknown): Reply {
  if (error instanceof UnansweredError) return error.reply;
  if (error instanceof StoreError) return new ErrorReply(error.code, error.message);
  if (error instanceof ConfigError) return new ErrorReply('ERR', oneLine(error.message));
  if (error instanceof CorruptionError) return new ErrorReply('ERR', oneLine(error.message));
  throw error;
}

function oneLine(message: string): string {
  return message.replace(/\s*[\r\n]+\s*/g, ' ');
}
