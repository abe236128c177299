/** Hashes that name things: the same input has the same name everywhere. Built on the runtime's native code. */
import { createHash } from 'node:crypto';

/** SHA-1 of the text's UTF-8, 40 hexadecimal digits. For names, not for secrets. */
export function sha1Hex(text: string): string {
  return createHash('sha1').update(text, 'utf8').digest('hex');
}

/** SHA-256 of the text's UTF-8, 32 bytes. */
export function sha256(text: string): Uint8Array {
  return createHash('sha256').update(text, 'utf8').digest();
}

/** SHA-256 of the bytes, 64 hexadecimal digits. */
export function sha256Hex(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
