/**
 * Where the servers of `--nodes` are, and how they let one in: `--password` or REDISCLI_AUTH, as redis-cli has it, and TLS.
 * The environment of servers (HSTORE_NODES of a local cluster, and so on) says nothing about them.
 */
import { readFileSync } from 'node:fs';
import { parseAddress } from '../client/members.ts';
import type { Directive } from '../config/directive.ts';
import { type Environment, variableName } from '../config/sources.ts';
import { ConfigError } from '../lib/errors.ts';

const startup = { type: { kind: 'text' }, default: '', change: 'startup' } as const;

export const ACCESS_DIRECTIVES: readonly Directive[] = [
  {
    ...{ name: 'nodes', argument: 'HOST:PORT,...', ...startup },
    help: 'run the job across the servers of this cluster; some of them are enough, they know the others',
    defaultHelp: 'this machine alone',
  },
  {
    ...{ name: 'password', argument: 'PASSWORD', secret: true, ...startup },
    help: 'the password of these servers; other users of this machine can see it, unlike that in REDISCLI_AUTH',
    defaultHelp: 'what the environment variable REDISCLI_AUTH holds',
  },
  {
    ...{ name: 'tls', ...startup, type: { kind: 'boolean' }, default: 'no' },
    help: 'speak TLS with these servers',
  },
  {
    ...{ name: 'tls-ca-cert-file', argument: 'FILE', ...startup },
    help: 'certificates of the authorities that their certificates are to come from, in PEM',
    defaultHelp: "the runtime's",
  },
];

const PASSWORD_VARIABLE = 'REDISCLI_AUTH';

/** How to reach a cluster. */
export interface ClusterAccess {
  /** `HOST:PORT`, one at least. */
  readonly nodes: readonly string[];
  readonly password: string | undefined;
  /** Undefined: without TLS. */
  readonly tls: { readonly ca?: Buffer } | undefined;
}

export type ValueOf = (name: string) => string | undefined;

/** Without the variables that have the name of one of these flags, but are not meant for it. */
export function withoutAccess(environment: Environment): Environment {
  const variables = ACCESS_DIRECTIVES.map(({ name }) => variableName(name));
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !variables.includes(name)));
}

/** Undefined: the job is for this machine. Throws ConfigError. */
export function readAccess(value: ValueOf, environment: Environment): ClusterAccess | undefined {
  const nodes = value('nodes');
  if (nodes === undefined) {
    const stray = ACCESS_DIRECTIVES.find(({ name }) => value(name) !== undefined);
    if (stray !== undefined) throw new ConfigError(`--${stray.name} is for servers: name them with --nodes`);
    return undefined;
  }
  const password = value('password') ?? environment[PASSWORD_VARIABLE];
  return {
    nodes: nodes.split(',').map(checkedAddress),
    password: password === '' ? undefined : password,
    tls: readTls(value),
  };
}

function checkedAddress(text: string): string {
  try {
    parseAddress(text);
    return text.trim();
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new ConfigError(
      `--nodes takes addresses of servers such as 10.0.0.1:6379,10.0.0.2:6379: ${error.message}`,
    );
  }
}

function readTls(value: ValueOf): ClusterAccess['tls'] {
  const file = value('tls-ca-cert-file');
  if (value('tls') !== 'yes') {
    if (file !== undefined) throw new ConfigError('--tls-ca-cert-file is for --tls');
    return undefined;
  }
  if (file === undefined) return {};
  try {
    return { ca: readFileSync(file) };
  } catch (error) {
    const why = error instanceof Error ? error.message : `${error}`;
    throw new ConfigError(`cannot read the file of --tls-ca-cert-file: ${why}`, error);
  }
}
