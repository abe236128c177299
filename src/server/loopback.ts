/** Who is on this machine. */
import type { Client } from '../resp/client.ts';

export function isLoopback(host: string): boolean {
  return host === '::1' || host.startsWith('127.') || host.startsWith('::ffff:127.');
}

/** `address` is `127.0.0.1:6379`, or `[::1]:6379`. */
export function isOnThisMachine({ address }: Client): boolean {
  return isLoopback(address.replace(/^\[/, '').replace(/]?:\d+$/, ''));
}
