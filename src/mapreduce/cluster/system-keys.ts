/** The system database with promises: what the coordinator and the workers read and write there. */
import { Buffer } from 'node:buffer';
import { assert } from '../../lib/assert.ts';
import { HstoreError } from '../../lib/errors.ts';
import { ErrorReply, NullArrayReply, type Reply } from '../../resp/reply.ts';
import type { ServiceCommand, ServiceHost } from '../../server/service.ts';

/**
 * The store has refused, or has not answered in time: `outcome` says whether it may be done all the same. `code` and the
 * message are those that a client would get.
 */
export class StoreError extends HstoreError {
  override readonly name = 'StoreError';
  constructor({ code, message }: ErrorReply) {
    super(code, code === 'TIMEOUT' ? 'unknown' : 'not-done', message);
  }
}

export function command(...argv: readonly (string | number | Uint8Array)[]): ServiceCommand {
  return { argv: argv.map((arg) => (arg instanceof Uint8Array ? arg : Buffer.from(String(arg)))) };
}

/** The replies of all of them; undefined: a watched version does not hold. Throws StoreError. */
export function transact(
  host: ServiceHost,
  commands: readonly ServiceCommand[],
  watched: readonly { key: Uint8Array; version: number }[] = [],
): Promise<readonly Reply[] | undefined> {
  return new Promise((resolve, reject) => {
    host.transact({ watched, commands }, (reply) => {
      if (reply instanceof NullArrayReply) return resolve(undefined);
      if (reply instanceof ErrorReply) return reject(new StoreError(reply));
      assert(Array.isArray(reply), 'a transaction has replies');
      const wrong = reply.find((each) => each instanceof ErrorReply);
      assert(wrong === undefined, 'what a service writes is well-formed', (wrong as ErrorReply)?.message);
      resolve(reply);
    });
  });
}

/** A linearizable read. Throws StoreError. */
export function read(host: ServiceHost, ...argv: readonly (string | number | Uint8Array)[]): Promise<Reply> {
  return readFrom(host, undefined, ...argv);
}

/** As `read`, of a database of the clients. */
export function readFrom(
  host: ServiceHost,
  db: number | undefined,
  ...argv: readonly (string | number | Uint8Array)[]
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const asked = command(...argv);
    host.read(db === undefined ? asked : { ...asked, db }, (reply) => {
      if (reply instanceof ErrorReply) reject(new StoreError(reply));
      else resolve(reply);
    });
  });
}

/** 0: there is no such key. Throws StoreError. */
export function versionOf(host: ServiceHost, key: Uint8Array): Promise<number> {
  return new Promise((resolve, reject) => {
    host.versionOf(key, (reply) => {
      if (reply instanceof ErrorReply) return reject(new StoreError(reply));
      assert(typeof reply === 'number', 'a version is a number', reply);
      resolve(reply);
    });
  });
}
