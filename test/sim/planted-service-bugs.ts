/**
 * Planted bugs above consensus: in clients' sessions, transactions, expiry, and views of the keys.
 */
import { Checkpoint } from '../../src/kv/checkpoint.ts';
import { ClientSessions } from '../../src/kv/client-sessions.ts';
import { watchedVersions } from '../../src/kv/internal-commands.ts';
import { Keyspace } from '../../src/kv/keyspace.ts';
import { Reader } from '../../src/kv/reader.ts';
import { KvStateMachine } from '../../src/kv/state-machine.ts';
import { NullArrayReply, type Reply } from '../../src/resp/reply.ts';
import { Checkpointer, type Cut } from '../../src/server/checkpointer.ts';
import { Replica } from '../../src/server/replica.ts';
import { type PlantedBug, replace } from './planting.ts';

type Transact = Replica['transact'];
type Entries = Parameters<ClientSessions['restore']>[0];

/** A stored key of a session; that of a reply is longer. */
const SESSION_KEY_BYTES = 17;

/** Whether all watched keys are, on this replica and now, what they were; its memory must have them. */
function untouchedHere(replica: Replica, { watched }: Parameters<Transact>[0]): boolean {
  return watched.every(({ db, key, version }) => {
    let now: Reply | undefined;
    const query = { db, command: watchedVersions, argv: [key, key], nowMs: 0 };
    replica.stateMachine.read(query, (versions) => {
      now = (versions as readonly number[])[0]!;
    });
    return now === undefined || now === version;
  });
}

/** Nothing waits for a cut: its checkpoint begins when all entries at hand have been applied. */
function cutLate(): () => void {
  const { cut, consider } = Checkpointer.prototype;
  const late = new WeakMap<Checkpointer, Cut[]>();
  const undos = [
    replace(Checkpointer.prototype, 'cut', {
      value(this: Checkpointer, wanted: Cut) {
        late.set(this, [...(late.get(this) ?? []), wanted]);
        return true;
      },
    }),
    replace(Checkpointer.prototype, 'consider', {
      value(this: Checkpointer) {
        const [wanted, ...others] = late.get(this) ?? [];
        if (wanted !== undefined && this.status.beganMs === undefined) {
          late.set(this, others);
          cut.call(this, wanted);
        }
        consider.call(this);
      },
    }),
  ];
  return () => {
    for (const undo of undos) undo();
  };
}

/** The snapshot of the store is taken a while after the checkpoint of the view: another one may have been written. */
function snapshotLate(): () => void {
  const { cut, consider } = Checkpointer.prototype;
  const late = new WeakMap<Checkpointer, { turns: number; readonly take: () => void }[]>();
  const undos = [
    replace(Checkpointer.prototype, 'cut', {
      value(this: Checkpointer, { done, resume }: Cut) {
        const wait = (written: Parameters<Cut['done']>[0]): void => {
          late.set(this, [...(late.get(this) ?? []), { turns: 10, take: () => done(written) }]);
        };
        return cut.call(this, { done: wait, resume });
      },
    }),
    replace(Checkpointer.prototype, 'consider', {
      value(this: Checkpointer) {
        const all = late.get(this) ?? [];
        for (const each of all) each.turns--;
        const left = all.filter(({ turns }) => turns > 0);
        late.set(this, left);
        for (const each of all) if (!left.includes(each)) each.take();
        consider.call(this);
      },
    }),
  ];
  return () => {
    for (const undo of undos) undo();
  };
}

