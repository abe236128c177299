/**
 * Every directive of a server: the one table behind flags, environment, configuration file, CONFIG and --help.
 *
 * Names and meanings are Redis's where Redis has the directive, else etcd's.
 */
import { ACCEPTED } from './accepted.ts';
import {
  BOOLEAN,
  COUNT,
  type Directive,
  INT_MAX,
  INT64_MAX,
  LONG_COUNT,
  MB,
  PORT,
  SIZE,
  TEXT,
} from './directive.ts';
import { checkAddress, checkHost, checkMembers } from './members.ts';
import { NAME_FORM } from './name.ts';
import { parseOutputBufferLimits, parsePercentiles, parseTlsProtocols } from './word-lists.ts';

function checkName(text: string): string | undefined {
  return NAME_FORM.test(text) ? undefined : 'a name is 1 to 64 letters, digits, dots, dashes or underscores';
}

function checkBind(text: string): string | undefined {
  const addresses = text.split(' ');
  if (addresses.every((address) => /^(\*|[A-Za-z0-9:.%_][A-Za-z0-9:.%_-]*)$/.test(address))) {
    return undefined;
  }
  return 'argument must be addresses, separated by single spaces';
}

const OWN: readonly Directive[] = [
  {
    name: 'id',
    type: { kind: 'text', check: checkName },
    default: 'n1',
    change: 'startup',
    argument: 'NAME',
    help: "this server's name",
  },
  {
    name: 'cluster',
    type: { kind: 'text', check: checkMembers },
    default: '',
    change: 'startup',
    argument: 'MEMBERS',
    help:
      'the first members of a new cluster, this one included: n1=HOST:PORT[@PEERPORT],n2=...; PEERPORT is PORT + 10000 ' +
      'unless given; a restart does not need it',
    defaultHelp: 'itself alone',
  },
  {
    name: 'join',
    type: { kind: 'text', check: (text) => (text === '' ? undefined : checkAddress(text)) },
    default: '',
    change: 'startup',
    argument: 'HOST:PORT',
    help: 'join a running cluster through this client address of any of its members; a restart does not need it',
    defaultHelp: 'none',
  },
  {
    name: 'force-new-cluster',
    type: BOOLEAN,
    default: 'no',
    change: 'startup',
    help:
      'make the data directory that of a new cluster with this server alone: to restore a backup, or when a majority is ' +
      'lost for good; the other servers must be down, and must not come back',
  },
  {
    name: 'port',
    type: PORT,
    default: '6379',
    change: 'startup',
    help: 'port for clients; 0: none, where --tls-port is given',
    defaultHelp: 'as in --cluster, else 6379',
  },
  {
    name: 'bind',
    type: { kind: 'text', check: checkBind },
    default: '127.0.0.1',
    change: 'startup',
    argument: 'ADDRESS',
    help: 'address for clients, or several, separated by spaces; * is all IPv4',
    defaultHelp: 'as in --cluster, else 127.0.0.1',
  },
  {
    name: 'cluster-port',
    type: PORT,
    default: '0',
    change: 'startup',
    help: 'port for the other servers; 0: as in --cluster, else PORT + 10000',
  },
  {
    name: 'cluster-announce-ip',
    type: { kind: 'text', check: (text) => (text === '' ? undefined : checkHost(text)) },
    default: '',
    change: 'startup',
    argument: 'HOST',
    help: 'address at which the other servers and clients reach this one, where that is not the one of --bind',
    defaultHelp: 'none',
  },
  {
    name: 'cluster-announce-port',
    type: PORT,
    default: '0',
    change: 'startup',
    help: 'the same for the port for clients; 0: the port itself',
  },
  {
    name: 'cluster-announce-bus-port',
    type: PORT,
    default: '0',
    change: 'startup',
    help: 'the same for the port for the other servers',
  },
  {
    name: 'dir',
    type: { kind: 'text', check: (text) => (text === '' ? 'argument must be a path' : undefined) },
    default: './hstore-data/ID',
    change: 'startup',
    argument: 'PATH',
    help: 'data directory, made when missing, locked while in use',
  },
  {
    name: 'requirepass',
    type: TEXT,
    default: '',
    change: 'runtime',
    argument: 'PASSWORD',
    help: 'password that clients must give (AUTH)',
    defaultHelp: 'none',
  },
  {
    name: 'cluster-secret',
    type: TEXT,
    default: '',
    change: 'startup',
    argument: 'SECRET',
    help: 'secret that the servers of the cluster share',
    defaultHelp: 'none',
    secret: true,
  },
  {
    name: 'reads',
    type: { kind: 'choice', values: ['linearizable', 'local'] },
    default: 'linearizable',
    change: 'startup',
    help:
      'linearizable: a read sees every write acknowledged before it; local: it is answered from what this server has, ' +
      'faster, also without a leader, and possibly out of date',
  },
  {
    name: 'command-timeout',
    type: { kind: 'integer', min: 10, max: 3_600_000 },
    default: '5000',
    change: 'startup',
    argument: 'MS',
    help: 'how long a command waits for a leader before it gets -CLUSTERDOWN or -TIMEOUT',
  },
  {
    name: 'election-timeout',
    type: { kind: 'integer', min: 50, max: 50_000 },
    default: '1000',
    change: 'startup',
    argument: 'MS',
    help: 'a leader that is silent for this long, to twice this long, is replaced; the same on all servers',
  },
  {
    name: 'heartbeat-interval',
    type: { kind: 'integer', min: 10, max: 10_000 },
    default: '100',
    change: 'startup',
    argument: 'MS',
    help: 'how often a leader shows that it lives; at most a third of election-timeout',
  },
  {
    name: 'wal-segment-size',
    type: { kind: 'memory', min: MB, max: 1024 * MB, multipleOf: 4096 },
    default: '16mb',
    change: 'startup',
    help: 'size of the files of the write-ahead log',
  },
  {
    name: 'wal-keep-size',
    type: { kind: 'memory', min: 4 * MB, max: 1024 * 1024 * MB },
    default: '64mb',
    change: 'startup',
    help: 'how much of the log is kept for servers that lag; one that lags further is sent a snapshot',
  },
  {
    name: 'snapshot-rate-limit',
    type: { kind: 'memory', min: 64 * 1024, max: 1024 * 1024 * MB },
    default: '64mb',
    change: 'runtime',
    help: 'bytes per second that sending snapshots may take, all together',
  },
  {
    name: 'loglevel',
    type: { kind: 'choice', values: ['debug', 'verbose', 'notice', 'warning'] },
    default: 'notice',
    change: 'runtime',
    help: 'how much is logged, as JSON lines',
  },
  {
    name: 'logfile',
    type: TEXT,
    default: '',
    change: 'startup',
    argument: 'PATH',
    help: 'file to append the log to',
    defaultHelp: 'standard error',
  },
];

