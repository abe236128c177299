/**
 * HMAC-SHA256 (RFC 2104) by the runtime's own native code: what a message is sealed with so that only those who know the
 * key could have sealed it.
 */
import { createHmac, timingSafeEqual as equalInConstantTime } from 'node:crypto';

export const HMAC_BYTES = 32;

/** The seal of `parts`, one after the other, without marks between them: the caller's format must be unambiguous. */
export function hmacSha256(key: string | Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
  const hmac = createHmac('sha256', key);
  for (const part of parts) hmac.update(part);
  return hmac.digest();
}

/**
 * Whether the two are equal. For those of equal length it takes as long when they are nearly so as when they are not at
 * all, so that a seal or a password cannot be guessed byte by byte.
 */
export function timingSafeEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && equalInConstantTime(a, b);
}
