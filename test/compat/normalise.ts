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
export const HELLO_FIELDS: readonly Normalise[] = [
  { what: /\$2\r\nid\r\n:\d+/g, as: '$2\r\nid\r\n:ID' },
];

export const CLIENT_LINE: readonly Normalise[] = [
  { what: /[$=]\d+\r\n(?=(txt:)?id=)/g, as: 'LENGTH ' },
  { what: /\bid=\d+/g, as: 'id=ID' },
];
export const CLIENT_LINES: readonly Normalise[] = CLIENT_LINE;