export const SERVICE_BUGS: readonly PlantedBug[] = [
  {
    name: 'checks WATCH at the door and not in the log',
    source: 'the rule of transactions.ts',
    plant: () => {
      const { transact } = Replica.prototype;
      return replace(Replica.prototype, 'transact', {
        value(this: Replica, ...[transaction, waiter]: Parameters<Transact>) {
          if (!untouchedHere(this, transaction)) return waiter.resolve(NullArrayReply.instance);
          transact.call(this, { ...transaction, watched: [] }, waiter);
        },
      });
    },
  },
  {
    name: 'runs a numbered write again that has run',
    source: 'RIFL, section 3',
    plant: () => {
      const { once } = ClientSessions.prototype;
      return replace(ClientSessions.prototype, 'once', {
        value(this: ClientSessions, ...[numbers, moment, execute]: Parameters<typeof once>) {
          let ran = false;
          const reply = once.call(this, numbers, moment, () => {
            ran = true;
            return execute();
          });
          return !ran && typeof reply === 'number' ? execute() : reply;
        },
      });
    },
  },
  {
    name: 'forgets the replies of sessions at a restart',
    source: 'Raft thesis 6.3: the table is part of the snapshot',
    plant: () => {
      const { restore } = ClientSessions.prototype;
      return replace(ClientSessions.prototype, 'restore', {
        value(this: ClientSessions, entries: Entries) {
          restore.call(
            this,
            entries.filter(([key]) => key.length === SESSION_KEY_BYTES),
          );
        },
      });
    },
  },
  {
    name: 'runs numbered writes of sessions that are over',
    source: 'RIFL, section 4: a retry behind the end of its session is refused',
    plant: () => {
      const { once } = ClientSessions.prototype;
      return replace(ClientSessions.prototype, 'once', {
        value(this: ClientSessions, ...[numbers, moment, execute]: Parameters<typeof once>) {
          const known = this.count;
          const reply = once.call(this, numbers, moment, execute);
          const over = known === this.count && typeof reply === 'object' && reply !== null && 'code' in reply;
          return over && reply.code === 'SESSIONEXPIRED' ? execute() : reply;
        },
      });
    },
  },
  {
    name: 'lets a read remove the expired key that it finds, on its own replica',
    source: 'state that differs between replicas',
    fromSeed: 10,
    plant: () => {
      const { read } = KvStateMachine.prototype;
      const { lookup } = Keyspace.prototype;
      let readAtMs = 0;
      const undo = replace(KvStateMachine.prototype, 'read', {
        value(this: KvStateMachine, ...[query, done]: Parameters<typeof read>) {
          readAtMs = query.nowMs;
          read.call(this, query, done);
          readAtMs = 0;
        },
      });
      const undoToo = replace(Keyspace.prototype, 'lookup', {
        value(this: Keyspace, ...[db, name]: Parameters<typeof lookup>) {
          const record = lookup.call(this, db, name);
          if (record === undefined || record.expireAtMs >= readAtMs) return record;
          readAtMs = 0;
          this.expire(db, name, record.version);
          return undefined;
        },
      });
      return () => {
        undo();
        undoToo();
      };
    },
  },
  {
    name: 'lets each read decide by its own clock what has expired',
    source: 'atomix issue 330: expiry goes by the time of the log',
    fromSeed: 16,
    plant: () => replace(Reader.prototype, 'expiredBetween', { value: () => false }),
  },
  {
    name: 'does not write down when keys expire',
    source: 'the family `due` of stored-keys.ts',
    plant: () => {
      const { fill } = Checkpoint.prototype;
      return replace(Checkpoint.prototype, 'fill', {
        value(this: Checkpoint, ...[batch, entries]: Parameters<typeof fill>) {
          const put = (key: Uint8Array, value: Uint8Array) => {
            if (key[0] !== 'e'.charCodeAt(0)) batch.put(key, value);
          };
          const silent = { put, delete: batch.delete.bind(batch), write: batch.write.bind(batch) };
          return fill.call(this, silent, entries);
        },
      });
    },
  },
  {
    name: 'makes a view of a checkpoint that began behind its place in the log',
    source: 'the rule of key-views.ts',
    plant: cutLate,
  },
  {
    name: 'makes a view of what a later checkpoint has brought to the store',
    source: 'the rule of key-views.ts',
    plant: snapshotLate,
  },
];
