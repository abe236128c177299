/**
 * Which configuration is in force: that of the last configuration entry in the log, or the one it began with.
 *
 * Entries may be truncated, and then the configuration before them is in force again; so the ones behind the applied
 * index are all kept. What is applied is never truncated, and of it only the last one counts.
 */
import { assert } from '../lib/assert.ts';
import { type Configuration, decodeConfiguration } from './configuration.ts';
import type { Entry } from './types.ts';

export interface ConfigurationAt {
  /** Of its entry; 0 for a founding configuration. */
  readonly index: number;
  readonly configuration: Configuration;
}

export class ConfigurationLog {
  /** In the order of their entries; at least one. */
  #known: ConfigurationAt[];

  constructor(base: ConfigurationAt) {
    this.#known = [base];
  }

  get last(): ConfigurationAt {
    return this.#known.at(-1)!;
  }

  /** The one in force before, if the last one may still be truncated. */
  get beforeLast(): ConfigurationAt | undefined {
    return this.#known.at(-2);
  }

  appended(entry: Entry): void {
    if (entry.type !== 'configuration') return;
    assert(entry.index > this.last.index, 'configurations follow each other', entry.index, this.last.index);
    this.#known.push({ index: entry.index, configuration: decodeConfiguration(entry.data) });
  }

  truncatedFrom(index: number): void {
    while (this.#known.length > 1 && this.last.index >= index) this.#known.pop();
    assert(this.last.index < index, 'the configuration that was applied stays', index, this.last.index);
  }

  appliedTo(index: number): void {
    while (this.#known.length > 1 && this.#known[1]!.index <= index) this.#known.shift();
  }

  /** A snapshot has taken the place of the whole log. */
  restored(base: ConfigurationAt): void {
    this.#known = [base];
  }
}
