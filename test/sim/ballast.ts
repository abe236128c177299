/**
 * Large values that nobody reads: they make a snapshot many chunks, so that its transfer takes long and is cut in the
 * middle.
 */
import { call } from './calls.ts';
import type { Cluster } from './cluster.ts';
import type { SimRandom } from './random.ts';

const VALUE_BYTES = 120 << 10;
const EVERY_MS = 1500;

export function writeBallast(cluster: Cluster, random: SimRandom, keys: number, untilMs: number): void {
  let count = 0;
  const next = (): void => {
    if (cluster.scheduler.nowMs >= untilMs) return;
    const key = `ballast${count % keys}`;
    const value = `${count}`.padEnd(VALUE_BYTES, 'b');
    const server = random.pick(cluster.servers);
    const pauseMs = count++ < keys ? 10 : random.exponential(EVERY_MS);
    call(cluster, server, { kind: 'command', argv: ['SET', key, value] }, () => {
      cluster.scheduler.after(pauseMs, undefined, next);
    });
  };
  if (keys > 0) next();
}
