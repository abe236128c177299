/**
 * LATENCY: what was slow (latency-monitor.ts), and how long commands take (histogram.ts). After Redis 7.0's latency.c.
 */
import { latin1 } from '../lib/bytes.ts';
import { ErrorReply, MapReply, type Reply, VerbatimReply } from '../resp/reply.ts';
import type { Call, ServerCommand } from './context.ts';
import type { LatencyEvent, LatencySample } from './latency-monitor.ts';
import { OBSERVATION_ROWS } from './observation-rows.ts';
import { bulk, helpLines, quoted, wrongArity } from './replies.ts';
import type { CallCounter } from './stats.ts';

type Pair = readonly [Reply, Reply];

function latest({ server }: Call): Reply {
  return [...server.stats.latency.events].map(([name, { samples, maxMs }]) => {
    const { atSeconds, latencyMs } = samples.at(-1)!;
    return [bulk(name), atSeconds, latencyMs, maxMs];
  });
}

function history({ argv, server }: Call): Reply {
  const event = server.stats.latency.events.get(latin1(argv[2]!));
  return (event?.samples ?? []).map(({ atSeconds, latencyMs }) => [atSeconds, latencyMs]);
}

/** Answers with how many events there were to forget. */
function reset({ argv, server }: Call): Reply {
  const { latency } = server.stats;
  const names = argv.length > 2 ? argv.slice(2).map(latin1) : [...latency.events.keys()];
  return names.filter((name) => latency.reset(name)).length;
}

// HISTOGRAM

function histogram({ argv, server }: Call): Reply {
  const counters = [...server.stats.commands.values()];
  const named = argv.slice(2).map((arg) => latin1(arg).toLowerCase());
  const chosen =
    named.length === 0
      ? counters
      : named.flatMap((name) => counters.filter((each) => each.name === name || containerOf(each) === name));
  // Asked for twice it is shown twice, as in Redis.
  return new MapReply(chosen.flatMap(describeHistogram));
}

function containerOf({ name }: CallCounter): string {
  return name.split('|', 1)[0]!;
}

function describeHistogram(counter: CallCounter): Pair[] {
  const found = counter.histogram;
  if (found === undefined || found.count === 0) return [];
  const buckets = found.cumulative().map(({ usec, count }): Pair => [usec, count]);
  const fields = new MapReply([
    [bulk('calls'), found.count],
    [bulk('histogram_usec'), new MapReply(buckets)],
  ]);
  return [[bulk(counter.name), fields]];
}

// GRAPH

const GRAPH_COLUMNS = 80;
/** From low to high within a row. */
const GRAPH_LEVELS = '_o#';
const GRAPH_ROWS = 4;

function graph({ argv, server }: Call): Reply {
  const name = latin1(argv[2]!);
  const event = server.stats.latency.events.get(name);
  if (event === undefined) {
    return new ErrorReply('ERR', `No samples available for event '${quoted(argv[2]!)}'`);
  }
  const nowSeconds = Math.floor(server.clock.wallMs() / 1000);
  return new VerbatimReply('txt', drawGraph(name, event, nowSeconds));
}

/** A column a sample, the oldest first: a spark line, and under it how long ago that was, top to bottom. */
function drawGraph(name: string, { samples, maxMs }: LatencyEvent, nowSeconds: number): string {
  const shown = samples.slice(-GRAPH_COLUMNS);
  const latencies = shown.map(({ latencyMs }) => latencyMs);
  const [low, high] = [Math.min(...latencies), Math.max(...latencies)];
  const steps = GRAPH_ROWS * GRAPH_LEVELS.length;
  const heights = latencies.map((each) => Math.floor(((each - low) / Math.max(1, high - low)) * (steps - 1)));
  const ages = shown.map((sample) => ageText(sample, nowSeconds));
  const rows: string[] = [];
  for (let row = GRAPH_ROWS - 1; row >= 0; row--) {
    rows.push(heights.map((height) => cell(height - row * GRAPH_LEVELS.length)).join(''));
  }
  rows.push('');
  for (let row = 0; row < Math.max(...ages.map((age) => age.length)); row++) {
    rows.push(ages.map((age) => age[row] ?? ' ').join(''));
  }
  const title = `${name} - high ${high} ms, low ${low} ms (all time high ${maxMs} ms)`;
  return `${[title, '-'.repeat(GRAPH_COLUMNS), ...rows].join('\n')}\n`;
}

