import { describe, expect, test } from 'vitest';
import { Config } from '../../src/config/config.ts';
import type { Sources } from '../../src/config/sources.ts';
import { DIRECTIVES } from '../../src/config/table.ts';
import { parseValue } from '../../src/config/value.ts';
import { ConfigError } from '../../src/lib/errors.ts';

const EVICTION =
  'volatile-lru, volatile-lfu, volatile-random, volatile-ttl, allkeys-lru, allkeys-lfu, allkeys-random, noeviction';
const THREE = 'n1=127.0.0.1:7001,n2=127.0.0.1:7002,n3=127.0.0.1:7003';

function config(flags: Record<string, string> = {}, others: Partial<Sources> = {}): Config {
  return new Config({ flags: Object.entries(flags), environment: {}, ...others });
}

function refusal(make: () => Config): string {
  try {
    make();
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('the table', () => {
  test('names every directive once, in lower case', () => {
    const names = DIRECTIVES.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(names.filter((name) => !/^[a-z][a-z-]*$/.test(name))).toEqual([]);
  });

  test.each(DIRECTIVES.filter(({ name }) => name !== 'dir'))('has a valid default for $name', (directive) => {
    const parsed = parseValue(directive.type, directive.default);
    expect(parsed).toMatchObject({ ok: true });
  });
});

describe('a configuration', () => {
  test('has the defaults of the contract', () => {
    const found = config();
    expect(found).toMatchObject({ id: 'n1', port: 6379, bind: ['127.0.0.1'], dir: './hstore-data/n1' });
    expect(found).toMatchObject({ requirepass: '', clusterSecret: '', reads: 'linearizable', logfile: '' });
    expect(found).toMatchObject({
      commandTimeoutMs: 5000,
      electionTimeoutMs: 1000,
      heartbeatIntervalMs: 100,
    });
    expect(found).toMatchObject({
      maxclients: 10_000,
      timeoutSeconds: 0,
      tcpKeepaliveMs: 300_000,
      databases: 16,
    });
    expect(found).toMatchObject({ protoMaxBulkLen: 32 << 20, clientQueryBufferLimit: 64 << 20 });
    expect(found).toMatchObject({ maxmemory: 512 << 20, walSegmentBytes: 16 << 20, protectedMode: true });
    expect(found.members).toEqual([{ name: 'n1', host: '127.0.0.1', port: 6379, peerPort: 16379 }]);
  });

  test('takes flags over the environment over the file', () => {
    const file = { path: 'hstore.conf', text: 'maxclients 1\ntimeout 1\ntcp-keepalive 1\n' };
    const environment = { HSTORE_MAXCLIENTS: '2', HSTORE_TIMEOUT: '2' };
    const found = config({ maxclients: '3' }, { environment, file });
    expect([found.maxclients, found.timeoutSeconds, found.tcpKeepaliveMs]).toEqual([3, 2, 1000]);
    expect(['maxclients', 'timeout', 'hz'].map((name) => found.isGiven(name))).toEqual([true, true, false]);
    expect(found.configFile).toBe('hstore.conf');
  });

  test('has port and address from its own entry among the members, unless they are given', () => {
    const cluster = 'n1=10.0.0.1:7001,n2=[::1]:7002@9000';
    expect(config({ cluster, id: 'n2' })).toMatchObject({ port: 7002, bind: ['::1'] });
    expect(config({ cluster, id: 'n2', port: '1', bind: '* ::' })).toMatchObject({
      port: 1,
      bind: ['0.0.0.0', '::'],
    });
    expect(config({ cluster, id: 'n2' }).get('port')).toEqual([['port', '7002']]);
    expect(config({ cluster, id: 'n2' }).get('bind')).toEqual([['bind', '::1']]);
  });

  test('takes over from the data directory what it does not say itself', () => {
    const found = config({ dir: '/data' });
    found.adopt({ name: 'n3', members: config({ cluster: THREE }).members });
    expect(found).toMatchObject({ id: 'n3', port: 7003, dir: '/data' });
    expect(found.members.map(({ name }) => name)).toEqual(['n1', 'n2', 'n3']);
  });

  test('keeps its data below a directory of its own name', () => {
    expect(config({ id: 'n2' }).dir).toBe('./hstore-data/n2');
    expect(config({ id: 'n2' }).get('dir')).toEqual([['dir', './hstore-data/n2']]);
  });

  test('of a server alone has no peer port where there is no room for one', () => {
    expect(config({ port: '60000' }).members).toEqual([
      { name: 'n1', host: '127.0.0.1', port: 60000, peerPort: 0 },
    ]);
  });

  test.each<[Record<string, string>, string]>([
    [{ port: 'abc' }, "invalid value 'abc' for --port: argument couldn't be parsed into an integer"],
    [{ port: '0' }, 'port 0 needs a tls-port: else no client could be served'],
    [{ port: '65536' }, "invalid value '65536' for --port: argument must be between 0 and 65535 inclusive"],
    [{ 'tls-port': '6380' }, 'tls-port 6380 needs tls-cert-file'],
    [{ 'tls-port': '6380', 'tls-cert-file': 'c' }, 'tls-port 6380 needs tls-key-file'],
    [{ 'tls-port': '6379', 'tls-cert-file': 'c', 'tls-key-file': 'k' }, 'port and tls-port are both 6379'],
    [{ 'tls-cluster': 'yes' }, 'tls-cluster yes needs tls-cert-file'],
    [
      { 'tls-cluster': 'yes', 'tls-cert-file': 'c', 'tls-key-file': 'k' },
      'tls-cluster yes needs tls-ca-cert-file',
    ],
    [
      { 'tls-port': '1', 'tls-cert-file': 'c', 'tls-key-file': 'k', 'tls-auth-clients': 'yes' },
      'tls-auth-clients yes needs tls-ca-cert-file',
    ],
    [
      { 'tls-protocols': 'TLSv1.1' },
      "invalid value 'TLSv1.1' for --tls-protocols: argument must be of TLSv1.2 and TLSv1.3",
    ],
    [
      { 'mr-threads': '257' },
      "invalid value '257' for --mr-threads: argument must be between 0 and 256 inclusive",
    ],
    [{ 'mr-files': 'maybe' }, "invalid value 'maybe' for --mr-files: valid are no, local, yes"],
    [
      { 'mr-result-max': '1kb' },
      "invalid value '1kb' for --mr-result-max: argument must be between 1048576 and 1099511627776 inclusive",
    ],
    [{ reads: 'lease' }, "invalid value 'lease' for --reads: valid are linearizable, local"],
    [
      { loglevel: 'notcie' },
      "invalid value 'notcie' for --loglevel: did you mean 'notice'? - valid are debug, verbose, notice, warning",
    ],
    [{ 'io-threads': '4' }, "invalid value '4' for --io-threads: in hstore it is always '1'"],
    [{ save: '900' }, "invalid value '900' for --save: Invalid save parameters"],
    [{ databases: '32' }, "invalid value '32' for --databases: argument must be between 16 and 16 inclusive"],
    [
      { 'wal-segment-size': '2000000' },
      "invalid value '2000000' for --wal-segment-size: argument must be a multiple of 4096",
    ],
    [
      { 'proto-max-bulk-len': '256mb' },
      "invalid value '256mb' for --proto-max-bulk-len: argument must be between 1048576 and 67108864 inclusive",
    ],
    [
      { id: 'a,b' },
      "invalid value 'a,b' for --id: a name is 1 to 64 letters, digits, dots, dashes or underscores",
    ],
    [{ bind: '' }, "invalid value '' for --bind: argument must be addresses, separated by single spaces"],
    [{ dir: '' }, "invalid value '' for --dir: argument must be a path"],
    [{ cluster: THREE, id: 'n4' }, "n4 is not among the members n1, n2, n3 of --cluster: did you mean 'n1'?"],
    [
      { cluster: 'a=h:1,b=h:2' },
      'n1 is not among the members a, b of --cluster: give this server its name with --id',
    ],
    [
      { 'heartbeat-interval': '400' },
      'heartbeat-interval (400 ms) must be at most a third of election-timeout (1000 ms)',
    ],
    [
      { 'client-query-buffer-limit': '16mb' },
      'client-query-buffer-limit (16mb) must be at least proto-max-bulk-len (32mb): else no such value could be sent',
    ],
  ])('refuses %j', (flags, message) => {
    expect(refusal(() => config(flags))).toBe(message);
  });
});

describe('CONFIG GET', () => {
  test('tells what hstore does', () => {
    const found = config();
    expect(found.get('save')).toEqual([['save', '']]);
    expect(found.get('appendonly')).toEqual([['appendonly', 'yes']]);
    expect(found.get('appendfsync')).toEqual([['appendfsync', 'always']]);
    expect(found.get('maxmemory-p*')).toEqual([['maxmemory-policy', 'noeviction']]);
    expect(found.get('io-threads')).toEqual([['io-threads', '1']]);
  });

  test('shows a directive under its older name too', () => {
    const found = config({ 'hash-max-ziplist-entries': '7' });
    expect(found.get('hash-max-*-entries')).toEqual([
      ['hash-max-listpack-entries', '7'],
      ['hash-max-ziplist-entries', '7'],
    ]);
    expect(found.set([['min-slaves-to-write', '2']])).toBeUndefined();
    expect(found.get('min-replicas-to-write')).toEqual([['min-replicas-to-write', '2']]);
  });

  test('takes a name in any case and gives it back as it was written, as Redis does', () => {
    expect(config().get('MaxClients')).toEqual([['MaxClients', '10000']]);
    expect(config().get('MAXC*')).toEqual([['maxclients', '10000']]);
    expect(config().get('nothing')).toEqual([]);
  });

  test('never shows the secret of the cluster', () => {
    const found = config({ 'cluster-secret': 'geheim' });
    expect(found.clusterSecret).toBe('geheim');
    expect([...found.get('*'), ...found.get('cluster-secret')].flat()).not.toContain('geheim');
  });
});

describe('CONFIG SET', () => {
  test('changes what may change at run time, and tells who listens', () => {
    const found = config();
    const heard: string[] = [];
    found.onChange('loglevel', (level) => heard.push(level));
    expect(
      found.set([
        ['LOGLEVEL', 'Debug'],
        ['requirepass', 'x y'],
        ['client-query-buffer-limit', '2mb'],
      ]),
    ).toBeUndefined();
    expect(found.set([['loglevel', 'debug']])).toBeUndefined();
    expect(heard).toEqual(['debug']);
    expect(found).toMatchObject({ loglevel: 'debug', requirepass: 'x y', clientQueryBufferLimit: 2 << 20 });
  });

  test('changes all of its directives or none', () => {
    const found = config();
    const heard: string[] = [];
    found.onChange('timeout', (value) => heard.push(value));
    expect(
      found.set([
        ['timeout', '8'],
        ['maxclients', '0'],
      ]),
    ).toMatch(/'maxclients'/);
    expect([found.timeoutSeconds, heard]).toEqual([0, []]);
  });

  test('accepts for a fixed directive the one value there is, and stores hints', () => {
    const found = config();
    expect(
      found.set([
        ['daemonize', 'NO'],
        ['appendonly', 'no'],
        ['save', '900 1'],
        ['list-max-ziplist-size', '5'],
      ]),
    ).toBeUndefined();
    expect(found.get('list-max-ziplist-size')).toEqual([['list-max-ziplist-size', '5']]);
    expect(found.get('save')).toEqual([['save', '900 1']]);
  });

  test.each<[string, string, string]>([
    ['daemonize', 'yes', "can't set immutable config"],
    ['enable-debug-command', 'yes', "can't set immutable config"],
    ['maxmemory-policy', 'mru', `argument(s) must be one of the following: ${EVICTION}`],
    ['wal-segment-size', '32mb', "can't set immutable config"],
    ['cluster-secret', 'x', "can't set immutable config"],
    ['tcp-keepalive', '-1', 'argument must be between 0 and 2147483647 inclusive'],
  ])('refuses %s %s', (name, value, reason) => {
    expect(config().set([[name, value]])).toBe(
      `CONFIG SET failed (possibly related to argument '${name}') - ${reason}`,
    );
  });
});

describe('client-output-buffer-limit', () => {
  const REDIS_DEFAULT = {
    normal: { hardBytes: 0, softBytes: 0, softSeconds: 0 },
    replica: { hardBytes: 256 << 20, softBytes: 64 << 20, softSeconds: 60 },
    pubsub: { hardBytes: 32 << 20, softBytes: 8 << 20, softSeconds: 60 },
  };

  test("has Redis's default, and is shown in bytes", () => {
    expect(config().clientOutputBufferLimits).toEqual(REDIS_DEFAULT);
    const shown = 'normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60';
    expect(config().get('client-output-buffer-limit')).toEqual([['client-output-buffer-limit', shown]]);
  });

  test('changes the classes that are named', () => {
    const found = config();
    expect(found.set([['client-output-buffer-limit', 'replica 1gb 2 3 PUBSUB 5 6 7']])).toBeUndefined();
    expect(found.clientOutputBufferLimits).toEqual({
      ...REDIS_DEFAULT,
      replica: { hardBytes: 1 << 30, softBytes: 2, softSeconds: 3 },
      pubsub: { hardBytes: 5, softBytes: 6, softSeconds: 7 },
    });
  });

  test('may stand on several lines of a file, a class on each', () => {
    const text = 'client-output-buffer-limit normal 1mb 2 3\nclient-output-buffer-limit pubsub 0 0 0\n';
    const found = config({}, { file: { path: 'hstore.conf', text } });
    expect(found.clientOutputBufferLimits).toEqual({
      ...REDIS_DEFAULT,
      normal: { hardBytes: 1 << 20, softBytes: 2, softSeconds: 3 },
      pubsub: { hardBytes: 0, softBytes: 0, softSeconds: 0 },
    });
  });
});

test('lines of save in a file add up', () => {
  const text = 'save 900 1\nsave 300 10 60 10000\n';
  const found = config({}, { file: { path: 'hstore.conf', text } });
  expect(found.get('save')).toEqual([['save', '900 1 300 10 60 10000']]);
});

describe('TLS', () => {
  const files = { 'tls-cert-file': 'c', 'tls-key-file': 'k' };

  test('is spoken nowhere unless a port for it is given, or the cluster is to speak it', () => {
    expect(config({}).tls).toBeUndefined();
    expect(config(files).tls).toBeUndefined();
    expect(config({ ...files, 'tls-port': '7000' })).toMatchObject({
      tlsPort: 7000,
      port: 6379,
      tlsCluster: false,
    });
    const peersOnly = config({ ...files, 'tls-cluster': 'yes', 'tls-ca-cert-file': 'a' });
    expect(peersOnly).toMatchObject({ tlsPort: 0, tlsCluster: true, tls: { certFile: 'c', keyFile: 'k' } });
  });

  test('holds certificates of clients against an authority if there is one', () => {
    const withPort = { ...files, 'tls-port': '7000' };
    const authClients = (more: Record<string, string>) => config({ ...withPort, ...more }).tls!.authClients;
    expect(authClients({})).toBe('no');
    expect(authClients({ 'tls-auth-clients': 'no' })).toBe('no');
    expect(authClients({ 'tls-ca-cert-file': 'a' })).toBe('optional');
    expect(authClients({ 'tls-ca-cert-file': 'a', 'tls-auth-clients': 'yes' })).toBe('yes');
  });

  test('has versions, in any order', () => {
    const withPort = { ...files, 'tls-port': '7000' };
    expect(config(withPort).tls!.protocols).toEqual(['TLSv1.2', 'TLSv1.3']);
    expect(config({ ...withPort, 'tls-protocols': 'tlsv1.3 TLSv1.2' }).tls!.protocols).toEqual([
      'TLSv1.2',
      'TLSv1.3',
    ]);
    expect(config({ ...withPort, 'tls-protocols': 'TLSV1.3' }).tls!.protocols).toEqual(['TLSv1.3']);
  });

  test('may be all there is: then a server alone is known by its port', () => {
    const alone = config({ ...files, 'tls-port': '7000', port: '0' });
    expect(alone).toMatchObject({ port: 0, tlsPort: 7000, members: [{ port: 7000, peerPort: 17000 }] });
  });

  test('its password of the key is never shown', () => {
    const some = config({ 'tls-key-file-pass': 'geheim' });
    expect(some.get('tls-key-file-pass')).toEqual([]);
    expect(JSON.stringify(some.get('tls-*'))).not.toContain('geheim');
  });
});

describe('MapReduce', () => {
  test('reads files for jobs of this machine, and runs no code of users, unless told to', () => {
    expect(config()).toMatchObject({ mrModules: '', mrThreads: 0, mrPort: 0, mrFiles: 'local' });
    expect(config().mrResultMax).toBe(1 << 30);
    const flags = { 'mr-modules': './jobs', 'mr-threads': '3', 'mr-port': '7070', 'mr-files': 'yes' };
    const found = config({ ...flags, 'mr-result-max': '2gb' });
    expect(found).toMatchObject({ mrModules: './jobs', mrThreads: 3, mrPort: 7070, mrFiles: 'yes' });
    expect(found.get('mr-result-max')).toEqual([['mr-result-max', `${2 ** 31}`]]);
  });

  test('is settled when the server starts', () => {
    for (const name of ['mr-modules', 'mr-threads', 'mr-port', 'mr-files', 'mr-result-max']) {
      expect(config().set([[name, '1']]), name).toMatch(/can't set immutable config/);
    }
  });
});
