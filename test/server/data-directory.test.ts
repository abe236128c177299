import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Config } from '../../src/config/config.ts';
import { parseMembers } from '../../src/config/members.ts';
import { createEnv } from '../../src/io/env.ts';
import { crc32 } from '../../src/lib/checksum.ts';
import type { Store } from '../../src/lib/env.ts';
import { ConfigError, InUseError } from '../../src/lib/errors.ts';
import { DataDirectory } from '../../src/server/data-directory.ts';
import { clusterIdOf, nodeIdOf, type StoredIdentity } from '../../src/server/identity.ts';
import type { Member } from '../../src/server/member.ts';
import { temporaryDirectory } from '../io/temporary.ts';

const env = createEnv({ log: { level: 'warning' }, tcp: { keepAliveMs: 300_000 } });
const THREE = 'n1=127.0.0.1:7001,n2=127.0.0.1:7002,n3=127.0.0.1:7003';
const THREE_SHUFFLED = 'n3=127.0.0.1:7003@17003,n1=127.0.0.1:7001,n2=127.0.0.1:7002';

function config(flags: Record<string, string>): Config {
  return new Config({ flags: Object.entries(flags), environment: {} });
}

type Identity = Omit<StoredIdentity, 'members'> & { readonly members: readonly Member[] };

function identityOf({ identity, founders }: DataDirectory): Identity {
  return { ...identity, members: founders };
}

/** Opens and closes. */
async function start(flags: Record<string, string>): Promise<Identity> {
  const directory = await DataDirectory.open(env, config(flags));
  await directory.store.close();
  return identityOf(directory);
}

function put(store: Store): Promise<void> {
  const batch = store.batch();
  batch.put(Uint8Array.of(1), Uint8Array.of(2));
  return new Promise((resolve, reject) =>
    batch.write((error) => (error === null ? resolve() : reject(error))),
  );
}

describe('a new data directory', () => {
  test('gets the same cluster id and the same member ids on all founding members', async () => {
    const dir = temporaryDirectory();
    const identities: Identity[] = [];
    for (const id of ['n1', 'n2', 'n3']) {
      const cluster = id === 'n2' ? THREE_SHUFFLED : THREE;
      identities.push(await start({ id, cluster, dir: join(dir, id) }));
    }
    const ids = identities.map(({ nodeId }) => nodeId);
    expect(new Set(ids).size).toBe(3);
    for (const { clusterId, members } of identities) {
      expect(clusterId).toMatch(/^[0-9a-f]{40}$/);
      expect(clusterId).toBe(identities[0]!.clusterId);
      expect(members.map(({ name }) => name).sort()).toEqual(['n1', 'n2', 'n3']);
      expect(members.map(({ id }) => id).sort()).toEqual([...ids].sort());
    }
    expect(identities.map(({ name }) => name)).toEqual(['n1', 'n2', 'n3']);
  });

  test('of a server alone belongs to a cluster of its own', async () => {
    const dir = temporaryDirectory();
    const a = await start({ dir: join(dir, 'a') });
    const b = await start({ dir: join(dir, 'b') });
    expect(a.clusterId).not.toBe(b.clusterId);
    expect(a.members).toEqual([{ id: a.nodeId, name: 'n1', host: '127.0.0.1', port: 6379, peerPort: 16379 }]);
  });

  test('may be one in which a crash left an empty store', async () => {
    const dir = temporaryDirectory();
    await (await env.stores.open(join(dir, 'store'))).close();
    expect((await start({ dir })).name).toBe('n1');
  });

  test.each([
    [
      'a log',
      async (dir: string) => {
        await env.disk.makeDirectory(join(dir, 'wal'));
        writeFileSync(join(dir, 'wal', '1.log'), 'x');
      },
    ],
    [
      'a store with something in it',
      async (dir: string) => {
        const store = await env.stores.open(join(dir, 'store'));
        await put(store);
        await store.close();
      },
    ],
  ])('is not one that holds %s and no identity', async (_, prepare) => {
    const dir = temporaryDirectory();
    await prepare(dir);
    await expect(start({ dir })).rejects.toThrow(
      new ConfigError(
        `the data directory ${dir} holds data but its file 'identity' is missing: ` +
          'put that file back, or name another directory with --dir',
      ),
    );
    expect(existsSync(join(dir, 'identity'))).toBe(false);
  });
});

