/** The shuffle over TLS: as without it for those of the cluster's authority, and not at all for others. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openBulkNetwork } from '../../src/io/bulk-network.ts';
import { readCredentials } from '../../src/io/tls-credentials.ts';
import type { BulkTls } from '../../src/lib/bulk-network.ts';
import { FetchFailed } from '../../src/mapreduce/fetch-failed.ts';
import { fetchPartition, type PartitionFetch } from '../../src/mapreduce/shuffle-fetch.ts';
import { ShuffleServer } from '../../src/mapreduce/shuffle-server.ts';
import { Authority } from '../io/certificates.ts';
import { MemoryFiles } from './memory-files.ts';
import { bigPartition, JOB, KEY, rowsOf, SELF, SILENT, writeOutput } from './shuffle-world.ts';

let authority: Authority;
let strangers: Authority;
beforeAll(() => {
  authority = new Authority();
  strangers = new Authority();
});
afterAll(() => {
  authority.remove();
  strangers.remove();
});

function tlsOf(issuer: Authority, name: string): BulkTls {
  const files = { ...issuer.issue(name), keyFilePass: '', caCertFile: authority.caCertFile };
  return { credentials: readCredentials(files), minVersion: 'TLSv1.2', maxVersion: 'TLSv1.3' };
}

async function serve(files: MemoryFiles): Promise<{ server: ShuffleServer; port: number }> {
  const bulk = openBulkNetwork(tlsOf(authority, 'server'), SILENT);
  const server = new ShuffleServer({ root: 'root', files, bulk, log: SILENT });
  const { port } = await server.listen({ host: '127.0.0.1', port: 0 });
  server.serve([[JOB, KEY]]);
  return { server, port };
}

function fetchBy(tls: BulkTls, port: number, files: MemoryFiles): PartitionFetch {
  return fetchPartition([{ node: 1, map: 1, attempt: 1 }], {
    ...{ files, bulk: openBulkNetwork(tls, SILENT), self: SELF, job: JOB, key: KEY, partition: 0 },
    ...{ addresses: new Map([[1, { host: '127.0.0.1', port }]]), directory: 'own', path: 'reduce' },
    onBytes: () => {},
  });
}

test('a fetch over TLS brings what one without it brings', async () => {
  const files = new MemoryFiles();
  const path = `root/${JOB}/map-1-1`;
  writeOutput(files, path, [bigPartition(50_000, 1)]);
  const { server, port } = await serve(files);
  const own = new MemoryFiles();
  const fetch = fetchBy(tlsOf(authority, 'client'), port, own);
  expect(rowsOf(own, await fetch.fetched)).toEqual(rowsOf(files, [path]));
  server.close();
});

test('a fetch by who has no certificate of the authority fails', async () => {
  const { server, port } = await serve(new MemoryFiles());
  const fetch = fetchBy(tlsOf(strangers, 'stranger'), port, new MemoryFiles());
  await expect(fetch.fetched).rejects.toBeInstanceOf(FetchFailed);
  server.close();
});
