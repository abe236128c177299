/**
 * Who sees what the state machine does, on this server: the writes of its own clients; on the leader, what it has taken
 * into the log; and the views of the keys, at which places they are wanted.
 */
import type { ApplyObserver } from '../kv/applier.ts';
import type { KeyViews } from './key-views.ts';
import type { Proposer } from './proposer.ts';
import type { Writes } from './writes.ts';

export interface ObserverTarget {
  proposer: Proposer;
  writes: Writes;
  views: KeyViews;
}

/** The state machine is made before `Writes` is; entries are applied only after both are. */
export function observe(target: Partial<ObserverTarget>): ApplyObserver {
  return {
    wants: (session: number) => target.writes!.wants(session),
    applied: (...event: Parameters<Writes['applied']>) => target.writes!.applied(...event),
    gap: (...event: Parameters<Writes['gap']>) => {
      target.proposer!.gap(...event);
      target.writes!.gap(...event);
    },
    sessionUnknown: (session: number) => {
      target.proposer!.sessionUnknown(session);
      target.writes!.sessionUnknown(session);
    },
    sessionOpened: (...event: Parameters<Writes['sessionOpened']>) => target.writes!.sessionOpened(...event),
    cut: (...event: Parameters<KeyViews['cut']>) => target.views!.cut(...event),
  };
}
