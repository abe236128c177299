/** What a turn of a consensus core brings about, as it gathers; `Ready` takes it out. */
import type { Message } from './messages.ts';
import type { Ready } from './ready.ts';
import type { NodeId } from './types.ts';

type Fetch = Ready['fetches'][number];
type ConfirmedRead = Ready['reads'][number];

export class Outbox {
  #messages: Message[] = [];
  #messagesAfterSave: Message[] = [];
  #reads: ConfirmedRead[] = [];
  #fetches: Fetch[] = [];
  #snapshots: NodeId[] = [];

  send(message: Message): void {
    this.#messages.push(message);
  }

  sendAfterSave(message: Message): void {
    this.#messagesAfterSave.push(message);
  }

  confirmRead(read: ConfirmedRead): void {
    this.#reads.push(read);
  }

  fetch(request: Fetch): void {
    this.#fetches.push(request);
  }

  needSnapshot(follower: NodeId): void {
    this.#snapshots.push(follower);
  }

  take(): Omit<Ready, 'save'> {
    const taken = {
      messages: this.#messages,
      messagesAfterSave: this.#messagesAfterSave,
      reads: this.#reads,
      fetches: this.#fetches,
      snapshots: this.#snapshots,
    };
    this.#messages = [];
    this.#messagesAfterSave = [];
    this.#reads = [];
    this.#fetches = [];
    this.#snapshots = [];
    return taken;
  }
}
