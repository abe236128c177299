/**
 * What may be shown of a command to others than who sent it: everything but passwords. For MONITOR, and for whatever
 * else quotes commands.
 *
 * Redis 7.0 hides the arguments once it has got so far as to use them; here they are hidden also where the command is
 * refused before that (`AUTH a b c`, `HELLO 4 AUTH user password`).
 */
import { fromLatin1, latin1 } from '../lib/bytes.ts';

const REDACTED = fromLatin1('(redacted)');

/** `name` as in the command table. The same array when there is nothing to hide. */
export function redacted(name: string, argv: readonly Uint8Array[]): readonly Uint8Array[] {
  if (name === 'auth') return argv.map((arg, i) => (i === 0 ? arg : REDACTED));
  if (name === 'hello') return redactedHello(argv);
  if (name === 'config|set') return redactedPairs(argv);
  return argv;
}

/** HELLO version [AUTH user password] ... */
function redactedHello(argv: readonly Uint8Array[]): readonly Uint8Array[] {
  const at = argv.findIndex((arg, i) => i > 1 && latin1(arg).toLowerCase() === 'auth');
  if (at < 0) return argv;
  return argv.map((arg, i) => (i === at + 1 || i === at + 2 ? REDACTED : arg));
}

/** CONFIG SET name value ... */
function redactedPairs(argv: readonly Uint8Array[]): readonly Uint8Array[] {
  const isSecret = (i: number) =>
    i > 2 && i % 2 === 1 && ['requirepass', 'masterauth'].includes(latin1(argv[i - 1]!).toLowerCase());
  return argv.map((arg, i) => (isSecret(i) ? REDACTED : arg));
}
