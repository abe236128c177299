/**
 * Clients beside a job: how long SETs take, one after the other, on three servers of this machine while a word count keeps
 * all threads of all of them busy, against the same servers at rest just before. And the job itself: its rate, and that it
 * has cost no election.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, info, ProcessCluster, pause } from '../../test/e2e/processes.ts';
import { median } from './median.ts';
import { writeZipfText } from './zipf-text.ts';

const SERVERS = 3;
const REST_MS = 5000;
const KEYS = 100;
/** Of what a job may take. */
const WAIT_MS = 600_000;

export async function measureBesideJobs(options: {
  readonly megabytes: number;
  readonly rounds: number;
}): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'hstore-bench-'));
  const cluster = await ProcessCluster.start(SERVERS);
  try {
    const text = join(directory, 'text');
    writeZipfText(text, options.megabytes);
    const rates: number[] = [];
    for (let round = 0; round < options.rounds; round++)
      rates.push(await measure(cluster, text, options.megabytes));
    console.log(`a job across ${SERVERS} servers of this machine: ${median(rates).toFixed(0)} MB/s`);
  } finally {
    await cluster.end();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** The job's MB/s. */
async function measure(cluster: ProcessCluster, text: string, megabytes: number): Promise<number> {
  const { port } = cluster.leader();
  const atRest = await latencies(port, () => pause(REST_MS));
  const term = info(port).raft_term;
  const client = connect(port);
  let seconds = 0;
  const beside = await latencies(port, async () => {
    const startedMs = performance.now();
    const job = await client.call('mr.submit', 'wc', 'FILES', '1', text);
    const state = await client.call('mr.wait', String(job), String(WAIT_MS));
    if (String(state) !== 'done') throw new Error(`the job is ${String(state)}`);
    seconds = (performance.now() - startedMs) / 1000;
    await client.call('mr.purge', String(job));
  });
  client.disconnect();
  const elections = Number(info(port).raft_term) - Number(term);
  console.log(`SET at rest ${told(atRest)}; beside a job ${told(beside)}; elections: ${elections}`);
  return megabytes / seconds;
}

/** Of SETs one after the other, for as long as `meanwhile` takes; in milliseconds, sorted. */
async function latencies(port: number, meanwhile: () => Promise<void>): Promise<number[]> {
  const client = connect(port);
  const found: number[] = [];
  let isOver = false;
  const other = meanwhile().finally(() => {
    isOver = true;
  });
  for (let i = 0; !isOver; i++) {
    const startedMs = performance.now();
    await client.set(`beside:${i % KEYS}`, 'value');
    found.push(performance.now() - startedMs);
    await pause(1);
  }
  client.disconnect();
  await other;
  return found.sort((a, b) => a - b);
}

function told(sorted: readonly number[]): string {
  const at = (share: number) => sorted[Math.floor(sorted.length * share)]?.toFixed(1) ?? '-';
  return `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, most ${sorted.at(-1)?.toFixed(1)} ms (${sorted.length})`;
}
