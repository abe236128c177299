/**
 * What must hold for as long as a cluster lives, shown on real processes: `npm run endurance -- WHAT [options]`.
 *
 *   overwrite   1000 keys are written again and again (--writes 10000000): the data directories stay small
 *   away        a follower is away while --megabytes 2048 are written, and comes back by a snapshot
 *   rolling     all servers are restarted one after the other under load (--rounds 2): no failed request, no gap over 500 ms
 *
 * Needs redis-cli and redis-benchmark in the PATH. Flags behind `--` go to the servers.
 */
import { parseArgs } from 'node:util';
import { away } from './endurance/away.ts';
import { overwrite } from './endurance/overwrite.ts';
import { rolling } from './endurance/rolling.ts';
import { MB } from './endurance/servers.ts';

const { values, positionals } = parseArgs({
  options: {
    writes: { type: 'string', default: '10000000' },
    megabytes: { type: 'string', default: '2048' },
    rounds: { type: 'string', default: '2' },
    port: { type: 'string', default: '7801' },
  },
  allowPositionals: true,
});
const [what, ...flags] = positionals;
const port = Number(values.port);

switch (what) {
  case 'overwrite':
    await overwrite(Number(values.writes), port);
    break;
  case 'away':
    await away(Number(values.megabytes) * MB, port, flags);
    break;
  case 'rolling':
    await rolling(Number(values.rounds), port, flags);
    break;
  default:
    console.error('usage: npm run endurance -- overwrite|away|rolling [options]');
    process.exitCode = 2;
}
