/** TLS as the settings ask for it, with the files that they name, read and checked. */
import type { Config } from '../config/config.ts';
import type { TlsOptions } from '../io/tls.ts';
import { readCredentials } from '../io/tls-credentials.ts';

/** Undefined: no TLS is asked for. Throws ConfigError. */
export function readTlsOptions({ tls }: Config): TlsOptions | undefined {
  if (tls === undefined) return undefined;
  const { protocols, authClients } = tls;
  return {
    credentials: readCredentials(tls),
    minVersion: protocols[0]!,
    maxVersion: protocols.at(-1)!,
    verify: authClients,
  };
}
