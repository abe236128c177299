/**
 * The members of a new cluster as `--cluster` gives them, and as the identity file keeps them:
 *
 *   n1=HOST:PORT[@PEERPORT],n2=HOST:PORT[@PEERPORT],...       an IPv6 address stands in brackets: n1=[::1]:6379
 *
 * PORT is for clients; PEERPORT, for the other servers, is PORT + 10000 unless given, as Redis's cluster bus has it.
 */
import { ConfigError } from '../lib/errors.ts';
import { NAME_FORM } from './name.ts';

/** A founding member, before it has an id. */
export interface MemberAddress {
  readonly name: string;
  /** Lower case; an IPv6 address without brackets. */
  readonly host: string;
  readonly port: number;
  readonly peerPort: number;
}

export const PEER_PORT_OFFSET = 10_000;
const PORT_MAX = 65_535;

const ENTRY = /^([^=]*)=(?:\[([^\]]*)\]|([^:[\]]*)):([^:@]*)(?:@(.*))?$/;
const HOST_FORM = /^[a-z0-9]([a-z0-9._-]{0,252}[a-z0-9])?$/;

/** The reason why `text` is no HOST:PORT. */
export function checkAddress(text: string): string | undefined {
  return failureOf(() => parseAddress(text));
}

export function checkHost(text: string): string | undefined {
  return failureOf(() => parseHost(text.includes(':') ? text : undefined, text, text));
}

/** HOST:PORT. Throws ConfigError. */
export function parseAddress(text: string): { host: string; port: number } {
  const [, ipv6, host, portText] = /^(?:\[([^\]]*)\]|([^:[\]]*)):([^:@]*)$/.exec(text) ?? [];
  if (portText === undefined) throw new ConfigError(`'${text}' is not HOST:PORT`);
  return { host: parseHost(ipv6, host ?? '', text), port: parsePort(portText, text) };
}

function failureOf(parse: () => unknown): string | undefined {
  try {
    parse();
    return undefined;
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
}

/** The members in the order of `text`; none for the empty text. Throws ConfigError. */
export function parseMembers(text: string): MemberAddress[] {
  if (text === '') return [];
  const members = text.split(',').map((entry) => parseEntry(entry));
  refuseTwice(members.map(({ name }) => `the name ${name}`));
  refuseTwice(
    members.flatMap(({ host, port, peerPort }) => [
      `the address ${host}:${port}`,
      `the address ${host}:${peerPort}`,
    ]),
  );
  return members;
}

/** The reason why `text` is no list of members. */
export function checkMembers(text: string): string | undefined {
  return failureOf(() => parseMembers(text));
}

/** The one text for these members, whatever their order was and which defaults they used. */
export function formatMembers(members: readonly MemberAddress[]): string {
  const byName = [...members].sort((a, b) => (a.name < b.name ? -1 : 1));
  return byName
    .map(({ name, host, port, peerPort }) => `${name}=${hostText(host)}:${port}@${peerPort}`)
    .join(',');
}

function hostText(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}

function parseEntry(entry: string): MemberAddress {
  const [, name, ipv6, host, portText, peerPortText] = ENTRY.exec(entry) ?? [];
  if (name === undefined || portText === undefined) {
    throw new ConfigError(`'${entry}' is not NAME=HOST:PORT or NAME=HOST:PORT@PEERPORT`);
  }
  if (!NAME_FORM.test(name)) {
    throw new ConfigError(`'${name}' in '${entry}' is no name: letters, digits, dots, dashes, underscores`);
  }
  const port = parsePort(portText, entry);
  const peerPort = peerPortText === undefined ? defaultPeerPort(port, entry) : parsePort(peerPortText, entry);
  return { name, host: parseHost(ipv6, host ?? '', entry), port, peerPort };
}

function parseHost(ipv6: string | undefined, host: string, entry: string): string {
  if (ipv6 === undefined) {
    if (HOST_FORM.test(host.toLowerCase())) return host.toLowerCase();
    throw new ConfigError(`'${host}' in '${entry}' is no host name or address`);
  }
  // The one form of an address that has many: [0:0:0:0:0:0:0:1] is [::1].
  const url = URL.canParse(`http://[${ipv6}]/`) ? new URL(`http://[${ipv6}]/`) : undefined;
  if (url === undefined) throw new ConfigError(`'[${ipv6}]' in '${entry}' is no IPv6 address`);
  return url.hostname.slice(1, -1);
}

function parsePort(text: string, entry: string): number {
  const port = Number(text);
  if (/^[1-9]\d{0,4}$/.test(text) && port <= PORT_MAX) return port;
  throw new ConfigError(`'${text}' in '${entry}' is no port: 1 to ${PORT_MAX}`);
}

function defaultPeerPort(port: number, entry: string): number {
  const peerPort = port + PEER_PORT_OFFSET;
  if (peerPort <= PORT_MAX) return peerPort;
  throw new ConfigError(
    `'${entry}' has no room for its peer port ${peerPort} (PORT + ${PEER_PORT_OFFSET}): give one with @PEERPORT`,
  );
}

function refuseTwice(things: readonly string[]): void {
  const twice = things.find((thing, i) => things.indexOf(thing) !== i);
  if (twice !== undefined) throw new ConfigError(`${twice} is given twice`);
}
