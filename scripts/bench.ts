/**
 * Performance: `npm run bench`, one section alone with `--only SECTION`.
 *
 *   peers     hstore against redis-server and etcd in the same run, as ratios (--rounds N, --requests N)
 *   restart   how long until a server with a million keys serves again (--keys N, --restarts N)
 *   mapreduce word count against tr | sort | uniq (--counts N, 1 GB too with --large)
 *   jobs      SETs beside a job that keeps all threads of a cluster busy (--megabytes N, --counts N)
 *
 * Needs redis-server, redis-benchmark and redis-cli, and for one comparison etcd and etcdctl, in the PATH.
 */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { measureBesideJobs } from './bench/jobs.ts';
import { measureWordCount } from './bench/mapreduce.ts';
import { comparePeers } from './bench/peer-ratios.ts';
import { measureRestarts } from './bench/restart.ts';

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    requests: { type: 'string', default: '60000' },
    keys: { type: 'string', default: '1000000' },
    restarts: { type: 'string', default: '3' },
    counts: { type: 'string', default: '3' },
    megabytes: { type: 'string', default: '500' },
    large: { type: 'boolean', default: false },
  },
});
const SECTIONS: Readonly<Record<string, (program: string) => Promise<void>>> = {
  peers: (program) =>
    comparePeers(program, { rounds: Number(values.rounds), requests: Number(values.requests) }),
  restart: () => measureRestarts({ keys: Number(values.keys), rounds: Number(values.restarts) }),
  mapreduce: (program) => measureWordCount(program, { rounds: Number(values.counts), large: values.large }),
  jobs: () => measureBesideJobs({ megabytes: Number(values.megabytes), rounds: Number(values.counts) }),
};

const program = resolve('dist/hstore.js');
if (!existsSync(program)) throw new Error('dist/hstore.js is missing: npm run build');
const chosen = values.only === undefined ? Object.values(SECTIONS) : [SECTIONS[values.only]];
for (const section of chosen) {
  if (section === undefined) throw new Error(`--only is one of ${Object.keys(SECTIONS).join(', ')}`);
  await section(program);
}
