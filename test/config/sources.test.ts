import { describe, expect, test } from 'vitest';
import { gatherSettings, parseFlags } from '../../src/config/sources.ts';
import { DIRECTIVES } from '../../src/config/table.ts';
import { ConfigError } from '../../src/lib/errors.ts';

const FORMS = {
  valued: ['port', 'dir', 'requirepass', 'cluster-secret', 'protected-mode'],
  switches: ['restart'],
};

function message(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  throw new Error('nothing was refused');
}

function fromFile(text: string): Record<string, string> {
  const settings = gatherSettings(DIRECTIVES, { flags: [], environment: {}, file: { path: 'x.conf', text } });
  return Object.fromEntries([...settings].map(([name, { value }]) => [name, value]));
}

describe('flags', () => {
  test.each<[string[], [string, string][]]>([
    [['--port', '1'], [['port', '1']]],
    [
      ['--port=1', '--dir', 'a=b'],
      [
        ['port', '1'],
        ['dir', 'a=b'],
      ],
    ],
    [
      ['--dir=', '--restart'],
      [
        ['dir', ''],
        ['restart', 'yes'],
      ],
    ],
    [['--requirepass', '-x'], [['requirepass', '-x']]],
    [['--requirepass=--x'], [['requirepass', '--x']]],
    [
      ['--port', '1', '--port', '2'],
      [
        ['port', '1'],
        ['port', '2'],
      ],
    ],
  ])('%j are understood', (args, flags) => {
    expect(parseFlags(args, FORMS)).toEqual(flags);
  });

  test.each<[string[], string]>([
    [['--prot', '1'], 'unknown flag --prot: did you mean --port?'],
    [['--secret=1'], 'unknown flag --secret: did you mean --cluster-secret?'],
    [['--restrat'], 'unknown flag --restrat: did you mean --restart?'],
    [['--PORT', '1'], 'unknown flag --PORT: did you mean --port?'],
    [['--something-else'], 'unknown flag --something-else'],
    [['--port'], '--port needs a value'],
    [['--port', '--dir', 'x'], '--port needs a value'],
    [['--restart=no'], '--restart takes no value'],
    [['port'], "unexpected argument 'port'"],
    [['-p', '1'], "unexpected argument '-p'"],
    [['--'], 'unknown flag --'],
  ])('%j are refused', (args, text) => {
    expect(message(() => parseFlags(args, FORMS))).toBe(text);
  });
});

describe('a configuration file', () => {
  test('is read as redis.conf is', () => {
    const text =
      '\uFEFF# comment\n\n  Port 7000  \r\nrequirepass "a b\\x21"\nlogfile \'\'\nbind 127.0.0.1 ::1\nsave ""\nmaxmemory 1GB';
    expect(fromFile(text)).toEqual({
      port: '7000',
      requirepass: 'a b!',
      logfile: '',
      bind: '127.0.0.1 ::1',
      save: '',
      maxmemory: `${1024 ** 3}`,
    });
  });

  test.each([
    ['prot 1', "x.conf:1: unknown key 'prot': did you mean 'port'?"],
    ['\n\nzzzzzz 1', "x.conf:3: unknown key 'zzzzzz'"],
    ['port', "x.conf:1: 'port' needs a value"],
    ['port 1 2', "x.conf:1: 'port' takes one value; one with spaces in it needs quotes"],
    ['port abc', "invalid value 'abc' for x.conf:1: port: argument couldn't be parsed into an integer"],
    ['requirepass "x', 'x.conf:1: unbalanced quotes'],
    ['port \0', 'x.conf:1: a line of text has no NUL in it'],
  ])('%j is refused', (text, refusal) => {
    expect(message(() => fromFile(text))).toBe(refusal);
  });
});

describe('the environment', () => {
  const gather = (environment: Record<string, string>) =>
    gatherSettings(DIRECTIVES, { flags: [], environment });

  test('has a variable for every directive', () => {
    expect(gather({ HSTORE_CLUSTER_SECRET: 's', PORT: '1' })).toEqual(
      new Map([['cluster-secret', { value: 's', where: 'HSTORE_CLUSTER_SECRET' }]]),
    );
  });

  test('may hold variables of others', () => {
    const foreign = { HSTORE_SERVICE_HOST: 'x', HSTORE_PORT_6379_TCP: 'x', HSTORE_CACHE_DIR: '/x' };
    expect(gather(foreign).size).toBe(0);
  });

  test.each([
    [
      { HSTORE_REQUIREPAS: 'x' },
      'unknown environment variable HSTORE_REQUIREPAS: did you mean HSTORE_REQUIREPASS?',
    ],
    [{ HSTORE_PORT: 'x' }, "invalid value 'x' for HSTORE_PORT: argument couldn't be parsed into an integer"],
  ])('%j is refused', (environment, refusal) => {
    expect(message(() => gather(environment as Record<string, string>))).toBe(refusal);
  });
});
