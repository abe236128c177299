import { describe, expect, test } from 'vitest';
import { type Invocation, readInvocation } from '../../src/cli/invocation.ts';
import { ConfigError } from '../../src/lib/errors.ts';

describe('the command line', () => {
  test.each<[string[], Invocation]>([
    [[], { action: 'help' }],
    [['--help'], { action: 'help' }],
    [['-h'], { action: 'help' }],
    [['--version'], { action: 'version' }],
    [['selftest'], { action: 'selftest' }],
    [['server'], { action: 'run', mode: 'server', args: [] }],
    [['cluster', '--nodes', '5'], { action: 'run', mode: 'cluster', args: ['--nodes', '5'] }],
    [['--mode', 'cluster', '--nodes', '5'], { action: 'run', mode: 'cluster', args: ['--nodes', '5'] }],
    [['--nodes=5', '--mode=cluster'], { action: 'run', mode: 'cluster', args: ['--nodes=5'] }],
    [['--mode', 'mapreduce', 'wc', 'a.txt'], { action: 'run', mode: 'mapreduce', args: ['wc', 'a.txt'] }],
    [['mapreduce', 'grep', '--', '-h'], { action: 'run', mode: 'mapreduce', args: ['grep', '--', '-h'] }],
    [['mapreduce', 'wc', '--help'], { action: 'help', mode: 'mapreduce' }],
    [['server', '--help'], { action: 'help', mode: 'server' }],
    [['--mode', 'cluster', '--help'], { action: 'help', mode: 'cluster' }],
  ])('%j is understood', (args, invocation) => {
    expect(readInvocation(args, {})).toEqual(invocation);
  });

  test('takes the mode from the environment where the arguments have none', () => {
    const environment = { HSTORE_MODE: 'server' };
    expect(readInvocation(['--port', '1'], environment)).toEqual({
      action: 'run',
      mode: 'server',
      args: ['--port', '1'],
    });
    expect(readInvocation(['cluster'], environment)).toMatchObject({ mode: 'cluster' });
    expect(readInvocation(['--version'], environment)).toEqual({ action: 'version' });
  });

  test.each([
    [['serve'], "unknown mode 'serve': did you mean 'server'?"],
    [['mapred'], "unknown mode 'mapred': did you mean 'mapreduce'?"],
    [['gateway'], "unknown mode 'gateway': modes are server, cluster, mapreduce"],
    [['--mode'], '--mode needs a value'],
    [['--mode='], '--mode needs a value'],
    [
      ['--port', '1'],
      '--port stands without a mode: hstore MODE --port ..., MODE is one of server, cluster, mapreduce',
    ],
  ])('%j is refused', (args, message) => {
    expect(() => readInvocation(args, {})).toThrow(new ConfigError(message));
  });
});