const REDIS: readonly Directive[] = [
  {
    name: 'maxmemory',
    type: SIZE,
    default: '512mb',
    change: 'runtime',
    help: 'for data kept in memory; data beyond it stay on disk, and nothing is evicted; 0: no bound',
  },
  {
    name: 'maxclients',
    type: { kind: 'integer', min: 1, max: 4_294_967_295 },
    default: '10000',
    change: 'runtime',
    help: 'clients served at the same time',
  },
  {
    name: 'timeout',
    type: COUNT,
    default: '0',
    change: 'runtime',
    argument: 'SECONDS',
    help: 'a client idle for this long is disconnected; 0: never',
  },
  {
    name: 'tcp-keepalive',
    type: { kind: 'integer', min: 0, max: INT_MAX },
    default: '300',
    change: 'runtime',
    argument: 'SECONDS',
    help: 'silence after which TCP asks whether the other side still lives, for new connections; 0: never',
  },
  {
    name: 'protected-mode',
    type: BOOLEAN,
    default: 'yes',
    change: 'runtime',
    help: 'without a password, refuse clients from other machines',
  },
  {
    name: 'proto-max-bulk-len',
    // One request travels in one entry, and one entry in one frame between servers: peer-limits.ts.
    type: { kind: 'memory', min: MB, max: 64 * MB },
    default: '32mb',
    change: 'runtime',
    help: 'longest key or value in a request, for new connections',
  },
  {
    name: 'client-query-buffer-limit',
    type: { kind: 'memory', min: MB, max: 64 * MB },
    default: '64mb',
    change: 'runtime',
    help: 'longest request, for new connections',
  },
  {
    name: 'client-output-buffer-limit',
    type: { kind: 'text', parse: parseOutputBufferLimits },
    default: 'normal 0 0 0 replica 256mb 64mb 60 pubsub 32mb 8mb 60',
    change: 'runtime',
    argument: 'LIMITS',
    help:
      'CLASS HARD SOFT SECONDS, once or several times: a client of the class whose replies wait in more than HARD bytes, ' +
      'or for SECONDS in more than SOFT, is disconnected; 0: no limit',
  },
  {
    name: 'slowlog-log-slower-than',
    type: { kind: 'integer', min: -1, max: INT64_MAX },
    default: '10000',
    change: 'runtime',
    argument: 'USEC',
    help: 'a command that takes this long, from its arrival to its reply, is in SLOWLOG; -1: none',
  },
  {
    name: 'slowlog-max-len',
    type: LONG_COUNT,
    default: '128',
    change: 'runtime',
    help: 'how many of them SLOWLOG keeps',
  },
  {
    name: 'latency-monitor-threshold',
    type: LONG_COUNT,
    default: '0',
    change: 'runtime',
    argument: 'MS',
    help: 'what takes this long is in LATENCY; 0: nothing is',
  },
  {
    name: 'latency-tracking',
    type: BOOLEAN,
    default: 'yes',
    change: 'runtime',
    help: 'count how long commands take, for LATENCY HISTOGRAM and INFO latencystats',
  },
  {
    name: 'latency-tracking-info-percentiles',
    type: { kind: 'text', parse: parsePercentiles },
    default: '50 99 99.9',
    change: 'runtime',
    argument: 'LIST',
    help: 'percentiles that INFO latencystats shows',
  },
  {
    name: 'enable-debug-command',
    type: { kind: 'choice', values: ['no', 'yes', 'local'] },
    default: 'no',
    change: 'startup',
    help: 'who may use DEBUG; local: clients on this machine',
  },
  {
    name: 'databases',
    type: { kind: 'integer', min: 16, max: 16 },
    default: '16',
    change: 'startup',
    help: 'number of databases; 16 is the only value',
  },
];

