/**
 * Load for etcd over its own protocol (gRPC on HTTP/2), for comparison with redis-benchmark's SET against hstore: as many
 * puts in flight as `clients`, over few connections, which is the shape in which etcd is fastest.
 *
 * The two messages are small enough to be written by hand: PutRequest { bytes key = 1; bytes value = 2 }, and a gRPC
 * frame is a zero byte, a length (u32 BE) and the message.
 */
import { type ClientHttp2Session, connect } from 'node:http2';

export interface Load {
  readonly url: string;
  readonly connections: number;
  readonly clients: number;
  readonly requests: number;
  readonly valueBytes: number;
  readonly keys: number;
}

/** Puts per second. */
export async function putsPerSecond(load: Load): Promise<number> {
  const sessions = Array.from({ length: load.connections }, () => connect(load.url));
  const value = Buffer.alloc(load.valueBytes, 'x');
  let left = load.requests;
  const startedMs = performance.now();
  const client = async (i: number) => {
    const session = sessions[i % sessions.length]!;
    while (left-- > 0) await put(session, `key:${Math.floor(Math.random() * load.keys)}`, value);
  };
  await Promise.all(Array.from({ length: load.clients }, (_, i) => client(i)));
  const seconds = (performance.now() - startedMs) / 1000;
  for (const session of sessions) session.close();
  return load.requests / seconds;
}

function put(session: ClientHttp2Session, key: string, value: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    const stream = session.request({
      ':method': 'POST',
      ':path': '/etcdserverpb.KV/Put',
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    stream.on('trailers', (trailers) => {
      if (trailers['grpc-status'] !== '0')
        reject(new Error(`etcd refused: ${String(trailers['grpc-message'])}`));
    });
    stream.on('error', reject);
    stream.on('end', resolve);
    stream.resume();
    stream.end(frame(Buffer.from(key), value));
  });
}

function frame(key: Buffer, value: Buffer): Buffer {
  const message = Buffer.concat([field(1, key), field(2, value)]);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

function field(number: number, bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from([(number << 3) | 2]), varint(bytes.length), bytes]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 0x80) {
    bytes.push((rest & 0x7f) | 0x80);
    rest >>>= 7;
  }
  bytes.push(rest);
  return Buffer.from(bytes);
}
