/**
 * Known bugs of coordinators, planted into the real code, so that the world of jobs is tested too: it must find each. They
 * are planted as those of test/sim are, and where what is wrong is one transaction, between the service and its server.
 */
import { latin1 } from '../../../src/lib/bytes.ts';
import { ActiveJob } from '../../../src/mapreduce/cluster/active-job.ts';
import { Coordinator } from '../../../src/mapreduce/cluster/coordinator.ts';
import {
  chunkKey,
  decodeRecord,
  type JobId,
  type JobResult,
  jobKey,
} from '../../../src/mapreduce/cluster/records.ts';
import { Reign } from '../../../src/mapreduce/cluster/reign.ts';
import { command } from '../../../src/mapreduce/cluster/system-keys.ts';
import { Master } from '../../../src/mapreduce/master.ts';
import type { Counters } from '../../../src/mapreduce/tasks.ts';
import type { ServiceTransaction } from '../../../src/server/service.ts';
import { NodeServiceHost } from '../../../src/server/service-host.ts';
import { type PlantedBug, replace } from '../../sim/planting.ts';

type Done = Parameters<NodeServiceHost['transact']>[1];

function replaceTransact(
  transactAs: (transaction: ServiceTransaction, done: Done, transact: NodeServiceHost['transact']) => void,
): () => void {
  const { transact } = NodeServiceHost.prototype;
  return replace(NodeServiceHost.prototype, 'transact', {
    value(this: NodeServiceHost, transaction: ServiceTransaction, done: Done) {
      transactAs(transaction, done, (...asked) => transact.call(this, ...asked));
    },
  });
}

function unwatched(prefix: string): () => void {
  return replaceTransact(({ watched, commands }, done, transact) => {
    const left = watched.filter(({ key }) => !latin1(key).startsWith(prefix));
    transact({ watched: left, commands }, done);
  });
}

function all(...undos: (() => void)[]): () => void {
  return () => {
    for (const undo of undos) undo();
  };
}

/** What counts of a job is cleared with what does not. */
function cleansTooMuch(): () => void {
  const { change } = Reign.prototype;
  const parts = new WeakMap<Reign, Map<JobId, JobResult['parts']>>();
  return replace(Reign.prototype, 'change', {
    value(this: Reign, ...[index, more = []]: Parameters<typeof change>) {
      const known = parts.get(this) ?? new Map<JobId, JobResult['parts']>();
      parts.set(this, known);
      for (const { argv } of more) {
        const [, id] = /^mr:result:(\d+)$/.exec(latin1(argv[1]!)) ?? [];
        if (id !== undefined && latin1(argv[0]!) === 'SET') {
          known.set(Number(id), decodeRecord<JobResult>(argv[2]!).parts);
        }
      }
      const cleaned = index.jobs.filter(({ id, unclean }) => unclean === false && known.has(id));
      const keys = cleaned.flatMap(({ id }) =>
        known.get(id)!.map(([attempt], task) => chunkKey(id, task, attempt, 0)),
      );
      for (const { id } of cleaned) known.delete(id);
      const commands = keys.length === 0 ? more : [...more, command('DEL', ...keys)];
      return change.call(this, index, commands);
    },
  });
}

/** Both attempts of a task are settled, and both are counted. */
function countsTwice(): () => void {
  const { settle } = Master.prototype;
  const counters = Object.getOwnPropertyDescriptor(Master.prototype, 'counters')!.get!;
  const second = new WeakMap<Master, Counters[]>();
  return all(
    replace(ActiveJob.prototype, 'isSettled', { value: () => undefined }),
    replace(Master.prototype, 'settle', {
      value(this: Master, ...[assignment, done, nowMs]: Parameters<typeof settle>) {
        const settled = settle.call(this, assignment, done, nowMs);
        if (!settled.counts) second.set(this, [...(second.get(this) ?? []), done.counters]);
        return settled;
      },
    }),
    replace(Master.prototype, 'counters', {
      get(this: Master) {
        const sums: Record<string, number> = { ...(counters.call(this) as Counters) };
        for (const more of second.get(this) ?? []) {
          for (const [name, count] of Object.entries(more)) sums[name] = (sums[name] ?? 0) + count;
        }
        return sums;
      },
    }),
  );
}

/** Under the name of the first one. */
function refreezes(): () => void {
  const { freeze } = NodeServiceHost.prototype;
  const { renew } = Coordinator.prototype;
  const first = new Map<number, string>();
  return all(
    replace(Coordinator.prototype, 'renew', {
      value(this: Coordinator, ...[id, epoch, view]: Parameters<typeof renew>) {
        if (epoch > 1) return;
        first.set(id, view);
        renew.call(this, id, epoch, view);
      },
    }),
    replace(NodeServiceHost.prototype, 'freeze', {
      value(this: NodeServiceHost, ...[id, done]: Parameters<typeof freeze>) {
        const job = Number(id.split('-')[1]);
        freeze.call(this, first.get(job) ?? id, done);
      },
    }),
  );
}

