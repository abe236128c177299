/** Which addresses are this machine's. */
import { networkInterfaces } from 'node:os';

/** A name is looked up by nobody: it may mean anything. */
export function isHere(host: string): boolean {
  if (host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host)) return true;
  const own = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return own.some(({ address }) => address === host);
}
