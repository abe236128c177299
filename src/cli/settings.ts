/**
 * The arguments of a mode, with the environment and the configuration file, as settings.
 *
 * Everything is checked here, before anything is started: a mistake costs one line and exit status 2, not three
 * servers that each complain.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Config } from '../config/config.ts';
import type { Directive } from '../config/directive.ts';
import type { ConfigFile } from '../config/file.ts';
import { formatMembers, type MemberAddress, PEER_PORT_OFFSET } from '../config/members.ts';
import {
  type Environment,
  type FlagForms,
  gatherSettings,
  parseFlags,
  variableName,
} from '../config/sources.ts';
import { DIRECTIVES } from '../config/table.ts';
import type { TlsOptions } from '../io/tls.ts';
import { ConfigError } from '../lib/errors.ts';
import { readTlsOptions } from './tls-options.ts';

type Flag = readonly [name: string, value: string];

export const CONFIG_FLAG = 'config';
export const CHECK_DIR_FLAG = 'check-dir';

const NAMES = DIRECTIVES.map(({ name }) => name);
const SERVER_FLAGS: FlagForms = { valued: [...NAMES, CONFIG_FLAG, CHECK_DIR_FLAG], switches: [] };

/** What the launcher of a local cluster has for itself. */
export const LAUNCHER_DIRECTIVES: readonly Directive[] = [
  {
    name: 'nodes',
    type: { kind: 'integer', min: 1, max: 9 },
    default: '3',
    change: 'startup',
    help: 'how many servers; 3 survive the loss of one, 5 of two',
  },
  {
    name: 'restart',
    type: { kind: 'boolean' },
    default: 'no',
    change: 'startup',
    help: 'start a server again that has died',
  },
];

/** Makes sense for one server, and not for all at once. */
const ONE_SERVER = [
  ...['join', 'force-new-cluster', 'cluster-port'],
  ...['cluster-announce-ip', 'cluster-announce-port', 'cluster-announce-bus-port', 'mr-port'],
];
/** What the launcher decides for each of its servers, so that it is not asked for. */
const PER_SERVER = ['id', 'cluster', 'bind', 'logfile', ...ONE_SERVER];
const BY_LAUNCHER = [...PER_SERVER, 'port', 'tls-port', 'dir'];
/** Handed on where other users of the machine cannot see them, as they can arguments. */
const SECRETS = ['requirepass', 'cluster-secret', 'tls-key-file-pass'];

export const CLUSTER_FLAGS: FlagForms = {
  valued: ['nodes', ...NAMES.filter((name) => !PER_SERVER.includes(name)), CONFIG_FLAG],
  switches: ['restart'],
};

const CLUSTER_HOST = '127.0.0.1';
const PORT_MAX = 65_535;
const DEFAULT_DIRECTORY = './hstore-data';

/** The directory that is only to be verified; undefined when a server is to be started. Throws ConfigError. */
export function readCheckDir(args: readonly string[]): string | undefined {
  const flags = parseFlags(args, SERVER_FLAGS);
  const [[, directory] = []] = flags.filter(([name]) => name === CHECK_DIR_FLAG);
  if (directory === undefined) return undefined;
  if (directory === '') throw new ConfigError(`--${CHECK_DIR_FLAG} needs a value`);
  if (flags.length === 1) return directory;
  const other = flags.find(([name]) => name !== CHECK_DIR_FLAG)?.[0] ?? CHECK_DIR_FLAG;
  throw new ConfigError(`--${CHECK_DIR_FLAG} stands alone: --${other} beside it would do nothing`);
}

/** Throws ConfigError. */
export function readServerSettings(args: readonly string[], environment: Environment): Config {
  const flags = parseFlags(args, SERVER_FLAGS);
  return new Config({
    flags: flags.filter(([name]) => name !== CONFIG_FLAG),
    environment,
    file: readConfigFile(flags, environment),
  });
}

/** One server of a local cluster, and how its process is started. */
export interface PlannedServer {
  readonly name: string;
  /** For clients. */
  readonly port: number;
  readonly args: readonly string[];
}

export interface ClusterPlan {
  readonly servers: readonly PlannedServer[];
  /** Every port they will listen on. */
  readonly ports: readonly number[];
  readonly directory: string;
  readonly restart: boolean;
  readonly requirepass: string;
  /** What is spoken on the servers' `port`; undefined: no TLS. */
  readonly tls: TlsOptions | undefined;
  readonly environment: Environment;
}

