/**
 * HMAC-SHA256 (RFC 2104) by the runtime's own native code: what a message is sealed with so that only those who know the
 * key could have sealed it.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';

export const HMAC_BYTES = 32;

/** The seal of `parts`, one after the other, without marks between them: the caller's format must be unambiguous. */
export function hmacSha256(key: string, ...parts: readonly Uint8Array[]): Uint8Array {
  const hmac = createHmac('sha256', key);
  for (const part of parts) hmac.update(part);
  return hmac.digest();
}

/** Takes as long for a seal that is nearly right as for one that is not at all, so that it cannot be guessed bytewise. */
export function sealsEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}
