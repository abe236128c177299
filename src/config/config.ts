/**
 * A server's configuration: what flags, environment and file say, the defaults of the table for the rest, and what
 * CONFIG SET changes while it runs.
 *
 * Values are kept as the texts that CONFIG GET shows; the getters give them their types. A few defaults depend on
 * others: port and address come from the server's own entry among the members, and members and name, on a restart that
 * does not name them, from the data directory (`adopt`).
 */
import { assert } from '../lib/assert.ts';
import { ConfigError } from '../lib/errors.ts';
import { globMatchesAnyCase, isPattern } from '../lib/glob.ts';
import type { Directive } from './directive.ts';
import {
  formatMembers,
  type MemberAddress,
  PEER_PORT_OFFSET,
  parseAddress,
  parseMembers,
} from './members.ts';
import { didYouMean } from './nearest.ts';
import { type FileChange, rewriteConfigFile } from './rewrite.ts';
import { defaultOf, gatherSettings, MANY_WORDS, type Sources } from './sources.ts';
import { DIRECTIVES } from './table.ts';
import { memoryText, parseValue } from './value.ts';
import { type OutputBufferLimits, outputBufferLimits } from './word-lists.ts';

export type Reads = 'linearizable' | 'local';
export type LogLevel = 'debug' | 'verbose' | 'notice' | 'warning';
export type TlsVersion = 'TLSv1.2' | 'TLSv1.3';

/** Paths and password are empty where there is none. */
export interface TlsSettings {
  readonly certFile: string;
  readonly keyFile: string;
  readonly keyFilePass: string;
  readonly caCertFile: string;
  readonly authClients: 'no' | 'optional' | 'yes';
  /** At least one, the lowest first. */
  readonly protocols: readonly TlsVersion[];
}

export type DebugCommand = 'no' | 'yes' | 'local';
export type MrFiles = 'no' | 'local' | 'yes';

const BY_NAME: ReadonlyMap<string, Directive> = new Map(DIRECTIVES.map((each) => [each.name, each]));
const PORT_MAX = 65_535;
const HEARTBEATS_PER_ELECTION_MIN = 3;
const LOOPBACK = '127.0.0.1';

export class Config {
  /** The path of the file that was read; empty when there was none. */
  readonly configFile: string;
  readonly dir: string;
  readonly #values = new Map<string, string>();
  readonly #given: ReadonlySet<string>;
  /** What CONFIG SET has changed. */
  readonly #changed = new Set<string>();
  readonly #listeners = new Map<string, ((value: string) => void)[]>();

  /** Throws ConfigError: one line that says what is wrong where. */
  constructor(sources: Sources) {
    const settings = gatherSettings(DIRECTIVES, sources);
    this.configFile = sources.file?.path ?? '';
    this.#given = new Set(settings.keys());
    for (const directive of DIRECTIVES.filter(({ aliasOf }) => aliasOf === undefined)) {
      this.#values.set(directive.name, settings.get(directive.name)?.value ?? defaultOf(directive));
    }
    this.dir = this.isGiven('dir') ? this.#text('dir') : `./hstore-data/${this.id}`;
    this.#values.set('dir', this.dir);
    this.#check();
  }

  /** Whether a flag, the environment or the file says it. */
  isGiven(name: string): boolean {
    assert(BY_NAME.has(name), 'a directive of the table', name);
    return this.#given.has(name);
  }

  // Who this server is

  get id(): string {
    return this.#text('id');
  }

