/** Why a reduce task cannot have its input: map outputs are lost, or the server that has them is. */
import { HstoreError } from '../lib/errors.ts';

export class FetchFailed extends HstoreError {
  override readonly name = 'FetchFailed';
  /** The server that was asked; perhaps this one. */
  readonly node: number;
  /** The tasks whose outputs are missing or damaged there. Empty: nothing can be had from that server now. */
  readonly maps: readonly number[];

  constructor(node: number, maps: readonly number[], message: string) {
    super('FETCH_FAILED', 'not-done', message);
    this.node = node;
    this.maps = maps;
  }
}
