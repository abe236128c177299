/**
 * Which lives of its peers this server has met, kept over restarts: so that a server that has lost its data cannot come back
 * under its old id as if nothing had been.
 *
 * A server that begins without any data says so when it connects (`fresh`). That is right once: in the first life of its
 * id. In a later one it has forgotten what it acknowledged and whom it voted for, and could help to elect a leader that
 * lacks acknowledged writes. Then nobody takes anything from it: it is to be removed, and to join again under a new id.
 * (Raft's thesis takes stable storage for granted; rethinkdb issue 5289 shows what comes of it when it is not.)
 *
 * The file `peers`, text:
 *
 *   hstore peers, format 1
 *   ID INCARNATION                  a line for each
 *   checksum  crc32 of all lines above, in hexadecimal
 */
import { crc32 } from '../lib/checksum.ts';
import type { Disk, Log } from '../lib/env.ts';
import { ConfigError } from '../lib/errors.ts';
import type { NodeId } from '../raft/types.ts';
import type { Hello } from './peer-hello.ts';

const HEADING = 'hstore peers, format 1';
/** The one met longest ago is forgotten. */
const PEERS_MAX = 256;

export class MetPeers {
  readonly #disk: Disk;
  readonly #log: Log;
  readonly #path: string;
  /** The newest life of each, the one met last at the end. */
  readonly #incarnations: Map<NodeId, number>;
  #writing = false;
  #changed = false;

  private constructor(disk: Disk, log: Log, path: string, incarnations: Map<NodeId, number>) {
    this.#disk = disk;
    this.#log = log;
    this.#path = path;
    this.#incarnations = incarnations;
  }

  /** Throws ConfigError when the file is not whole. */
  static async load(disk: Disk, log: Log, path: string): Promise<MetPeers> {
    const content = await disk.readFile(path);
    return new MetPeers(disk, log, path, content === undefined ? new Map() : parse(content, path));
  }

  hasLostItsData({ from, incarnation, fresh }: Hello): boolean {
    const before = this.#incarnations.get(from);
    return fresh && before !== undefined && before !== incarnation;
  }

  met({ from, incarnation, kind }: Hello): void {
    if (kind === 'visit' || this.#incarnations.get(from) === incarnation) return;
    this.#incarnations.delete(from);
    this.#incarnations.set(from, incarnation);
    const [oldest] = this.#incarnations.keys();
    if (this.#incarnations.size > PEERS_MAX) this.#incarnations.delete(oldest!);
    this.#changed = true;
    this.#write();
  }

  /** One write at a time, of what is known when it begins. */
  #write(): void {
    if (this.#writing || !this.#changed) return;
    this.#writing = true;
    this.#changed = false;
    const done = (): void => {
      this.#writing = false;
      this.#write();
    };
    this.#disk.replaceFile(this.#path, format(this.#incarnations)).then(done, (error: Error) => {
      this.#log.warning('could not note whom it has met', { file: this.#path, reason: error.message });
      done();
    });
  }
}

function format(incarnations: ReadonlyMap<NodeId, number>): Uint8Array {
  const lines = [HEADING, ...[...incarnations].map(([id, incarnation]) => `${id} ${incarnation}`)];
  const body = new TextEncoder().encode(`${lines.join('\n')}\n`);
  return new TextEncoder().encode(`${new TextDecoder().decode(body)}checksum ${crc32(body).toString(16)}\n`);
}

function parse(content: Uint8Array, path: string): Map<NodeId, number> {
  const lines = new TextDecoder().decode(content).split('\n');
  const incarnations = new Map<NodeId, number>();
  for (const line of lines.slice(1, -2)) {
    const [id, incarnation] = line.split(' ').map(Number);
    if (Number.isSafeInteger(id) && Number.isSafeInteger(incarnation)) incarnations.set(id!, incarnation!);
  }
  if (new TextDecoder().decode(format(incarnations)) === new TextDecoder().decode(content))
    return incarnations;
  throw new ConfigError(`${path} is damaged: put it back from a backup, or remove it`);
}
