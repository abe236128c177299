/**
 * When views of the keys are made and when they end: beside checkpoints that are under way, on full disks, and as time
 * passes. What they show is in test/kv/view.test.ts.
 */
import { describe, expect, test } from 'vitest';
import { ViewGoneError } from '../../src/kv/view.ts';
import { ErrorReply, type Reply } from '../../src/resp/reply.ts';
import { VIEWS_MAX } from '../../src/server/key-views.ts';
import { command, type Op } from '../kv/replica.ts';
import { rangeOf, ViewWorld } from './view-world.ts';

const freezing = (id: string) => command('hstore.freeze', id);
const set = (value: string) => command('SET', 'k', value);

/** Entries as one batch, as Raft hands them over. */
function applyTogether(world: ViewWorld, ...entries: Op[][]): void {
  const batch = entries.map((ops) => world.script.write(...ops));
  world.script.replica.apply(batch);
  world.settle();
}

function valueIn(world: ViewWorld, id: string): string | undefined {
  return world.contents(id).k;
}

describe('freeze', () => {
  test('sends a command through the log, and tells what came of it later', () => {
    const world = new ViewWorld();
    const replies: (true | Reply)[] = [];
    world.views.freeze('job 1 ü', (reply) => replies.push(reply));
    expect(replies).toEqual([]);
    world.settle();
    expect([replies, world.written]).toEqual([[true], ['hstore.freeze job 1 ü']]);
  });

  test('is refused while the disk is full', () => {
    const world = new ViewWorld();
    world.disk.full = true;
    const replies: (true | Reply)[] = [];
    world.views.freeze('v', (reply) => replies.push(reply));
    expect(replies).toEqual([]);
    world.settle();
    expect([(replies[0] as ErrorReply).code, world.written]).toEqual(['MISCONF', []]);
  });

  test('asks for an id of 1 to 64 bytes, at the door and in the log', () => {
    const world = new ViewWorld();
    for (const id of ['', 'ü'.repeat(33)]) {
      expect(() => world.views.freeze(id, () => {})).toThrow();
      expect(world.script.run(freezing(Buffer.from(id).toString('latin1')))).toBeInstanceOf(ErrorReply);
    }
    world.settle();
    expect([world.views.views, world.checkpointer.status.finishedCount]).toEqual([[], 0]);
  });

  test('has the id in its own letters in the list of views', () => {
    const world = new ViewWorld();
    world.freeze(Buffer.from('größe').toString('latin1'));
    world.settle();
    expect(world.views.views).toEqual(['größe']);
    expect(world.views.view('größe')).toBeDefined();
  });
});

