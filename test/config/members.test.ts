import { describe, expect, test } from 'vitest';
import { checkMembers, formatMembers, parseMembers } from '../../src/config/members.ts';

describe('--cluster', () => {
  test.each([
    ['n1=10.0.0.1:6379', [{ name: 'n1', host: '10.0.0.1', port: 6379, peerPort: 16379 }]],
    ['n1=host.example:1@2', [{ name: 'n1', host: 'host.example', port: 1, peerPort: 2 }]],
    ['a-1.x_y=LocalHost:7000', [{ name: 'a-1.x_y', host: 'localhost', port: 7000, peerPort: 17000 }]],
    ['n1=[0:0:0:0:0:0:0:1]:6379@7000', [{ name: 'n1', host: '::1', port: 6379, peerPort: 7000 }]],
    ['n1=h:65535@1', [{ name: 'n1', host: 'h', port: 65535, peerPort: 1 }]],
    ['', []],
  ])('%s is understood', (text, members) => {
    expect(parseMembers(text)).toEqual(members);
  });

  test.each([
    ['n1', "'n1' is not NAME=HOST:PORT or NAME=HOST:PORT@PEERPORT"],
    ['n1=h', "'n1=h' is not NAME=HOST:PORT or NAME=HOST:PORT@PEERPORT"],
    ['n1=h:1,', "'' is not NAME=HOST:PORT or NAME=HOST:PORT@PEERPORT"],
    ['n1=::1:6379', "'n1=::1:6379' is not NAME=HOST:PORT or NAME=HOST:PORT@PEERPORT"],
    ['=h:1', "'' in '=h:1' is no name: letters, digits, dots, dashes, underscores"],
    ['a b=h:1', "'a b' in 'a b=h:1' is no name: letters, digits, dots, dashes, underscores"],
    ['n1=:1', "'' in 'n1=:1' is no host name or address"],
    ['n1=h h:1', "'h h' in 'n1=h h:1' is no host name or address"],
    ['n1=[::g]:1', "'[::g]' in 'n1=[::g]:1' is no IPv6 address"],
    ['n1=[127.0.0.1]:1', "'[127.0.0.1]' in 'n1=[127.0.0.1]:1' is no IPv6 address"],
    ['n1=h:0', "'0' in 'n1=h:0' is no port: 1 to 65535"],
    ['n1=h:65536', "'65536' in 'n1=h:65536' is no port: 1 to 65535"],
    ['n1=h:06379', "'06379' in 'n1=h:06379' is no port: 1 to 65535"],
    ['n1=h:1@', "'' in 'n1=h:1@' is no port: 1 to 65535"],
    ['n1=h:1@x', "'x' in 'n1=h:1@x' is no port: 1 to 65535"],
    [
      'n1=h:60000',
      "'n1=h:60000' has no room for its peer port 70000 (PORT + 10000): give one with @PEERPORT",
    ],
    ['n1=h:1,n1=h:2', 'the name n1 is given twice'],
    ['n1=h:1,n2=H:1', 'the address h:1 is given twice'],
    ['n1=h:1,n2=h:10001', 'the address h:10001 is given twice'],
    ['n1=h:1@1', 'the address h:1 is given twice'],
  ])('%s is refused', (text, message) => {
    expect(checkMembers(text)).toBe(message);
  });

  test('has one form for one set of members', () => {
    const form = 'n1=h:1@10001,n2=[::1]:2@3';
    expect(formatMembers(parseMembers('n2=[0::1]:2@3,n1=H:1'))).toBe(form);
    expect(formatMembers(parseMembers(form))).toBe(form);
  });
});
