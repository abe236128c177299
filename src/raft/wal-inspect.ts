/**
 * A look at a write-ahead log without touching it, for `hstore server --check-dir`: what is in it, and what is wrong
 * with it. Nothing is wiped, removed or opened for writing, and damage is a line of the answer, not an error.
 *
 * Whether log and store belong together is judged by the rules of recovery, if it is told what the store holds.
 */
import type { Disk } from '../lib/env.ts';
import { CorruptionError } from '../lib/errors.ts';
import type { GroupId, NodeId } from './types.ts';
import { damageError } from './wal-damage.ts';
import type { WalItem } from './wal-format.ts';
import { type GroupLog, type LogOutline, LogRebuilder, type StateOf } from './wal-rebuild.ts';
import { type SegmentScan, scanSurely, WalScanner } from './wal-recovery.ts';
import { segmentFiles } from './wal-segments.ts';

export interface InspectedGroup {
  readonly group: GroupId;
  /** The first entry that is in the log; over `lastIndex` when none is. */
  readonly firstIndex: number;
  readonly lastIndex: number;
  /** Of entry `lastIndex`, also if it is no longer in the log. */
  readonly lastTerm: number;
  readonly term: number;
  readonly votedFor: NodeId;
}

export interface WalInspection {
  /** Files, the one made in advance included. */
  readonly segments: number;
  readonly bytes: number;
  /** Up to the first damage, if there is some. */
  readonly groups: readonly InspectedGroup[];
  /** An unfinished write at the end, as a crash leaves it: the next start cuts it off. No problem. */
  readonly tornTailAt?: { readonly file: string; readonly offset: number };
  readonly problems: readonly string[];
}

/**
 * Rejects only when the files cannot be read at all. Not while a server uses them: what it is writing looks torn.
 * `stateOf`: what the store holds, if that is known.
 */
export async function inspectWal(disk: Disk, directory: string, stateOf?: StateOf): Promise<WalInspection> {
  const inspector = new Inspector(stateOf);
  for (const { name, number } of segmentFiles(await disk.list(directory))) {
    const path = `${directory}/${name}`;
    let bytes = 0;
    const { scan } = await scanSurely(inspector.scanner, async () => {
      const content = (await disk.readFile(path)) ?? new Uint8Array(0);
      bytes = content.length;
      return { name: path, number, content };
    });
    inspector.add(scan, bytes);
  }
  return inspector.end();
}

class Inspector {
  scanner = new WalScanner();
  #segments = 0;
  #bytes = 0;
  #tornTail: WalInspection['tornTailAt'];
  readonly #problems: string[] = [];
  readonly #rebuilder: LogRebuilder;
  readonly #comparing: boolean;
  #rebuilding = true;

  constructor(stateOf: StateOf | undefined) {
    this.#rebuilder = new LogRebuilder(stateOf ?? (() => NO_ENTRIES_WANTED));
    this.#comparing = stateOf !== undefined;
  }

  add(scan: SegmentScan, bytes: number): void {
    this.#segments++;
    this.#bytes += bytes;
    const { records, segment, damage } = scan;
    for (const { record } of records) this.#take(record.items);
    if (segment !== undefined) {
      this.#tornTail = segment.tornTail ? { file: segment.name, offset: segment.end } : undefined;
    }
    if (damage === undefined) {
      this.scanner.accept(scan, () => {});
      return;
    }
    this.#problems.push(damage.message);
    this.#tornTail = undefined;
    // What follows is looked at on its own, and joins nothing.
    this.#rebuilding = false;
    this.scanner = new WalScanner();
  }

  #take(items: readonly WalItem[]): void {
    if (!this.#rebuilding) return;
    try {
      for (const item of items) this.#rebuilder.take(item);
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error;
      this.#problems.push(error.message);
      this.#rebuilding = false;
    }
  }

  end(): WalInspection {
    const groups: InspectedGroup[] = [];
    for (const [group, log] of this.#rebuilder.groups) {
      const { outline } = log;
      if (outline !== undefined) groups.push(inspected(group, outline));
      if (!this.#rebuilding) continue;
      if (this.#comparing) this.#compare(log);
      else if (outline === undefined) {
        this.#problems.push(damageError(`group ${group}: no segment tells where the log begins`).message);
      }
    }
    const found = { segments: this.#segments, bytes: this.#bytes, groups, problems: this.#problems };
    return this.#tornTail === undefined ? found : { ...found, tornTailAt: this.#tornTail };
  }

  /** As recovery does. */
  #compare(log: GroupLog): void {
    try {
      log.finish();
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error;
      this.#problems.push(error.message);
    }
  }
}

/** A state so far ahead of every log that no entry is kept in memory. */
const NO_ENTRIES_WANTED = { appliedIndex: Number.MAX_SAFE_INTEGER, appliedTerm: 0, installed: undefined };

function inspected(group: GroupId, { hardState, ...log }: LogOutline): InspectedGroup {
  return { group, ...log, ...hardState };
}
