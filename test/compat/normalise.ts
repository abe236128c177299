/** What must differ between two servers, and is made equal before they are compared. */

export interface Normalise {
  readonly what: RegExp;
  readonly as: string;
}

export function normaliseReply(reply: string, rules: readonly Normalise[]): string {
  let text = reply;
  for (const { what, as } of rules) text = text.replaceAll(what, as);
  return text;
}

/** The connection's number differs. */
export const HELLO_FIELDS: readonly Normalise[] = [{ what: /(\$2\r\nid\r\n):\d+/g, as: '$1:ID' }];

/** Lines of CLIENT LIST and CLIENT INFO. */
export const CLIENT_LINES: readonly Normalise[] = [
  { what: /[$=]\d+\r\n(?=(txt:)?id=)/g, as: 'LENGTH ' },
  { what: /\b(id|addr|laddr)=\S+/g, as: '$1=' },
  // Where hstore has the field, but not Redis's buffers: see resp/client.ts.
  { what: /\b(fd|qbuf|qbuf-free|argv-mem|rbs|rbp|obl|oll|omem|tot-mem)=\S+/g, as: '$1=' },
  // The connection by which the tests watch the redis-server.
  { what: /id= [^\n]* cmd=NULL [^\n]*\n/g, as: '' },
  // Fields of Redis 7.2.
  { what: / lib-name=\S* lib-ver=\S*/g, as: '' },
];

/** A number as the whole reply: of a connection, of commands. */
export const ANY_NUMBER: readonly Normalise[] = [{ what: /^:\d+/g, as: ':N' }];

/** TTL of 100 seconds, asked for a while later on a slow disk. */
export const A_SECOND_LATER: readonly Normalise[] = [{ what: /^:9[5-9]\r\n/g, as: ':100\r\n' }];
