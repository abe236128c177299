/**
 * How this server becomes a member of a cluster that asks it in: it must be alone or waiting for that, and have no data.
 * Then it stops being what it was, takes on the identity that the invitation gives it, and begins anew, empty; the
 * cluster's leader finds it at its address and sends it everything.
 */
import { MalformedError } from '../lib/bytes.ts';
import type { Log } from '../lib/env.ts';
import { decodeInvitation, encodeAnswer, type Invitation } from './card.ts';
import type { DataDirectory } from './data-directory.ts';
import type { Node } from './node.ts';

export interface AdoptionOptions {
  readonly log: Log;
  readonly directory: DataDirectory;
  readonly node: () => Node;
  /** Clients are told that this server is of no use now; resolves when nothing else uses the node. */
  readonly pause: () => Promise<void>;
  /** The node has stopped; what the directory says now is to be started. Rejects when it cannot be. */
  readonly restart: () => Promise<void>;
  readonly onFatal: (error: Error) => void;
}

export class Adoption {
  readonly #options: AdoptionOptions;
  #underWay = false;

  constructor(options: AdoptionOptions) {
    this.#options = options;
  }

  /** A member of a cluster asks this server in. */
  invited(invitation: Uint8Array, answer: (bytes: Uint8Array) => void): void {
    const parsed = parse(invitation);
    const refusal = parsed === undefined ? 'the invitation makes no sense' : this.#refusal();
    if (refusal !== undefined || parsed === undefined) return answer(encodeAnswer(refusal));
    this.#underWay = true;
    this.#follow(parsed, answer).then(
      () => {
        this.#underWay = false;
      },
      (error: Error) => this.#options.onFatal(error),
    );
  }

  #refusal(): string | undefined {
    const node = this.#options.node();
    if (this.#underWay) return 'it is being let into a cluster just now';
    if (!node.joining && node.members.length > 1) return 'it is a member of a cluster';
    return node.hasData ? 'it has data of its own' : undefined;
  }

  async #follow({ clusterId, id }: Invitation, answer: (bytes: Uint8Array) => void): Promise<void> {
    const { log, directory, node, pause, restart } = this.#options;
    await pause();
    const before = node();
    await before.replica.stop();
    // A write may have come until then.
    const late = before.hasData;
    if (!late) await directory.becomeMember({ clusterId, nodeId: id });
    answer(encodeAnswer(late ? 'it has data of its own' : undefined));
    if (!late) log.notice('was let into a cluster', { cluster: clusterId, id });
    await restart();
  }
}

function parse(invitation: Uint8Array): Invitation | undefined {
  try {
    return decodeInvitation(invitation);
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    return undefined;
  }
}
