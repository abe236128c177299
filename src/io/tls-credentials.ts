/**
 * Certificate, key and certificate authority from their files, checked before anything listens: what is wrong with them
 * is told in one line, as other mistakes in the configuration are, and not by handshakes that fail.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { ConfigError } from '../lib/errors.ts';

export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
  /** Empty: the key is not encrypted. */
  readonly keyFilePass: string;
  /** Empty: nobody's certificate can be checked. */
  readonly caCertFile: string;
}

/** What the files say, checked. */
export interface TlsCredentials {
  readonly cert: string;
  readonly key: string;
  readonly passphrase?: string;
  readonly ca?: string;
}

/** Reads and checks what `--tls-cert-file` and its sisters name. Throws ConfigError: one line that says what is wrong. */
export function readCredentials(files: TlsFiles): TlsCredentials {
  const cert = readPem('tls-cert-file', files.certFile);
  const key = readPem('tls-key-file', files.keyFile);
  const ca = files.caCertFile === '' ? undefined : readPem('tls-ca-cert-file', files.caCertFile);
  const certificate = parseCertificates('tls-cert-file', files.certFile, cert)[0]!;
  if (ca !== undefined) parseCertificates('tls-ca-cert-file', files.caCertFile, ca);
  checkDates(files.certFile, certificate);
  checkKey(files, key);
  const passphrase = files.keyFilePass === '' ? {} : { passphrase: files.keyFilePass };
  const credentials = { cert, key, ...passphrase, ...(ca === undefined ? {} : { ca }) };
  try {
    createSecureContext(credentials);
  } catch (error) {
    const mismatch = codeOf(error) === 'ERR_OSSL_X509_KEY_VALUES_MISMATCH';
    const reason = mismatch ? 'the key is not that of the certificate' : messageOf(error);
    throw new ConfigError(
      `tls-cert-file ${files.certFile} and tls-key-file ${files.keyFile}: ${reason}`,
      error,
    );
  }
  return credentials;
}

function readPem(directive: string, path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch (error) {
    throw new ConfigError(`cannot read ${directive} ${path}: ${messageOf(error)}`, error);
  }
}

function parseCertificates(directive: string, path: string, pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) throw new ConfigError(`${directive} ${path} holds no certificate in PEM`);
  try {
    return blocks.map((block) => new X509Certificate(block));
  } catch (error) {
    throw new ConfigError(`${directive} ${path} holds a damaged certificate: ${messageOf(error)}`, error);
  }
}

function checkDates(path: string, { validFrom, validTo }: X509Certificate): void {
  const nowMs = Date.now();
  if (Date.parse(validTo) < nowMs) {
    throw new ConfigError(`the certificate in tls-cert-file ${path} has expired on ${validTo}`);
  }
  if (Date.parse(validFrom) > nowMs) {
    throw new ConfigError(`the certificate in tls-cert-file ${path} is not valid before ${validFrom}`);
  }
}

function checkKey({ keyFile, keyFilePass }: TlsFiles, key: string): void {
  try {
    createPrivateKey({ key, passphrase: keyFilePass });
  } catch (error) {
    const isEncrypted = key.includes('ENCRYPTED');
    const advice =
      keyFilePass === '' ? 'it is encrypted: give --tls-key-file-pass' : 'is tls-key-file-pass right?';
    const reason = isEncrypted ? advice : messageOf(error);
    throw new ConfigError(`tls-key-file ${keyFile} cannot be used: ${reason}`, error);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : `${error}`;
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? `${error.code}` : '';
}