  /** The founding members; for a server alone, itself. */
  get members(): readonly MemberAddress[] {
    const members = parseMembers(this.#text('cluster'));
    return members.length > 0 ? members : [this.#alone()];
  }

  /** The client address of a member of the cluster to be joined. */
  get join(): { host: string; port: number } | undefined {
    const text = this.#text('join');
    return text === '' ? undefined : parseAddress(text);
  }

  get forceNewCluster(): boolean {
    return this.#text('force-new-cluster') === 'yes';
  }

  /** How this server is to be reached: by what --cluster says, else by where it listens, else by where it was before. */
  get announced(): MemberAddress {
    const entry = this.#ownEntry();
    const listens = {
      host: this.#reachableHost(entry),
      port: this.port === 0 ? this.tlsPort : this.port,
      peerPort: this.peerPort,
    };
    const { host, port, peerPort } = this.isGiven('cluster') && entry !== undefined ? entry : listens;
    return {
      name: this.id,
      host: this.#text('cluster-announce-ip') || host,
      port: this.#number('cluster-announce-port') || port,
      peerPort: this.#number('cluster-announce-bus-port') || peerPort,
    };
  }

  /** Whether the host that `announced` says is known: bound to all interfaces, it is a guess unless something names it. */
  get hostIsKnown(): boolean {
    return this.#text('cluster-announce-ip') !== '' || this.#ownEntry() !== undefined || this.#bindsOneHost;
  }

  get #bindsOneHost(): boolean {
    return this.bind[0] !== '0.0.0.0' && this.bind[0] !== '::';
  }

  #reachableHost(entry: MemberAddress | undefined): string {
    const bound = this.#bindsOneHost ? this.bind[0]!.toLowerCase() : undefined;
    if (this.isGiven('bind') && bound !== undefined) return bound;
    return entry?.host ?? bound ?? LOOPBACK;
  }

  /** Where it listens for the other servers; 0: there is no room for such a port. */
  get peerPort(): number {
    const given = this.#number('cluster-port');
    if (given !== 0) return given;
    const entry = this.#ownEntry();
    const port = this.port === 0 ? this.tlsPort : this.port;
    if (entry !== undefined && (!this.isGiven('port') || entry.port === port)) return entry.peerPort;
    const peerPort = port + PEER_PORT_OFFSET;
    return peerPort > PORT_MAX ? 0 : peerPort;
  }

