import { expect, test } from 'vitest';
import { command, commandIn, entryOf, OPEN, type Op, Replica, transaction } from '/work/main/test/kv/replica.ts';
class Script {
  index = 0; seq = 0; nowMs = 1000;
  replica: Replica;
  constructor(replica = new Replica()) { this.replica = replica; replica.apply([entryOf(++this.index, this.nowMs, [OPEN])]); }
  run(...ops: Op[]) { this.replica.apply([entryOf(++this.index, this.nowMs, [{ session: 1, firstSeq: this.seq + 1, ops }])]); this.seq += ops.length; return this.replica.replies.at(-1)!; }
}
test('DO close', async () => {
  const s = new Script();
  const id = String(s.run(command('HSTORE.SESSION', 'OPEN')));
  console.log(id, s.run(command('HSTORE.DO', id, '1', '0', 'HSTORE.SESSION', 'CLOSE', id)));
  s.replica.checkpoint(); await s.replica.restart();
});
test('DO DO', async () => {
  const s = new Script();
  const id = String(s.run(command('HSTORE.SESSION', 'OPEN')));
  console.log(id, s.run(command('HSTORE.DO', id, '1', '0', 'HSTORE.DO', id, '1', '0', 'INCR', 'a')));
  const h = s.replica.machine.stateHash();
  s.replica.checkpoint(); await s.replica.restart();
  expect(s.replica.machine.stateHash()).toBe(h);
});
test('two opens in a transaction', () => {
  const s = new Script();
  console.log(s.run(transaction(command('HSTORE.SESSION', 'OPEN'), command('HSTORE.SESSION', 'OPEN'))));
});
test('swapdb in do in transaction', async () => {
  const s = new Script();
  const id = String(s.run(command('HSTORE.SESSION', 'OPEN')));
  s.run(commandIn(1, 'SET', 'k', 'one'), command('SET', 'k', 'zero'));
  s.replica.checkpoint(); await s.replica.restart();
  console.log(s.run(transaction(command('HSTORE.DO', id, '1', '0', 'SWAPDB', '0', '1'), command('GET', 'k'))));
});
test('two dos in a transaction, lru after restart', async () => {
  const mk = async (restart: boolean) => {
    const s = new Script(new Replica({ clientSessionLimits: { countMax: 2, idleMsMax: 1e6, repliesMax: 5, sessionBytesMax: 1e6, bytesMax: 1e6, replyBytesMax: 1e5 } }));
    const a = String(s.run(command('HSTORE.SESSION', 'OPEN')));
    const b = String(s.run(command('HSTORE.SESSION', 'OPEN')));
    s.run(transaction(command('HSTORE.DO', b, '1', '0', 'INCR', 'x'), command('HSTORE.DO', a, '1', '0', 'INCR', 'x')));
    if (restart) { s.replica.checkpoint(); await s.replica.restart(); }
    s.run(command('HSTORE.SESSION', 'OPEN'));
    return s.replica.machine.stateHash();
  };
  expect(await mk(true)).toBe(await mk(false));
});
test('due lost by failed checkpoint', async () => {
  const s = new Script();
  s.run(command('SET', 'k', 'v', 'PX', '100'));
  const c = s.replica.machine.beginCheckpoint()!;
  s.run(command('APPEND', 'k', 'w'));
  c.failed();
  s.replica.checkpoint();
  s.replica.store.drain();
  let found: unknown;
  s.replica.machine.findDue(5000, 10, (p) => { found = p; });
  s.replica.store.drain();
  expect(found).toEqual([{ db: 0, name: 'k' }]);
});
test('memory with MGETs', async () => {
  const s = new Script(new Replica({ memoryBytesMax: 100_000 }));
  for (let i = 0; i < 5000; i++) s.run(command('SET', `k${i}`, 'v'));
  s.replica.checkpoint();
  await s.replica.restart();
  for (let r = 0; r < 10; r++) { s.replica.read(['MGET', ...Array.from({ length: 500 }, (_, i) => `k${r * 500 + i}`)]); console.log(s.replica.machine.memoryBytes); }
});
test('scan outside sees half transaction', async () => {
  const s = new Script();
  s.run(command('SET', 'z', 'v')); s.replica.checkpoint(); await s.replica.restart();
  const { findDataCommand } = await import('/work/main/src/kv/table.ts');
  let out: any;
  const argv = ['SCAN', '0', 'COUNT', '100'].map((x) => Buffer.from(x));
  s.replica.machine.read({ db: 0, command: findDataCommand(argv) as any, argv, nowMs: 0 }, (r) => { out = r; });
  s.run(transaction(command('SET', 'a', '1'), command('KEYS', '*'), command('SET', 'b', '1')));
  s.replica.store.drain();
  console.log(out[1].map(String));
});
