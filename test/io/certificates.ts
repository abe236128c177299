/**
 * Certificates for tests, made by the openssl program: an authority, what it has signed, and strangers. Where the program
 * is missing the tests that need it fail, and say so.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Certificate {
  readonly certFile: string;
  readonly keyFile: string;
}

export const KEY_PASSWORD = 'the password of the key';

/** A directory of certificates; `remove` when they are not needed any more. */
export class Authority {
  readonly directory = mkdtempSync(join(tmpdir(), 'hstore-tls-'));
  readonly caCertFile = this.#path('ca.crt');
  readonly #caKeyFile = this.#path('ca.key');

  constructor() {
    const subject = ['-subj', '/CN=test authority', '-days', '2'];
    this.#openssl(
      'req',
      '-x509',
      ...NEW_KEY,
      ...subject,
      '-keyout',
      this.#caKeyFile,
      '-out',
      this.caCertFile,
    );
  }

  /** Signed by this authority. `days` below 0: it has expired. */
  issue(name: string, { days = 2 }: { days?: number } = {}): Certificate {
    const [keyFile, certFile, request] = ['key', 'crt', 'csr'].map((end) => this.#path(`${name}.${end}`));
    this.#openssl('req', ...NEW_KEY, '-subj', `/CN=${name}`, '-keyout', keyFile!, '-out', request!);
    const names = this.#path(`${name}.ext`);
    writeFileSync(names, 'subjectAltName = IP:127.0.0.1, DNS:localhost\n');
    const signed = ['-CA', this.caCertFile, '-CAkey', this.#caKeyFile, '-CAcreateserial', '-extfile', names];
    this.#openssl('x509', '-req', '-in', request!, ...signed, '-days', `${days}`, '-out', certFile!);
    return { certFile: certFile!, keyFile: keyFile! };
  }

  /** The same key, encrypted with KEY_PASSWORD. */
  encrypt({ certFile, keyFile }: Certificate): Certificate {
    const encrypted = `${keyFile}.enc`;
    const password = `pass:${KEY_PASSWORD}`;
    this.#openssl('pkcs8', '-topk8', '-in', keyFile, '-passout', password, '-out', encrypted);
    return { certFile, keyFile: encrypted };
  }

  /** A file with this text. */
  write(name: string, text: string): string {
    writeFileSync(this.#path(name), text);
    return this.#path(name);
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }

  #path(name: string): string {
    return join(this.directory, name);
  }

  #openssl(...args: string[]): void {
    const done = spawnSync('openssl', args, { cwd: this.directory });
    if (done.error !== undefined) throw new Error('the openssl program is needed', { cause: done.error });
    if (done.status !== 0) throw new Error(`openssl ${args.join(' ')}: ${done.stderr}`);
  }
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc'];