  /** The address on which it listens for the other servers. */
  get peerBind(): string {
    return this.isGiven('bind') ? this.bind[0]! : (this.#ownEntry()?.host ?? this.bind[0]!);
  }

  /** Where clients speak without TLS; 0: nowhere. */
  get port(): number {
    if (this.isGiven('port')) return this.#number('port');
    return this.#ownEntry()?.port ?? this.#number('port');
  }

  /** Where clients speak TLS; 0: nowhere. */
  get tlsPort(): number {
    return this.#number('tls-port');
  }

  /** At least one. */
  get bind(): readonly string[] {
    const host = this.isGiven('bind') ? undefined : this.#ownEntry()?.host;
    const addresses = host === undefined ? this.#text('bind').split(' ') : [host];
    return addresses.map((address) => (address === '*' ? '0.0.0.0' : address));
  }

  /**
   * What the data directory says of a server that was here before: it holds where no flag says otherwise. The caller has
   * made sure that nothing contradicts. No members: a server alone.
   */
  adopt({ name, members }: { name: string; members: readonly MemberAddress[] }): void {
    this.#values.set('id', name);
    this.#values.set('cluster', formatMembers(members));
  }

  // What it does

  get requirepass(): string {
    return this.#text('requirepass');
  }

  get clusterSecret(): string {
    return this.#text('cluster-secret');
  }

  get reads(): Reads {
    return this.#text('reads') as Reads;
  }

  get commandTimeoutMs(): number {
    return this.#number('command-timeout');
  }

  get electionTimeoutMs(): number {
    return this.#number('election-timeout');
  }

  get heartbeatIntervalMs(): number {
    return this.#number('heartbeat-interval');
  }

  get walSegmentBytes(): number {
    return this.#number('wal-segment-size');
  }

  /** Of the log that the store has too, for servers that lag. */
  get walKeepBytes(): number {
    return this.#number('wal-keep-size');
  }

  get snapshotBytesPerSecond(): number {
    return this.#number('snapshot-rate-limit');
  }

  get loglevel(): LogLevel {
    return this.#text('loglevel') as LogLevel;
  }

  /** Empty: standard error. */
  get logfile(): string {
    return this.#text('logfile');
  }

  /** Bytes; 0: no bound. */
  get maxmemory(): number {
    return this.#number('maxmemory');
  }

  get maxclients(): number {
    return this.#number('maxclients');
  }

  /** 0: a client may be idle for ever. */
  get timeoutSeconds(): number {
    return this.#number('timeout');
  }

  get tcpKeepaliveMs(): number {
    return this.#number('tcp-keepalive') * 1000;
  }

  get protectedMode(): boolean {
    return this.#text('protected-mode') === 'yes';
  }

  /** Bytes. */
  get protoMaxBulkLen(): number {
    return this.#number('proto-max-bulk-len');
  }

  /** Bytes. */
  get clientQueryBufferLimit(): number {
    return this.#number('client-query-buffer-limit');
  }

  /** Undefined: neither clients nor peers speak TLS. */
  get tls(): TlsSettings | undefined {
    if (this.tlsPort === 0 && !this.tlsCluster) return undefined;
    const caCertFile = this.#text('tls-ca-cert-file');
    return {
      certFile: this.#text('tls-cert-file'),
      keyFile: this.#text('tls-key-file'),
      keyFilePass: this.#text('tls-key-file-pass'),
      caCertFile,
      // Without an authority there is nothing that a certificate could be held against.
      authClients: caCertFile === '' ? 'no' : (this.#text('tls-auth-clients') as TlsSettings['authClients']),
      protocols: this.#text('tls-protocols').split(' ') as TlsVersion[],
    };
  }

  get tlsCluster(): boolean {
    return this.#text('tls-cluster') === 'yes';
  }

  get clientOutputBufferLimits(): OutputBufferLimits {
    return outputBufferLimits(this.#text('client-output-buffer-limit'));
  }

  get databases(): number {
    return this.#number('databases');
  }

  /** Microseconds; -1: nothing is slow. */
  get slowlogLogSlowerThan(): number {
    return this.#number('slowlog-log-slower-than');
  }

  get slowlogMaxLen(): number {
    return this.#number('slowlog-max-len');
  }

  /** 0: off. */
  get latencyMonitorThresholdMs(): number {
    return this.#number('latency-monitor-threshold');
  }

  get latencyTracking(): boolean {
    return this.#text('latency-tracking') === 'yes';
  }

  /** As they are shown: `99.9`. */
  get latencyPercentiles(): readonly string[] {
    const text = this.#text('latency-tracking-info-percentiles');
    return text === '' ? [] : text.split(' ');
  }

  get enableDebugCommand(): DebugCommand {
    return this.#text('enable-debug-command') as DebugCommand;
  }

  // MapReduce

  /** Empty: jobs of users' own are refused. */
  get mrModules(): string {
    return this.#text('mr-modules');
  }

  /** 0: one less than there are cores, at least one. */
  get mrThreads(): number {
    return this.#number('mr-threads');
  }

  /** 0: any that is free. */
  get mrPort(): number {
    return this.#number('mr-port');
  }

  get mrFiles(): MrFiles {
    return this.#text('mr-files') as MrFiles;
  }

  /** Bytes. */
  get mrResultMax(): number {
    return this.#number('mr-result-max');
  }

  // CONFIG

  /** CONFIG GET: names and values that match; a name without wildcards comes back as it was written. */
  get(pattern: string): [name: string, value: string][] {
    if (!isPattern(pattern)) {
      const directive = BY_NAME.get(pattern.toLowerCase());
      return directive === undefined || directive.secret ? [] : [[pattern, this.#shown(directive.name)]];
    }
    return DIRECTIVES.filter(({ name, secret }) => !secret && globMatchesAnyCase(pattern, name)).map(
      ({ name }) => [name, this.#shown(name)],
    );
  }

  /** CONFIG SET, all pairs or none. The text of the error after `ERR `; undefined when it is done. */
  set(pairs: readonly (readonly [name: string, value: string])[]): string | undefined {
    const names = new Set<string>();
    for (const [name] of pairs) {
      const directive = BY_NAME.get(name.toLowerCase());
      if (directive === undefined) {
        // Up to a zero byte, as C prints it.
        return `Unknown option or number of arguments for CONFIG SET - '${name.split('\0', 1)[0]}'`;
      }
      if (directive.change === 'startup') return setFailed(name, "can't set immutable config");
      if (names.has(directive.name)) return setFailed(name, 'duplicate parameter');
      names.add(directive.name);
    }
    const changes: [string, string][] = [];
    for (const [name, text] of pairs) {
      const directive = BY_NAME.get(name.toLowerCase())!;
      const current = this.#text(directive.aliasOf ?? directive.name);
      const parsed = parseValue(directive.type, text, current);
      if (!parsed.ok) return setFailed(directive.name, parsed.reason);
      if (directive.change === 'fixed' && parsed.value !== current) {
        return setFailed(directive.name, "can't set immutable config");
      }
      if (parsed.value !== current) changes.push([directive.aliasOf ?? directive.name, parsed.value]);
    }
    for (const [name, value] of changes) {
      this.#values.set(name, value);
      this.#changed.add(name);
    }
    for (const [name, value] of changes)
      for (const listener of this.#listeners.get(name) ?? []) listener(value);
    return undefined;
  }

  /**
   * CONFIG REWRITE: the text of the file with what CONFIG SET has changed. What flags and environment say is not written:
   * it is said again at the next start, perhaps to several servers that share the file.
   */
  rewritten(fileText: string): string {
    const changes = [...this.#changed].map((name): FileChange => {
      const directive = BY_NAME.get(name)!;
      const value = this.#text(name);
      const names = [name, ...DIRECTIVES.filter((each) => each.aliasOf === name).map((each) => each.name)];
      const text = directive.type.kind === 'memory' ? memoryText(Number(value)) : value;
      return { names, text, words: MANY_WORDS.includes(name), isDefault: value === defaultOf(directive) };
    });
    return rewriteConfigFile(fileText, changes);
  }

  /** Calls `listener` when CONFIG SET has given `name` another value. */
  onChange(name: string, listener: (value: string) => void): void {
    assert(BY_NAME.get(name)?.change === 'runtime', 'a directive that may change at run time', name);
    this.#listeners.set(name, [...(this.#listeners.get(name) ?? []), listener]);
  }

  #text(name: string): string {
    const value = this.#values.get(BY_NAME.get(name)?.aliasOf ?? name);
    assert(value !== undefined, 'a directive of the table', name);
    return value;
  }

  #number(name: string): number {
    return Number(this.#text(name));
  }

  #shown(name: string): string {
    if (name === 'port') return `${this.port}`;
    return name === 'bind' ? this.bind.join(' ') : this.#text(name);
  }

  #ownEntry(): MemberAddress | undefined {
    return parseMembers(this.#text('cluster')).find(({ name }) => name === this.id);
  }

  #alone(): MemberAddress {
    return this.announced;
  }

  /** What no single value can tell. */
  #check(): void {
    const names = parseMembers(this.#text('cluster')).map(({ name }) => name);
    if (names.length > 0 && !names.includes(this.id)) {
      // The name may come from the data directory later, but never from among strangers.
      const meant = this.isGiven('id') ? didYouMean(this.id, names) : ': give this server its name with --id';
      throw new ConfigError(`${this.id} is not among the members ${names.join(', ')} of --cluster${meant}`);
    }
    this.#checkTls();
    if (this.heartbeatIntervalMs * HEARTBEATS_PER_ELECTION_MIN > this.electionTimeoutMs) {
      throw new ConfigError(
        `heartbeat-interval (${this.heartbeatIntervalMs} ms) must be at most a third of ` +
          `election-timeout (${this.electionTimeoutMs} ms)`,
      );
    }
    if (this.clientQueryBufferLimit < this.protoMaxBulkLen) {
      throw new ConfigError(
        `client-query-buffer-limit (${memoryText(this.clientQueryBufferLimit)}) must be at least ` +
          `proto-max-bulk-len (${memoryText(this.protoMaxBulkLen)}): else no such value could be sent`,
      );
    }
  }

  #checkTls(): void {
    const { port, tlsPort, tls } = this;
    if (port === 0 && tlsPort === 0) refuse('port 0 needs a tls-port: else no client could be served');
    if (port === tlsPort) refuse(`port and tls-port are both ${port}`);
    if (tls === undefined) return;
    const asked = tlsPort === 0 ? 'tls-cluster yes' : `tls-port ${tlsPort}`;
    if (tls.certFile === '') refuse(`${asked} needs tls-cert-file`);
    if (tls.keyFile === '') refuse(`${asked} needs tls-key-file`);
    if (tls.caCertFile !== '') return;
    if (this.tlsCluster) refuse('tls-cluster yes needs tls-ca-cert-file');
    const auth = this.#text('tls-auth-clients');
    if (this.isGiven('tls-auth-clients') && auth !== 'no') {
      refuse(`tls-auth-clients ${auth} needs tls-ca-cert-file`);
    }
  }
}

function refuse(text: string): never {
  throw new ConfigError(text);
}

function setFailed(name: string, reason: string): string {
  return `CONFIG SET failed (possibly related to argument '${name}') - ${reason}`;
}
