/**
 * A group as a plain list beside its write-ahead log: what the log was told, save by save, and what the store holds. After
 * a crash the log must be as it was after one of the saves, none of those that were acknowledged missing.
 */

import type { Save } from '../../src/raft/ready.ts';
import type { Entry, HardState } from '../../src/raft/types.ts';
import type { CompactionNeeds } from '../../src/raft/wal-compaction.ts';
import type { LogPosition, RecoveredGroup, StoredState } from '../../src/raft/wal-rebuild.ts';
import type { SimRandom } from '../sim/random.ts';
import { entry, saveOf, stateAt } from './wal-world.ts';

/** The whole log after a save, nothing compacted but by snapshots. */
interface Version {
  readonly hardState: HardState;
  readonly base: LogPosition;
  readonly entries: readonly Entry[];
}

export class Twin {
  readonly group: number;
  store: StoredState = stateAt(0);
  committed = 0;
  readonly #random: SimRandom;
  /** The last one that was acknowledged, and those after it. */
  #versions: Version[] = [{ hardState: { term: 0, votedFor: 0 }, base: { index: 0, term: 0 }, entries: [] }];

  constructor(group: number, random: SimRandom) {
    this.group = group;
    this.#random = random;
  }

  get now(): Version {
    return this.#versions.at(-1)!;
  }

  get last(): LogPosition {
    return this.now.entries.at(-1) ?? this.now.base;
  }

