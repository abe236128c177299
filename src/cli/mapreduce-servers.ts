/**
 * The servers of a cluster as a job needs them, by the client library, which goes on at another server when one is lost, or
 * cannot answer now. What it says when even that has not helped is a value here: the job decides what that means.
 */
import { performance } from 'node:perf_hooks';
import { connect, DeadlineError, type HstoreClient } from '../client/connect.ts';
import { ConfigError } from '../lib/errors.ts';
import type { ClusterAccess } from './mapreduce-access.ts';
import { isHere } from './this-machine.ts';

export type Told =
  | { readonly told: 'reply'; readonly reply: unknown }
  | { readonly told: 'error'; readonly message: string }
  | { readonly told: 'nothing'; readonly message: string };

type Words = readonly (string | number)[];

/** As mapreduce/job-servers.ts has it. */
export interface JobServers {
  readonly local: boolean;
  ask(words: Words): Promise<Told>;
  submit(words: Words): Promise<Told>;
  close(): void;
}

export interface Patience {
  /** Of the client: one server may take half of it, then it is left behind. Also for the first answer of any. */
  readonly attemptsMs: number;
  /** Without any answer. */
  readonly silenceMs: number;
  /** A server may look for input for a minute. */
  readonly submitMs: number;
}

const PATIENCE: Patience = { attemptsMs: 10_000, silenceMs: 60_000, submitMs: 180_000 };

/** Throws ConfigError for what the servers do not accept, and an error when none can be reached. */
export async function connectServers(
  access: ClusterAccess,
  patience: Patience = PATIENCE,
): Promise<JobServers> {
  const { nodes, password, tls } = access;
  const options = {
    nodes,
    ...(password === undefined ? {} : { password }),
    ...(tls === undefined ? {} : { tls }),
  };
  const { attemptsMs, silenceMs, submitMs } = patience;
  try {
    const client = await connect({ ...options, deadlineMs: attemptsMs });
    return new Servers(client, {
      silenceMs,
      connectForSubmit: () => connect({ ...options, deadlineMs: submitMs }),
    });
  } catch (error) {
    throw unreachable(error, access);
  }
}

class Servers implements JobServers {
  readonly #client: HstoreClient;
  readonly #silenceMs: number;
  readonly #connectForSubmit: () => Promise<HstoreClient>;

  constructor(
    client: HstoreClient,
    options: { silenceMs: number; connectForSubmit: () => Promise<HstoreClient> },
  ) {
    this.#client = client;
    this.#silenceMs = options.silenceMs;
    this.#connectForSubmit = options.connectForSubmit;
  }

  get local(): boolean {
    return this.#client.members.every(({ host }) => isHere(host));
  }

  async ask(words: Words): Promise<Told> {
    const untilMs = performance.now() + this.#silenceMs;
    for (;;) {
      const told = await askOnce(this.#client, words);
      if (told.told !== 'nothing' || performance.now() >= untilMs) return told;
    }
  }

  async submit(words: Words): Promise<Told> {
    let client: HstoreClient | undefined;
    try {
      client = await this.#connectForSubmit();
      return await askOnce(client, words);
    } catch (error) {
      return toldBy(error);
    } finally {
      await client?.close();
    }
  }

  close(): void {
    void this.#client.close();
  }
}

async function askOnce(client: HstoreClient, [command, ...args]: Words): Promise<Told> {
  try {
    return { told: 'reply', reply: await client.callBuffer(`${command}`, ...args) };
  } catch (error) {
    return toldBy(error);
  }
}

/** Throws what is no server's doing. */
function toldBy(error: unknown): Told {
  if (error instanceof DeadlineError) return { told: 'nothing', message: messageOf(error.cause) };
  if (error instanceof Error && error.name === 'ReplyError') return { told: 'error', message: error.message };
  throw error;
}

function unreachable(error: unknown, { nodes, password }: ClusterAccess): unknown {
  if (error instanceof DeadlineError) {
    return new Error(`none of ${nodes.join(', ')} can be reached: ${messageOf(error.cause)}`, {
      cause: error,
    });
  }
  if (!(error instanceof Error) || error.name !== 'ReplyError') return error;
  if (/^(NOAUTH|WRONGPASS)\b/.test(error.message)) {
    const why = password === undefined ? 'ask for a password' : 'refuse the password';
    return new ConfigError(`the servers ${why}: give theirs in REDISCLI_AUTH or with --password`, error);
  }
  return new Error(`${nodes.join(', ')}: ${error.message}`, { cause: error });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