describe('a data directory that is opened again', () => {
  async function founded(): Promise<{ dir: string; file: string; identity: Identity; text: string }> {
    const dir = temporaryDirectory();
    const identity = await start({ id: 'n2', cluster: THREE, dir });
    const file = join(dir, 'identity');
    return { dir, file, identity, text: readFileSync(file, 'utf8') };
  }

  test('says who the server is and who its peers are', async () => {
    const { dir, identity } = await founded();
    const restarted = config({ dir });
    const directory = await DataDirectory.open(env, restarted);
    await directory.store.close();
    expect(identityOf(directory)).toEqual(identity);
    expect(restarted).toMatchObject({ id: 'n2', port: 7002, bind: ['127.0.0.1'] });
    expect(await start({ dir, id: 'n2', cluster: THREE_SHUFFLED })).toEqual({
      ...identity,
      members: expect.arrayContaining([...identity.members]),
    });
  });

  test('lets a server alone move to another port', async () => {
    const dir = temporaryDirectory();
    const first = await start({ dir });
    const second = await start({ dir, port: '7000' });
    expect(second).toMatchObject({
      clusterId: first.clusterId,
      nodeId: first.nodeId,
      members: [{ port: 7000 }],
    });
  });

  test.each<[string, Record<string, string>, string]>([
    [
      'other members',
      { id: 'n2', cluster: 'n1=127.0.0.1:7001,n2=127.0.0.1:7002' },
      'belongs to the cluster n1=127.0.0.1:7001@17001,n2=127.0.0.1:7002@17002,n3=127.0.0.1:7003@17003, ' +
        'not to the one that --cluster gives',
    ],
    ['another name', { id: 'n1' }, 'belongs to the server n2, this one is n1'],
    [
      'another name among the same members',
      { id: 'n3', cluster: THREE },
      'belongs to the server n2, this one is n3',
    ],
  ])('refuses %s, and changes nothing', async (_, flags, text) => {
    const { dir, file, text: before } = await founded();
    await expect(start({ dir, ...flags })).rejects.toThrow(ConfigError);
    await expect(start({ dir, ...flags })).rejects.toThrow(text);
    expect(readFileSync(file, 'utf8')).toBe(before);
    expect(await start({ dir })).toMatchObject({ name: 'n2' });
  });

  test('refuses to make a server alone the member of a cluster', async () => {
    const dir = temporaryDirectory();
    await start({ dir, id: 'n2' });
    await expect(start({ dir, id: 'n2', cluster: THREE })).rejects.toThrow('belongs to a server alone');
  });

  test('refuses every damage of the identity file, and leaves it as it is', async () => {
    const { dir, file, text } = await founded();
    // A sample of all places, for time's sake.
    const places = Array.from({ length: text.length }, (_, i) => i).filter((i) => i % 11 === 0);
    const damaged = [
      ...places.map((i) => text.slice(0, i)),
      ...places.map(
        (i) => text.slice(0, i) + String.fromCharCode(text.charCodeAt(i) ^ 1) + text.slice(i + 1),
      ),
      `${text}x`,
    ];
    for (const content of damaged) {
      writeFileSync(file, content);
      await expect(start({ dir })).rejects.toThrow(/is damaged|has format/);
      expect(readFileSync(file, 'utf8')).toBe(content);
    }
    writeFileSync(file, text);
    expect(await start({ dir })).toMatchObject({ name: 'n2' });
  });

  test('refuses an identity whose checksum is right and whose ids are not', async () => {
    const { dir, file, text } = await founded();
    const body = text.replace(/^checksum.*\n/m, '').replace(/^node-id .*/m, 'node-id 7');
    const checksum = crc32(Buffer.from(body)).toString(16).padStart(8, '0');
    writeFileSync(file, `${body}checksum ${checksum}\n`);
    await expect(start({ dir })).rejects.toThrow(`${file} is damaged`);
  });

  test('refuses the format of a newer version by name', async () => {
    const { dir, file, text } = await founded();
    writeFileSync(file, text.replace('format 2', 'format 3'));
    await expect(start({ dir })).rejects.toThrow('has format 3, and this hstore knows formats up to 2');
  });

  test('refuses the format of an older version by name', async () => {
    const { dir, file, text } = await founded();
    writeFileSync(file, text.replace('format 2', 'format 1'));
    await expect(start({ dir })).rejects.toThrow('has format 1, of an earlier hstore');
  });

  test('refuses a second process while the first has it', async () => {
    const { dir } = await founded();
    const { store } = await DataDirectory.open(env, config({ dir }));
    await expect(start({ dir })).rejects.toThrow(
      new InUseError(`the data directory ${dir} is in use by another process`),
    );
    await store.close();
    expect(await start({ dir })).toMatchObject({ name: 'n2' });
  });

  test('refuses to begin anew when its identity is gone and its log is not', async () => {
    const { dir, file } = await founded();
    await env.disk.makeDirectory(join(dir, 'wal'));
    writeFileSync(join(dir, 'wal', '1.log'), 'x');
    rmSync(file);
    await expect(start({ dir, id: 'n2', cluster: THREE })).rejects.toThrow("its file 'identity' is missing");
    expect(readdirSync(dir)).toEqual(['store', 'wal']);
  });
});

test('ids are what they were in every earlier version', () => {
  const clusterId = clusterIdOf(parseMembers(THREE));
  expect(clusterId).toBe(clusterIdOf(parseMembers(THREE_SHUFFLED)));
  expect([clusterId, nodeIdOf(clusterId, 'n1')]).toMatchInlineSnapshot(`
    [
      "aaa8a9b7890b65895956cabf946be218b5cbb0c4",
      120140393667618,
    ]
  `);
});