export const JOB_BUGS: readonly PlantedBug[] = [
  {
    name: 'writes without a look at who coordinates now',
    source: 'the rule of reign.ts: a fencing token',
    fromSeed: 5,
    plant: () => unwatched('mr:reign'),
  },
  {
    name: 'stores parts of a result without a look at the job',
    source: 'the rule of upload.ts',
    plant: () => unwatched('mr:job:'),
  },
  {
    name: 'stores parts of a result without noting down that it does',
    source: 'the rule of upload.ts',
    plant: () =>
      replaceTransact(({ watched, commands }, done, transact) => {
        const left = commands.filter(({ argv }) => !latin1(argv[1]!).startsWith('mr:uploads:'));
        transact({ watched, commands: left }, done);
      }),
  },
  {
    name: 'counts both attempts of a task',
    source: 'Spark issues 8029 and 24589',
    plant: countsTwice,
  },
  {
    name: 'does not do maps again whose outputs are lost',
    source: 'disco issue 221, Spark issue 19753',
    plant: () => {
      const { unfetched } = ActiveJob.prototype;
      return all(
        replace(ActiveJob.prototype, 'outputsOf', { value: () => [] }),
        replace(ActiveJob.prototype, 'unfetched', {
          value(this: ActiveJob, ...asked: Parameters<typeof unfetched>) {
            unfetched.apply(this, asked);
            return [];
          },
        }),
      );
    },
  },
  {
    name: 'begins every job anew when another server leads',
    source: 'the paper, section 3.3: its master was one process',
    plant: () => {
      const { load } = Reign.prototype;
      return replace(Reign.prototype, 'load', {
        async value(this: Reign) {
          const kept = await load.call(this);
          return kept.map((job) => ({ ...job, facts: [] }));
        },
      });
    },
  },
  {
    name: 'clears the part that counts with those that do not',
    source: 'the rule of ending.ts',
    plant: cleansTooMuch,
  },
  {
    name: 'waits for a view of the keys that nobody has',
    source: 'hazelcast issue 2354: a job must survive a change of the servers',
    plant: () => replace(Coordinator.prototype, 'viewless', { value: () => [] }),
  },
  {
    name: 'makes a lost view of the keys again, and goes on with what was read of the old one',
    source: 'the rule of coordinator.ts: another view, another epoch',
    fromSeed: 30,
    plant: refreezes,
  },
  {
    name: 'writes the first keys of a result before the others',
    source: 'the rule of ending.ts: one operation',
    fromSeed: 31,
    plant: () =>
      replaceTransact((transaction, done, transact) => {
        const keys = transaction.commands.filter(({ db }) => db !== undefined);
        if (keys.length === 0) return transact(transaction, done);
        // MSET and the first pair.
        const first = keys.map(({ argv, ...rest }) => ({ ...rest, argv: argv.slice(0, 3) }));
        transact({ ...transaction, commands: first }, () => transact(transaction, done));
      }),
  },
  {
    name: 'forgets the tokens of jobs',
    source: 'a submission that is sent again is one job',
    plant: () => {
      const index = Object.getOwnPropertyDescriptor(Reign.prototype, 'index')!.get!;
      return replace(Reign.prototype, 'index', {
        get(this: Reign): Reign['index'] {
          const { jobs, ...rest } = index.call(this) as Reign['index'];
          return { ...rest, jobs: jobs.map((job) => ({ ...job, token: '' })) };
        },
      });
    },
  },
  {
    name: 'coordinates on after another has',
    source: 'who leads again has missed what was decided in between',
    fromSeed: 39,
    plant: () => {
      const undo = [
        replace(NodeServiceHost.prototype, 'term', { get: () => 1 }),
        // Either of the two would be enough to keep it from answering.
        replace(Reign.prototype, 'holds', { value: () => Promise.resolve(true) }),
      ];
      return () => {
        for (const each of undo) each();
      };
    },
  },
  {
    name: 'leaves the record of a job that has ended',
    source: 'the rule of records.ts',
    plant: () =>
      replaceTransact(({ watched, commands }, done, transact) => {
        const isRecord = (key: string) => key === latin1(jobKey(Number(key.split(':')[2])));
        const without = commands.map(({ argv, ...rest }) => ({
          ...rest,
          argv:
            latin1(argv[0]!) === 'DEL' ? argv.filter((key, i) => i === 0 || !isRecord(latin1(key))) : argv,
        }));
        transact({ watched, commands: without.filter(({ argv }) => argv.length > 1) }, done);
      }),
  },
];
