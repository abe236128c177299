import { describe, expect, test } from 'vitest';
import { Members, parseAddress, parseClusterNodes } from '../../src/client/members.ts';

describe('an address', () => {
  test.each([
    ['10.0.0.1:7000', { host: '10.0.0.1', port: 7000 }],
    ['localhost', { host: 'localhost', port: 6379 }],
    ['[::1]:7001', { host: '::1', port: 7001 }],
    [' db.example:1 ', { host: 'db.example', port: 1 }],
  ])('%j is understood', (text, expected) => {
    expect(parseAddress(text)).toEqual(expected);
  });

  test.each(['', ':7000', 'host:', 'host:0', 'host:70000', 'a b', '::1'])('%j is refused', (text) => {
    expect(() => parseAddress(text)).toThrow(TypeError);
  });
});

test('the members are read out of CLUSTER NODES, and those without an address left out', () => {
  const nodes = [
    '0000000000000000000000000000a1b2c3d4e5f6 127.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-16383',
    '0000000000000000000000000000a1b2c3d4e5f7 ::1:7001@17001 slave 0000 0 0 1 connected',
    '0000000000000000000000000000a1b2c3d4e5f8 :0@0 slave,noaddr 0000 0 0 1 disconnected',
    '',
  ].join('\n');
  expect(parseClusterNodes(nodes)).toEqual([
    { host: '127.0.0.1', port: 7000 },
    { host: '::1', port: 7001 },
  ]);
});

describe('members', () => {
  const [a, b, c] = [1, 2, 3].map((port) => ({ host: 'h', port })) as [never, never, never];

  test('are tried in turn, beginning where chance says', () => {
    const members = new Members([a, b], 0.6);
    expect([members.next(), members.next(), members.next()]).toEqual([a, b, a]);
  });

  test('that were given stay behind those that the cluster names', () => {
    const members = new Members([a, b], 0);
    members.learn([b, c]);
    expect(members.all).toEqual([b, c, a]);
    members.learn([]);
    expect(members.all).toEqual([b, c, a]);
  });

  test('must be given', () => {
    expect(() => new Members([], 0)).toThrow(TypeError);
  });
});
