import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Session } from '../../src/client/session.ts';

test('a session acknowledges up to the first write that is not settled', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(19), { maxLength: 40 }), (order) => {
      const session = new Session(7);
      for (let seq = 1; seq <= 20; seq++) expect(session.next()).toBe(seq);
      const settled = new Set<number>();
      for (const each of order) {
        if (!settled.has(each + 1)) session.settle(each + 1);
        settled.add(each + 1);
        let ack = 0;
        while (settled.has(ack + 1)) ack++;
        expect([session.ack, session.open]).toEqual([ack, 20 - ack]);
      }
    }),
  );
});