function cell(level: number): string {
  if (level < 0) return ' ';
  return level < GRAPH_LEVELS.length ? GRAPH_LEVELS[level]! : '|';
}

function ageText({ atSeconds }: LatencySample, nowSeconds: number): string {
  const seconds = Math.max(0, nowSeconds - atSeconds);
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
  return seconds < 86_400 ? `${Math.floor(seconds / 3600)}h` : `${Math.floor(seconds / 86_400)}d`;
}

// DOCTOR

const ADVICE: Readonly<Record<string, string>> = {
  'event-loop':
    'The process stood still. Look for commands that work on very large values or on all keys, for other programs ' +
    'that take the processor, and for swapping.',
  command:
    'SLOWLOG GET names the commands. For writes the time holds the wait for the disks of a majority and for the ' +
    'network between the servers: compare raft_leader_address and the disks of the servers.',
  'fast-command':
    'These do little work themselves, so what they wait for is slow: the disks of a majority, the network between ' +
    'the servers, or an event loop that stands still.',
};

function doctor({ server }: Call): Reply {
  const { latency } = server.stats;
  return new VerbatimReply('txt', diagnosis(latency.thresholdMs, latency.events));
}

function diagnosis(thresholdMs: number, events: ReadonlyMap<string, LatencyEvent>): string {
  if (events.size === 0) {
    return thresholdMs === 0
      ? 'Latency is not monitored. CONFIG SET latency-monitor-threshold MS turns it on.\n'
      : `Nothing has taken ${thresholdMs} ms or longer since the last reset.\n`;
  }
  const lines = [...events].flatMap(([name, { samples, maxMs }], i) => {
    const latencies = samples.map(({ latencyMs }) => latencyMs);
    const mean = latencies.reduce((sum, each) => sum + each, 0) / latencies.length;
    const counted = `in ${samples.length} different seconds, mean ${Math.round(mean)} ms, worst ${maxMs} ms.`;
    return [`${i + 1}. ${name}: ${counted}`, `   ${ADVICE[name] ?? ''}`];
  });
  return `${lines.join('\n')}\n`;
}

const HELP = [
  'DOCTOR',
  '    Return a human readable latency analysis report.',
  'GRAPH <event>',
  '    Return an ASCII latency graph for the <event> class.',
  'HISTORY <event>',
  '    Return time-latency samples for the <event> class.',
  'LATEST',
  '    Return the latest latency samples for all events.',
  'RESET [<event> ...]',
  '    Reset latency data of one or more <event> classes.',
  '    (default: reset all data for all event classes)',
  'HISTOGRAM [COMMAND ...]',
  '    Return a cumulative distribution of latencies in the format of a histogram for the specified command names.',
  '    If no commands are specified then all histograms are replied.',
];

export const latencyCommand: ServerCommand = {
  ...OBSERVATION_ROWS.latency,
  kind: 'local',
  differs:
    'the events are command, fast-command and event-loop; DOCTOR and GRAPH have words and a drawing of their own',
  run: () => wrongArity('latency'),
  subcommands: [
    // Barriers, so that they see the commands before them on their connection.
    { ...OBSERVATION_ROWS['latency|latest'], kind: 'barrier', run: latest },
    { ...OBSERVATION_ROWS['latency|history'], kind: 'barrier', run: history },
    { ...OBSERVATION_ROWS['latency|reset'], kind: 'barrier', run: reset },
    { ...OBSERVATION_ROWS['latency|histogram'], kind: 'barrier', run: histogram },
    { ...OBSERVATION_ROWS['latency|graph'], kind: 'barrier', run: graph },
    { ...OBSERVATION_ROWS['latency|doctor'], kind: 'barrier', run: doctor },
    { ...OBSERVATION_ROWS['latency|help'], kind: 'local', run: () => helpLines('LATENCY', HELP) },
  ],
};