/** Throws ConfigError. */
export function planCluster(args: readonly string[], environment: Environment): ClusterPlan {
  refuseForOneServer(args);
  const flags = parseFlags(args, CLUSTER_FLAGS);
  const isOwn = ([name]: Flag): boolean => LAUNCHER_DIRECTIVES.some((each) => each.name === name);
  const own = gatherSettings(LAUNCHER_DIRECTIVES, { flags: flags.filter(isOwn), environment });
  const serverFlags = flags.filter((flag) => !isOwn(flag) && flag[0] !== CONFIG_FLAG);
  const config = new Config({
    flags: serverFlags,
    environment: without(environment, PER_SERVER),
    file: readConfigFile(flags, environment),
  });
  const given = ONE_SERVER.find((name) => config.isGiven(name));
  if (given !== undefined) throw forOneServer(`${given} in ${config.configFile}`);
  const nodes = Number(own.get('nodes')?.value ?? 3);
  const { port: plainPort, tlsPort } = config;
  const members = memberAddresses(nodes, plainPort === 0 ? tlsPort : plainPort);
  const tlsPorts = tlsPort === 0 ? [] : members.map((_, i) => tlsPort + i);
  const ports = new Set([...members.flatMap(({ port, peerPort }) => [port, peerPort]), ...tlsPorts]);
  if (plainPort !== 0 && ports.size < 2 * nodes + tlsPorts.length) {
    throw new ConfigError(`--tls-port ${tlsPort} is too near to --port ${plainPort} for ${nodes} servers`);
  }
  const tls = readTlsOptions(config);
  const directory = config.isGiven('dir') ? config.dir : DEFAULT_DIRECTORY;
  const common = [...commonArgs(serverFlags), ...configArgs(flags)];
  return {
    servers: members.map(({ name, port }, i) => ({
      name,
      port,
      args: [
        'server',
        ...['--id', name, '--cluster', formatMembers(members)],
        ...['--port', `${plainPort === 0 ? 0 : port}`, '--bind', CLUSTER_HOST],
        ...(tlsPort === 0 ? [] : ['--tls-port', `${tlsPorts[i]}`]),
        ...['--dir', join(directory, name), '--logfile='],
        ...common,
      ],
    })),
    ports: [...ports],
    directory,
    restart: own.get('restart')?.value === 'yes',
    requirepass: config.requirepass,
    tls: plainPort === 0 ? tls : undefined,
    environment: {
      ...without(environment, [...BY_LAUNCHER, 'nodes', 'restart', 'mode']),
      ...Object.fromEntries(
        serverFlags
          .filter(([name]) => SECRETS.includes(name))
          .map(([name, value]) => [variableName(name), value]),
      ),
    },
  };
}

function refuseForOneServer(args: readonly string[]): void {
  for (const arg of args) {
    const [flag] = arg.split('=', 1);
    if ([...ONE_SERVER, CHECK_DIR_FLAG].some((name) => flag === `--${name}`)) throw forOneServer(flag!);
  }
}

function forOneServer(what: string): ConfigError {
  return new ConfigError(`${what} is for one server: start it with hstore server`);
}

function memberAddresses(nodes: number, firstPort: number): MemberAddress[] {
  const lastPeerPort = firstPort + nodes - 1 + PEER_PORT_OFFSET;
  if (lastPeerPort > PORT_MAX) {
    const portMax = PORT_MAX - PEER_PORT_OFFSET - nodes + 1;
    throw new ConfigError(
      `--port ${firstPort} leaves no room for the servers' own ports (PORT + ${PEER_PORT_OFFSET}): ` +
        `with ${nodes} servers it is at most ${portMax}`,
    );
  }
  return Array.from({ length: nodes }, (_, i) => {
    const port = firstPort + i;
    return { name: `n${i + 1}`, host: CLUSTER_HOST, port, peerPort: port + PEER_PORT_OFFSET };
  });
}

function commonArgs(flags: readonly Flag[]): string[] {
  return flags
    .filter(([name]) => !SECRETS.includes(name) && !BY_LAUNCHER.includes(name))
    .map(([name, value]) => `--${name}=${value}`);
}

function configArgs(flags: readonly Flag[]): string[] {
  const path = flags.findLast(([name]) => name === CONFIG_FLAG)?.[1];
  return path === undefined ? [] : [`--${CONFIG_FLAG}=${path}`];
}

function without(environment: Environment, names: readonly string[]): Environment {
  const variables = names.map(variableName);
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !variables.includes(name)));
}

/** The file that is named with --config; undefined: none is. Throws ConfigError. */
export function readConfigFile(flags: readonly Flag[], environment: Environment): ConfigFile | undefined {
  const path =
    flags.findLast(([name]) => name === CONFIG_FLAG)?.[1] ?? environment[variableName(CONFIG_FLAG)];
  if (path === undefined || path === '') return undefined;
  try {
    return { path, text: readFileSync(path, 'utf8') };
  } catch (error) {
    const reason = error instanceof Error ? error.message : `${error}`;
    throw new ConfigError(`cannot read the configuration file ${path}: ${reason}`, error);
  }
}
