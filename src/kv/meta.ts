/**
 * The meta record: all of the replicated state but the keys and the clients' sessions; what a checkpoint writes beside
 * them, in the same batch.
 *
 *   meta      format u8 | appliedIndex u64 | appliedTerm u64 | logTimeMs u64 | opCount u64 | nextSpace u64 |
 *             activeExpire u8 | configuration | client sessions | databases u8 | database ... | server sessions |
 *             crc32 u32 of all before
 *
 *   configuration     index u64 | length u32 | bytes              the newest of the log, as it stands there
 *   client sessions   sessions u64 | replies u64 | hash 2 * u32
 *   database          space u64 | keys u64 | of these with a time to live u64 | data hash 2 * u32
 */
import { ByteReader, ByteWriter, MalformedError } from '../lib/bytes.ts';
import { crc32 } from '../lib/checksum.ts';
import { ConfigError, CorruptionError } from '../lib/errors.ts';
import { ALL_DATABASES } from './batch.ts';
import type { SessionTotals } from './session-records.ts';
import { Sessions } from './sessions.ts';

const META_FORMAT = 4;

export interface DatabaseMeta {
  /** The number of the space that its keys are in. */
  readonly space: number;
  readonly size: number;
  /** Keys with a time to live. */
  readonly expiring: number;
  readonly hashA: number;
  readonly hashB: number;
}

/** The newest configuration of the group that the log has; index 0 and no bytes when it has none. */
export interface KeptConfiguration {
  readonly index: number;
  /** What it means is Raft's business. */
  readonly data: Uint8Array;
}

export interface Meta {
  readonly appliedIndex: number;
  readonly appliedTerm: number;
  readonly logTimeMs: number;
  readonly opCount: number;
  /** All spaces that ever were have a lower number. */
  readonly nextSpace: number;
  /** Whether expired keys are removed in the background. */
  readonly activeExpire: boolean;
  readonly configuration: KeptConfiguration;
  readonly clientSessions: SessionTotals;
  readonly databases: readonly DatabaseMeta[];
}

export function encodeMeta(meta: Meta, sessions: Sessions): Uint8Array {
  const writer = new ByteWriter();
  writer.u8(META_FORMAT);
  writer.u64(meta.appliedIndex);
  writer.u64(meta.appliedTerm);
  writer.u64(meta.logTimeMs);
  writer.u64(meta.opCount);
  writer.u64(meta.nextSpace);
  writer.u8(meta.activeExpire ? 1 : 0);
  writer.u64(meta.configuration.index);
  writer.bytes(meta.configuration.data);
  writer.u64(meta.clientSessions.sessions);
  writer.u64(meta.clientSessions.replies);
  writer.u32(meta.clientSessions.hashA >>> 0);
  writer.u32(meta.clientSessions.hashB >>> 0);
  writer.u8(meta.databases.length);
  for (const database of meta.databases) {
    writer.u64(database.space);
    writer.u64(database.size);
    writer.u64(database.expiring);
    writer.u32(database.hashA >>> 0);
    writer.u32(database.hashB >>> 0);
  }
  sessions.encode(writer);
  writer.u32(crc32(writer.view()));
  return writer.copy();
}

/** Throws ConfigError: the store is of another version. */
export function refuseFormat(format: number | undefined): never {
  throw new ConfigError(
    `the store was written in format ${format}, this server knows format ${META_FORMAT} only: use the version of hstore that wrote it`,
  );
}

/**
 * `sessions`: takes those of servers; what is decoded without it passes over them. Throws CorruptionError, and
 * ConfigError for a format of another version.
 */
export function decodeMeta(bytes: Uint8Array, sessions = new Sessions()): Meta {
  if (bytes.length < 5) throw new CorruptionError(`the store holds a meta record of ${bytes.length} bytes`);
  if (bytes[0] !== META_FORMAT) refuseFormat(bytes[0]);
  try {
    const reader = new ByteReader(bytes, 1, bytes.length - 4);
    const checksum = new ByteReader(bytes, bytes.length - 4).u32();
    if (crc32(bytes.subarray(0, bytes.length - 4)) !== checksum) throw new MalformedError('wrong checksum');
    const [appliedIndex, appliedTerm, logTimeMs] = [reader.u64(), reader.u64(), reader.u64()];
    const [opCount, nextSpace, activeExpire] = [reader.u64(), reader.u64(), reader.u8() === 1];
    const configuration = { index: reader.u64(), data: Uint8Array.from(reader.bytes()) };
    const clientSessions = {
      ...{ sessions: reader.u64(), replies: reader.u64() },
      ...{ hashA: reader.u32() | 0, hashB: reader.u32() | 0 },
    };
    const count = reader.u8();
    if (count !== ALL_DATABASES) throw new MalformedError(`${count} databases`);
    const databases = Array.from({ length: count }, () => decodeDatabase(reader));
    sessions.decode(reader);
    if (reader.remaining !== 0) throw new MalformedError(`${reader.remaining} bytes too many`);
    const counted = { appliedIndex, appliedTerm, logTimeMs, opCount, nextSpace };
    return { ...counted, activeExpire, configuration, clientSessions, databases };
  } catch (error) {
    if (error instanceof MalformedError) {
      throw new CorruptionError('the store holds a malformed meta record', error);
    }
    throw error;
  }
}

function decodeDatabase(reader: ByteReader): DatabaseMeta {
  return {
    space: reader.u64(),
    size: reader.u64(),
    expiring: reader.u64(),
    hashA: reader.u32() | 0,
    hashB: reader.u32() | 0,
  };
}