describe('a cut', () => {
  test('holds up the entries behind it only while another checkpoint is under way', () => {
    const world = new ViewWorld();
    const { machine, store } = world.script.replica;
    const applied = (entries: Op[][]): number => {
      machine.apply(
        entries.map((ops) => world.script.write(...ops)),
        () => {},
      );
      return machine.appliedIndex;
    };
    expect(applied([[set('1'), freezing('a')], [set('2')]])).toBe(3);
    // The checkpoint of the first is under way now.
    expect(applied([[set('3'), freezing('b')], [set('4')]])).toBe(4);
    expect(store.waiting).toBe(1);
    world.settle();
    expect(machine.appliedIndex).toBe(5);
    expect([valueIn(world, 'a'), valueIn(world, 'b'), world.script.get('k')]).toEqual(['1', '3', '4']);
    expect([world.views.view('a')!.index, world.views.view('b')!.index]).toEqual([2, 4]);
  });

  test('in each of several entries of a batch makes a view of each', () => {
    const world = new ViewWorld();
    applyTogether(
      world,
      [set('1'), freezing('a')],
      [set('2'), freezing('b')],
      [set('3')],
      [freezing('c'), set('4')],
    );
    expect(['a', 'b', 'c'].map((id) => valueIn(world, id))).toEqual(['1', '2', '4']);
    expect(['a', 'b', 'c'].map((id) => world.views.view(id)!.index)).toEqual([2, 3, 5]);
  });

  test('of several ids in one entry makes them of one state', () => {
    const world = new ViewWorld();
    applyTogether(world, [freezing('a'), set('1'), freezing('b')], [set('2')]);
    expect([valueIn(world, 'a'), valueIn(world, 'b')]).toEqual(['1', '1']);
    world.views.release('a');
    expect(valueIn(world, 'b')).toBe('1');
  });

  test('of an id that there is takes the place of that view, also while the first is not yet made', () => {
    const world = new ViewWorld();
    applyTogether(world, [set('1'), freezing('v')], [set('2'), freezing('v')], [set('3')]);
    expect([world.views.views, valueIn(world, 'v')]).toEqual([['v'], '2']);
    const former = world.views.view('v')!;
    applyTogether(world, [set('4'), freezing('v')]);
    expect([world.views.views, valueIn(world, 'v')]).toEqual([['v'], '4']);
    expect(world.read(former).error).toBeInstanceOf(ViewGoneError);
  });

  test('in a transaction counts as outside of one, and not when the transaction is not run', () => {
    const world = new ViewWorld();
    const commands = [set('1'), freezing('a')];
    world.script.run({ kind: 'transaction', watched: [], commands });
    const watched = [{ key: 'k', version: 999 }];
    world.script.run({ kind: 'transaction', watched, commands: [set('2'), freezing('b')] });
    world.settle();
    expect([world.views.views, valueIn(world, 'a')]).toEqual([['a'], '1']);
  });

  test('makes no view when the disk is full, and holds up nothing', () => {
    const world = new ViewWorld();
    world.disk.full = true;
    applyTogether(world, [set('1'), freezing('a')], [set('2'), freezing('b')], [set('3')]);
    expect([world.views.views, world.script.get('k'), world.fatal]).toEqual([[], '3', []]);
    expect(world.warnings.filter((event) => event.startsWith('no view'))).toHaveLength(2);
    world.disk.full = false;
    applyTogether(world, [freezing('c')]);
    expect([world.views.views, valueIn(world, 'c')]).toEqual([['c'], '3']);
  });

  test('gives up after ten seconds behind a checkpoint that does not end', () => {
    const world = new ViewWorld();
    world.script.run(set('1'));
    world.checkpointer.request();
    const heard: unknown[] = [];
    const began = world.checkpointer.cut({
      done: (contents) => heard.push(contents),
      resume: () => heard.push('resumed'),
    });
    expect(began).toBe(false);
    world.tick(9_999);
    expect(heard).toEqual([]);
    world.tick(1);
    expect(heard).toEqual([undefined, 'resumed']);
    world.settle();
    expect(heard).toHaveLength(2);
    applyTogether(world, [freezing('v')]);
    expect(valueIn(world, 'v')).toBe('1');
  });

  test('that waits when the server stops is not resumed, and leaves no timer', () => {
    const world = new ViewWorld();
    world.script.run(set('1'));
    world.checkpointer.request();
    const heard: unknown[] = [];
    world.checkpointer.cut({ done: (contents) => heard.push(contents), resume: () => heard.push('resumed') });
    void world.checkpointer.stop();
    world.pass(20_000);
    expect([heard, world.timers]).toEqual([[undefined], 0]);
  });
});

describe('views', () => {
  test('are few: the oldest goes for one more', () => {
    const world = new ViewWorld();
    const ids = Array.from({ length: VIEWS_MAX + 2 }, (_, i) => `v${i}`);
    for (const id of ids) applyTogether(world, [set(id), freezing(id)]);
    expect(world.views.views).toEqual(ids.slice(-VIEWS_MAX));
    expect(world.views.view('v0')).toBeUndefined();
    expect(valueIn(world, ids.at(-1)!)).toBe(ids.at(-1));
    applyTogether(
      world,
      ids.map((id) => freezing(`${id}!`)),
    );
    expect(world.views.views).toEqual(ids.slice(-VIEWS_MAX).map((id) => `${id}!`));
  });

  test('go when nobody has read them for ten minutes', () => {
    const world = new ViewWorld();
    applyTogether(world, [set('1'), freezing('read')], [freezing('not read')]);
    world.pass(500_000);
    expect(valueIn(world, 'read')).toBe('1');
    world.pass(110_000);
    expect(world.views.views).toEqual(['read']);
    world.pass(500_000);
    expect([world.views.views, world.timers]).toEqual([[], 0]);
  });

  test('are not made when they were released before', () => {
    const world = new ViewWorld();
    const { machine } = world.script.replica;
    machine.apply([world.script.write(freezing('v'))], () => {});
    world.views.release('v');
    world.views.release('never heard of');
    world.settle();
    expect([world.views.views, world.checkpointer.status.finishedCount]).toEqual([[], 1]);
  });

  test('end when another state takes the place of theirs, and when the server stops', () => {
    const world = new ViewWorld();
    applyTogether(world, [freezing('a')]);
    const [a] = [world.views.view('a')!];
    world.views.clear();
    expect([world.views.views, world.timers]).toEqual([[], 0]);
    expect(world.read(a).error).toBeInstanceOf(ViewGoneError);
    applyTogether(world, [freezing('b')]);
    const errors: (Error | null)[] = [];
    world.views.view('b')!.read(rangeOf(), undefined, (error) => errors.push(error));
    world.views.stop();
    world.settle();
    expect(errors[0]).toBeInstanceOf(ViewGoneError);
    applyTogether(world, [set('1'), freezing('c')], [set('2')]);
    expect([world.views.views, world.timers, world.script.get('k')]).toEqual([[], 0, '2']);
  });
});
