/** The servers of a cluster, as a program sees them that has a job done there: MR.* commands, which any of them answers. */
import { HstoreError } from '../lib/errors.ts';

export type Told =
  /** Bulk strings are bytes, maps are arrays of names and values in turn. */
  | { readonly told: 'reply'; readonly reply: unknown }
  /** `message` begins with the error's code. */
  | { readonly told: 'error'; readonly message: string }
  /** No server has answered in time, whichever was asked; `message`: what was wrong the last time. */
  | { readonly told: 'nothing'; readonly message: string };

/** What is lost on the way is asked again, of another server: each of these commands may be repeated. */
export interface JobServers {
  /** All of them, as far as is known, are on this machine and see its files. */
  readonly local: boolean;
  ask(words: readonly (string | number)[]): Promise<Told>;
  /** MR.SUBMIT: it may have to look for many files before it answers. */
  submit(words: readonly (string | number)[]): Promise<Told>;
  close(): void;
}

/** A server refuses, or none has answered. */
export class ServersError extends HstoreError {
  override readonly name = 'ServersError';
  constructor(message: string) {
    super('SERVERS', 'unknown', message);
  }
}
