/**
 * Long runs of the simulated world: `npm run sim -- --seeds 1000 --from 1`, or `--seed 42 --trace` to replay one.
 * `--plant all` plants the known bugs one after the other, and tells how many seeds each one needed to be found.
 * `--jobs`: all of that for the worlds in which servers run MapReduce jobs.
 */
import { parseArgs } from 'node:util';
import { type JobCounts, runJobsSeed } from '../test/mapreduce/cluster/sim-jobs.ts';
import { JOB_BUGS } from '../test/mapreduce/cluster/sim-planted-bugs.ts';
import { PLANTED_BUGS } from '../test/sim/planted-bugs.ts';
import type { PlantedBug } from '../test/sim/planting.ts';
import { runSeed, type SwarmCounts } from '../test/sim/swarm.ts';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '100' },
    from: { type: 'string', default: '1' },
    seed: { type: 'string' },
    plant: { type: 'string' },
    trace: { type: 'boolean', default: false },
    jobs: { type: 'boolean', default: false },
  },
});

const from = Number(values.seed ?? values.from);
const count = values.seed === undefined ? Number(values.seeds) : 1;
const runOne = values.jobs
  ? (seed: number, trace?: (line: string) => void) => runJobsSeed(seed, { trace })
  : runSeed;
if (values.plant !== undefined) {
  const all = values.jobs ? JOB_BUGS : PLANTED_BUGS;
  const bugs = all.filter(({ name }) => values.plant === 'all' || name.includes(values.plant!));
  for (const bug of bugs) await findPlanted(bug);
  process.exit();
}

async function findPlanted(bug: PlantedBug): Promise<void> {
  const takeOut = bug.plant();
  for (let seed = from; seed < from + count; seed++) {
    const { failure } = await runOne(seed);
    if (failure === undefined) continue;
    console.log(`${bug.name}: found by seed ${seed}: ${failure.split('\n')[0]}`);
    takeOut();
    return;
  }
  takeOut();
  console.log(`${bug.name}: NOT FOUND in ${count} seeds`);
  process.exitCode = 1;
}

const totals = new Map<string, number>();
let failed = 0;
const startedMs = Date.now();
for (let seed = from; seed < from + count; seed++) {
  const { failure, counts } = await runOne(seed, values.trace ? (line) => console.log(line) : undefined);
  for (const [name, added] of Object.entries(counts)) totals.set(name, (totals.get(name) ?? 0) + added);
  if (failure !== undefined) {
    failed++;
    const replay = `npm run sim -- ${values.jobs ? '--jobs ' : ''}--seed ${seed} --trace`;
    console.log(`seed ${seed} failed: ${failure}\nreplay: ${replay}\n`);
  }
}
const seconds = ((Date.now() - startedMs) / 1000).toFixed(1);
const of = (name: keyof SwarmCounts | keyof JobCounts) => totals.get(name) ?? 0;
const summary = values.jobs ? jobsSummary() : storeSummary();
console.log(`${count} seeds in ${seconds} s: ${of('events')} events, ${summary}, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

function storeSummary(): string {
  return (
    `${of('operations')} operations ` +
    `(${of('unknown')} of unknown outcome), ${of('crashes')} crashes, ${of('elections')} elections, ` +
    `${of('installs')} snapshots installed (${of('transfers')} transfers, ${of('resumed')} of them gone on with; ` +
    `${of('finishedInstalls')} installs finished after a crash), ${of('compared')} states compared ` +
    `(${of('incomparable')} with nothing to compare), ${of('configurations')} configurations, ` +
    `${of('takeovers')} takeovers, ${of('rotNoticed')} rotten disks (${of('rotUnnoticed')} unnoticed), ` +
    `${of('viewsCompared')} views compared`
  );
}

function jobsSummary(): string {
  return (
    `${of('crashes')} crashes, ${of('jobs')} jobs (${of('done')} done, ${of('cancelled')} cancelled, ` +
    `${of('failed')} failed), ${of('attempts')} attempts, ${of('misfortunes')} of them hit, ` +
    `${of('reigns')} coordinators, outputs lost ${of('mapsLost')} times, ${of('epochs')} views lost, ` +
    `${of('moves')} moves of words`
  );
}