  /** Something that a follower could be told to save: entries, some of them over others, or a term. */
  nextSave(): Save {
    const random = this.#random;
    const { hardState, base, entries } = this.now;
    const replaces = this.last.index > this.committed && random.chance(0.2);
    const newTerm = replaces || random.chance(0.05);
    const term = Math.max(hardState.term, this.last.term) + (newTerm ? 1 : 0);
    const from = replaces
      ? this.committed + 1 + random.below(this.last.index - this.committed)
      : this.last.index + 1;
    const count = random.below(4);
    const added = Array.from({ length: count }, (_, i) => this.#entry(from + i, term));
    const kept = count === 0 ? entries : entries.filter(({ index }) => index < from);
    const voted = { term, votedFor: 1 + random.below(3) };
    const changed = newTerm || random.chance(0.1) ? voted : undefined;
    this.#versions.push({ hardState: changed ?? hardState, base, entries: [...kept, ...added] });
    return saveOf({ ...(changed && { hardState: changed }), entries: added });
  }

  #entry(index: number, term: number): Entry {
    return entry(index, term, `${this.group}/${index}@${term} `.padEnd(20 + this.#random.below(700), 'x'));
  }

  /** Whether entry `index` as it is now is on the disk for certain. */
  #isStable(index: number): boolean {
    const acknowledged = termIn(this.#versions[0]!, index);
    return acknowledged !== undefined && acknowledged === termIn(this.now, index);
  }

  commit(): void {
    this.committed += this.#random.below(this.last.index - this.committed + 1);
  }

  checkpoint(): void {
    const index = this.store.appliedIndex + this.#random.below(this.committed - this.store.appliedIndex + 1);
    if (!this.#isStable(index)) return;
    this.store = { ...this.store, appliedIndex: index, appliedTerm: termIn(this.now, index)! };
  }

  /** A server takes a snapshot from a leader whose term it has saved; before that its log knows nothing of the group. */
  get mayInstall(): boolean {
    return this.#versions[0]!.hardState.term > 0;
  }

  /**
   * A snapshot has become the state: nothing of it is in the log yet. What it returns is to be saved; undefined when the
   * log has the snapshot's last entry already.
   */
  install(): Save | undefined {
    const random = this.#random;
    const index = this.committed + 1 + random.below(12);
    const known = termIn(this.now, index);
    const matches = known !== undefined && random.chance(0.3);
    const term = matches ? known : Math.max(this.last.term, this.now.hardState.term) + 1;
    this.committed = index;
    this.store = { appliedIndex: index, appliedTerm: term, installed: { index, term } };
    if (matches) return undefined;
    const hardState = { term, votedFor: 0 };
    const count = random.below(3);
    const added = Array.from({ length: count }, (_, i) => this.#entry(index + 1 + i, term));
    this.#versions.push({ hardState, base: { index, term }, entries: added });
    return saveOf({ hardState, snapshot: { index, term }, entries: added });
  }

  /** Everything up to `version`, as it was when it was saved, is durable. */
  acknowledge(version: Version): void {
    const at = this.#versions.indexOf(version);
    if (at > 0) this.#versions.splice(0, at);
  }

  needs(): CompactionNeeds {
    const random = this.#random;
    const upTo = (index: number) => random.below(index + 1);
    return {
      checkpointedIndex: this.store.appliedIndex,
      matchedIndex: random.chance(0.5) ? upTo(this.committed) : this.committed,
      heldIndex: random.chance(0.3) ? upTo(this.committed) : Number.POSITIVE_INFINITY,
    };
  }

  /** The log was opened again: goes on from there. Undefined, or why that is not what must be there. */
  recover(found: RecoveredGroup | undefined): string | undefined {
    const texts = this.#versions.map((version) => describe(this.#afterInstall(version), found, this.store));
    const text = found === undefined ? texts[0] : describeFound(found);
    const at = texts.lastIndexOf(text!);
    if (at < 0) return `found ${text}\nnone of\n${texts.join('\n')}`;
    if (found === undefined && this.#versions[0]!.entries.length > 0) return 'the log is gone';
    this.#versions = [this.#afterInstall(this.#versions[at]!)];
    // What the others have committed may have been lost here, and comes again.
    this.committed = Math.max(this.store.appliedIndex, Math.min(this.committed, this.last.index));
    return undefined;
  }

  /** An install whose reset did not reach the log is finished at start. */
  #afterInstall(version: Version): Version {
    const { installed, appliedIndex } = this.store;
    if (installed === undefined || installed.index !== appliedIndex) return version;
    const last = version.entries.at(-1) ?? version.base;
    if (
      last.index >= installed.index &&
      (termIn(version, installed.index) ?? installed.term) === installed.term
    )
      return version;
    // In a term that was not saved, nothing was said.
    const { term } = version.hardState;
    const hardState = term >= installed.term ? version.hardState : { term: installed.term, votedFor: 0 };
    return { hardState, base: installed, entries: [] };
  }
}

function termIn({ base, entries }: Version, index: number): number | undefined {
  return index === base.index ? base.term : entries.find((each) => each.index === index)?.term;
}

/** What of a version must be found: all behind where the log begins now, and the data of what is not applied. */
function describe(version: Version, found: RecoveredGroup | undefined, store: StoredState): string {
  const begin = Math.max(version.base.index, found?.log.compactedIndex ?? 0);
  const terms = version.entries.filter(({ index }) => index > begin).map(({ term }) => term);
  const data = version.entries.filter(({ index }) => index > store.appliedIndex).map(textOf);
  const { term, votedFor } = version.hardState;
  return `term ${term} vote ${votedFor} begin ${begin}@${termIn(version, begin)} terms ${terms} data ${data}`;
}

function describeFound({ hardState: { term, votedFor }, log }: RecoveredGroup): string {
  const terms: number[] = [];
  for (let index = log.compactedIndex + 1; index <= log.lastIndex; index++) {
    terms.push(log.termRuns.findLast(({ from }) => from <= index)!.term);
  }
  const data = log.entries.filter(({ index }) => index > log.appliedIndex).map(textOf);
  const begin = `${log.compactedIndex}@${log.compactedTerm}`;
  return `term ${term} vote ${votedFor} begin ${begin} terms ${terms} data ${data}`;
}

export function textOf({ data }: Entry): string {
  const text = Buffer.from(data).toString('latin1');
  return `${text.slice(0, text.indexOf(' '))}+${text.length}`;
}
