/**
 * Ports for servers that tests start. Not those that the system hands out (`listen(0)`): between asking for one and using
 * it, any connection of any other test may get it. Each worker has a range of its own, below the system's, and looks
 * before it takes; 10000 above each lies the port on which servers would talk to each other.
 */
import { createServer } from 'node:net';

const FIRST_PORT = 10_000;
const PORTS_PER_WORKER = 1200;
const WORKERS = 8;
const PEER_PORT_OFFSET = 10_000;

const worker = Number(process.env.VITEST_POOL_ID ?? 1) % WORKERS;
// Each file begins elsewhere: what the one before used may still be closing.
let next = (process.pid * 37 + Date.now()) % PORTS_PER_WORKER;

/** `count` ports in a row that nobody listens on. */
export async function takePorts(count: number): Promise<number[]> {
  for (let tries = 0; tries < PORTS_PER_WORKER; tries++) {
    if (next + count > PORTS_PER_WORKER) next = 0;
    const first = FIRST_PORT + worker * PORTS_PER_WORKER + next;
    next += count;
    const ports = Array.from({ length: count }, (_, i) => first + i);
    const free = await Promise.all(ports.flatMap((port) => [port, port + PEER_PORT_OFFSET]).map(isFree));
    if (free.every(Boolean)) return ports;
  }
  throw new Error('no port is free');
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1' }, () => server.close(() => resolve(true)));
  });
}
