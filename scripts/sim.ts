/**
 * Long runs of the simulated world: `npm run sim -- --seeds 1000 --from 1`, or `--seed 42 --trace` to replay one.
 * `--plant all` plants the known bugs one after the other, and tells how many seeds each one needed to be found.
 */
import { parseArgs } from 'node:util';
import { PLANTED_BUGS } from '../test/sim/planted-bugs.ts';
import type { PlantedBug } from '../test/sim/planting.ts';
import { runSeed } from '../test/sim/swarm.ts';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '100' },
    from: { type: 'string', default: '1' },
    seed: { type: 'string' },
    plant: { type: 'string' },
    trace: { type: 'boolean', default: false },
  },
});

const from = Number(values.seed ?? values.from);
const count = values.seed === undefined ? Number(values.seeds) : 1;
if (values.plant !== undefined) {
  const bugs = PLANTED_BUGS.filter(({ name }) => values.plant === 'all' || name.includes(values.plant!));
  for (const bug of bugs) await findPlanted(bug);
  process.exit();
}

async function findPlanted(bug: PlantedBug): Promise<void> {
  const takeOut = bug.plant();
  for (let seed = from; seed < from + count; seed++) {
    const { failure } = await runSeed(seed);
    if (failure === undefined) continue;
    console.log(`${bug.name}: found by seed ${seed}: ${failure.split('\n')[0]}`);
    takeOut();
    return;
  }
  takeOut();
  console.log(`${bug.name}: NOT FOUND in ${count} seeds`);
  process.exitCode = 1;
}

const totals = { failed: 0, operations: 0, unknown: 0, crashes: 0, elections: 0, events: 0 };
const startedMs = Date.now();
for (let seed = from; seed < from + count; seed++) {
  const result = await runSeed(seed, values.trace ? (line) => console.log(line) : undefined);
  totals.operations += result.operations;
  totals.unknown += result.unknown;
  totals.crashes += result.crashes;
  totals.elections += result.elections;
  totals.events += result.events;
  if (result.failure !== undefined) {
    totals.failed++;
    console.log(`seed ${seed} failed: ${result.failure}\nreplay: npm run sim -- --seed ${seed} --trace\n`);
  }
}
const seconds = ((Date.now() - startedMs) / 1000).toFixed(1);
console.log(
  `${count} seeds in ${seconds} s: ${totals.events} events, ${totals.operations} operations ` +
    `(${totals.unknown} of unknown outcome), ${totals.crashes} crashes, ${totals.elections} elections, ` +
    `${totals.failed} failed`,
);
process.exitCode = totals.failed === 0 ? 0 : 1;