const TLS: readonly Directive[] = [
  {
    name: 'tls-port',
    type: PORT,
    default: '0',
    change: 'startup',
    help: 'port for clients that speak TLS; 0: none',
    defaultHelp: 'none',
  },
  {
    name: 'tls-cert-file',
    type: TEXT,
    default: '',
    change: 'startup',
    argument: 'PATH',
    help: "this server's certificate, in PEM, with those that lead to its authority",
    defaultHelp: 'none',
  },
  {
    name: 'tls-key-file',
    type: TEXT,
    default: '',
    change: 'startup',
    argument: 'PATH',
    help: 'private key of the certificate, in PEM',
    defaultHelp: 'none',
  },
  {
    name: 'tls-key-file-pass',
    type: TEXT,
    default: '',
    change: 'startup',
    argument: 'PASSWORD',
    help: 'password of the key, if it is encrypted',
    defaultHelp: 'none',
    secret: true,
  },
  {
    name: 'tls-ca-cert-file',
    type: TEXT,
    default: '',
    change: 'startup',
    argument: 'PATH',
    help: 'certificates of the authorities that are trusted, in PEM',
    defaultHelp: 'none',
  },
  {
    name: 'tls-auth-clients',
    type: { kind: 'choice', values: ['no', 'yes', 'optional'] },
    default: 'optional',
    change: 'startup',
    help:
      'whether clients must show a certificate of --tls-ca-cert-file; optional: one that is shown must be good ' +
      "(Redis's default is yes)",
  },
  {
    name: 'tls-protocols',
    type: { kind: 'text', parse: parseTlsProtocols },
    default: 'TLSv1.2 TLSv1.3',
    change: 'startup',
    argument: 'VERSIONS',
    help: 'TLSv1.2, TLSv1.3 or both',
  },
  {
    name: 'tls-cluster',
    type: BOOLEAN,
    default: 'no',
    change: 'startup',
    help:
      'TLS between the servers of the cluster too, on all of them or on none; each must show a certificate of ' +
      '--tls-ca-cert-file, in which the name is not looked at',
  },
];

const MAPREDUCE: readonly Directive[] = [
  {
    name: 'mr-modules',
    type: TEXT,
    default: '',
    change: 'startup',
    argument: 'DIR',
    help: "directory with the modules of users' own jobs, the same on all servers; without it such jobs are refused",
    defaultHelp: 'none',
  },
  {
    name: 'mr-threads',
    type: { kind: 'integer', min: 0, max: 256 },
    default: '0',
    change: 'startup',
    help: 'threads that work on jobs; 0: one less than there are cores, at least one',
  },
  {
    name: 'mr-port',
    type: PORT,
    default: '0',
    change: 'startup',
    help: 'port at which the other servers fetch what this one has mapped; 0: any that is free',
  },
  {
    name: 'mr-files',
    type: { kind: 'choice', values: ['no', 'local', 'yes'] },
    default: 'local',
    change: 'startup',
    help: 'whether jobs may read the files that this server can read; local: those submitted from this machine',
  },
  {
    name: 'mr-result-max',
    type: { kind: 'memory', min: MB, max: 1024 * 1024 * MB },
    default: '1gb',
    change: 'startup',
    help: 'largest result of a job that is kept in the store',
  },
];

/** The directives as --help groups them. */
export const DIRECTIVE_GROUPS = {
  ...{ own: OWN, redis: REDIS, tls: TLS, mapreduce: MAPREDUCE, accepted: ACCEPTED },
} as const;

export const DIRECTIVES: readonly Directive[] = [...OWN, ...REDIS, ...TLS, ...MAPREDUCE, ...ACCEPTED];
