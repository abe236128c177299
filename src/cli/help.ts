/** The texts of --help, made from the table of directives, for a terminal of 80 columns. */

import type { Directive } from '../config/directive.ts';
import { DIRECTIVE_GROUPS } from '../config/table.ts';
import type { ValueType } from '../config/value.ts';
import { unreachable } from '../lib/assert.ts';
import type { Mode } from './invocation.ts';
import { ACCESS_DIRECTIVES } from './mapreduce-access.ts';
import { ARG_FLAG, MAPREDUCE_DIRECTIVES } from './mapreduce-settings.ts';
import { CLUSTER_FLAGS, LAUNCHER_DIRECTIVES } from './settings.ts';

const COLUMNS = 80;
const INDENT = 2;
/** Where the explanations begin; a longer flag has a line of its own. */
const TEXT_COLUMN = 28;
/** A space at which no line ends. */
const NO_BREAK = '\u00a0';

interface Row {
  readonly term: string;
  readonly text: string;
}

const CONFIG_ROW: Row = {
  term: '--config FILE',
  text: 'read flags from FILE, one a line without dashes: maxclients 100',
};

const CHECK_DIR_ROW: Row = {
  term: '--check-dir DIR',
  text:
    'start nothing; verify the data directory DIR of a server that is down, log and store, and print what is in it and ' +
    'what is wrong. No other flags. The log is not touched; the store is opened, which locks it, and LevelDB may rewrite ' +
    'its own log. Exit status: 0 whole, 1 problems, 2 not checked',
};

export function mainHelp(version: string): string {
  return [
    `hstore ${version}: a strongly consistent, durable key-value database that speaks the`,
    'Redis protocol',
    '',
    'usage: hstore MODE [flags]',
    '',
    'modes:',
    ...rows([
      { term: 'server', text: 'run one server' },
      { term: 'cluster', text: 'run a cluster of servers on this machine, to try it out' },
      { term: 'mapreduce', text: 'run a job over files or keys: count words, search, sort, your own' },
    ]),
    '',
    ...rows([
      { term: '--help', text: 'this text; hstore MODE --help shows the flags of a mode' },
      { term: '--version', text: 'print the version' },
      { term: '--mode MODE', text: 'the same as MODE in front' },
    ]),
    '',
    'examples:',
    '  hstore cluster                    three servers on ports 6379, 6380 and 6381',
    '  redis-cli -p 6380 set greeting hello',
    '  hstore mapreduce wc books/*.txt   how often each word is there',
    '',
  ].join('\n');
}

export function modeHelp(mode: Mode): string {
  switch (mode) {
    case 'server':
      return serverHelp();
    case 'cluster':
      return clusterHelp();
    case 'mapreduce':
      return mapreduceHelp();
    default:
      return unreachable(mode);
  }
}

function serverHelp(): string {
  return [
    'usage: hstore server [flags]',
    '',
    'Runs one server, alone or as a member of a cluster.',
    '',
    'flags:',
    ...rows([...DIRECTIVE_GROUPS.own.map(flagRow), CONFIG_ROW, CHECK_DIR_ROW]),
    '',
    "flags that are Redis's:",
    ...rows(DIRECTIVE_GROUPS.redis.map(flagRow)),
    '',
    "flags for TLS, Redis's too:",
    ...rows(DIRECTIVE_GROUPS.tls.map(flagRow)),
    '',
    'flags for MapReduce:',
    ...rows(DIRECTIVE_GROUPS.mapreduce.map(flagRow)),
    '',
    ...sources(),
    '',
    ...accepted(),
    '',
    'example, on each of three machines with its own --id:',
    '  hstore server --id n1 --requirepass PASSWORD --cluster-secret SECRET \\',
    '    --cluster n1=10.0.0.1:6379,n2=10.0.0.2:6379,n3=10.0.0.3:6379',
    '',
  ].join('\n');
}

function clusterHelp(): string {
  const { own, redis, tls, mapreduce } = DIRECTIVE_GROUPS;
  const passedOn = [...own, ...redis, ...tls, ...mapreduce].filter(
    ({ name }) => CLUSTER_FLAGS.valued.includes(name) && !['port', 'tls-port', 'dir'].includes(name),
  );
  return [
    'usage: hstore cluster [flags]',
    '',
    ...wrap(
      'Runs several servers on this machine as child processes, each a member of one cluster, and prints a line ' +
        "'ready 127.0.0.1:6379 ...' when they serve. Ctrl-C or SIGTERM stops them all; the data stay.",
      COLUMNS,
    ),
    '',
    'flags:',
    ...rows([
      ...LAUNCHER_DIRECTIVES.map(switchOrFlagRow),
      {
        term: '--port N',
        text: 'port of the first server, the others have the following ones (default 6379)',
      },
      {
        term: '--tls-port N',
        text: 'port of the first server for clients that speak TLS, the others have the following ones (default none)',
      },
      { term: '--dir PATH', text: 'data directory (default ./hstore-data), one below it for each server' },
      CONFIG_ROW,
    ]),
    '',
    'flags for each of its servers, see hstore server --help:',
    ...wrap(passedOn.map(({ name }) => `--${name}`).join(' '), COLUMNS - INDENT).map(indented),
    '',
    ...sources(),
    '',
  ].join('\n');
}

function mapreduceHelp(): string {
  return [
    'usage: hstore mapreduce JOB [INPUT...] [flags]',
    '',
    ...wrap(
      'Runs a job on this machine, in several threads, or across the servers of a cluster, and writes the result to ' +
        'standard output. INPUT is files, directories and patterns, unpacked where they end in .gz, or - for standard ' +
        'input, which is also read when something is piped in and no input is named. With --nodes INPUT is also ' +
        'keys:PATTERN, string values of the store, and without any input all of them.',
      COLUMNS,
    ),
    '',
    'jobs:',
    ...rows([
      { term: 'wc', text: 'how often each word is there: "word: count"' },
      { term: 'ii', text: 'which files each word is in: "word: count file,file"' },
      {
        term: 'grep PATTERN',
        text: 'the lines that match a regular expression, behind the names of their files if there are several; with --arg ignore-case=yes in any case',
      },
      { term: 'sort', text: 'the lines, sorted by their bytes' },
      { term: './job.js', text: 'a module of your own that exports map, and perhaps combine and reduce' },
    ]),
    '',
    'flags:',
    ...rows([
      ...MAPREDUCE_DIRECTIVES.map(switchOrFlagRow),
      { term: `--${ARG_FLAG} NAME=VALUE`, text: 'for your own job; may be given several times' },
      { term: CONFIG_ROW.term, text: 'read flags from FILE, one a line without dashes: reduces 8' },
    ]),
    '',
    'flags for a job across servers:',
    ...rows(ACCESS_DIRECTIVES.map(switchOrFlagRow)),
    '',
    ...wrap(
      'Files are read by the servers, under the names that they have here: all servers must have them, and their ' +
        '--mr-files must allow it. A module of your own must be in the directory of their --mr-modules. When a server is ' +
        'lost, the job goes on, and so does this program.',
      COLUMNS,
    ),
    '',
    ...wrap(
      'A flag is also read from the environment (--reduces from HSTORE_REDUCES) and from the file named with --config, ' +
        'but for --arg; flags for a job across servers from the file alone. Sizes take kb, mb and gb. What follows -- is no flag. Temporary files lie where TMPDIR says.',
      COLUMNS,
    ),
    '',
    'Exit status: 0 done, 1 the job failed, 2 wrong usage, 130 cancelled.',
    '',
    'examples:',
    '  hstore mapreduce wc books/*.txt --top 10 --sort count',
    "  zcat log.gz | hstore mapreduce grep 'error [0-9]+'",
    "  hstore mapreduce wc 'keys:page:*' --nodes 127.0.0.1:6379 --out keys:count:",
    '',
  ].join('\n');
}

function sources(): string[] {
  return wrap(
    'Every flag is also read from the environment (--command-timeout from HSTORE_COMMAND_TIMEOUT) and from the file ' +
      'named with --config, in the form of redis.conf. Flags win over the environment, the environment over the file. ' +
      'Sizes take kb, mb and gb.',
    COLUMNS,
  );
}

function accepted(): string[] {
  const names = (change: Directive['change']): string =>
    DIRECTIVE_GROUPS.accepted
      .filter((each) => each.change === change)
      .map(({ name, default: value }) =>
        change === 'fixed' ? `${name}${NO_BREAK}${value === '' ? '""' : value}` : name,
      )
      .join(', ');
  return [
    'Directives of Redis that have one value here, which may be given:',
    ...wrap(names('fixed'), COLUMNS - INDENT).map(indented),
    'Directives of Redis that are accepted and change nothing here:',
    ...wrap(names('hint'), COLUMNS - INDENT).map(indented),
  ];
}

function flagRow(directive: Directive): Row {
  const shown = directive.defaultHelp ?? directive.default;
  return {
    term: `--${directive.name} ${directive.argument ?? argumentOf(directive.type)}`,
    text: `${directive.help} (default ${shown})`,
  };
}

/** A boolean that is a switch on the command line. */
function switchOrFlagRow(directive: Directive): Row {
  return directive.type.kind === 'boolean'
    ? { term: `--${directive.name}`, text: directive.help ?? '' }
    : flagRow(directive);
}

function argumentOf(type: ValueType): string {
  switch (type.kind) {
    case 'text':
      return 'TEXT';
    case 'integer':
      return 'N';
    case 'memory':
      return 'SIZE';
    case 'boolean':
      return 'yes|no';
    case 'choice':
      return type.values.join('|');
    default:
      return unreachable(type);
  }
}

function rows(all: readonly Row[]): string[] {
  return all.flatMap(({ term, text }) => {
    const lines = wrap(text, COLUMNS - TEXT_COLUMN).map((line) => ' '.repeat(TEXT_COLUMN) + line);
    const head = indented(term);
    if (head.length > TEXT_COLUMN - 2) return [head, ...lines];
    return [head.padEnd(TEXT_COLUMN) + lines[0]!.trimStart(), ...lines.slice(1)];
  });
}

function indented(line: string): string {
  return ' '.repeat(INDENT) + line;
}

/** Lines of at most `columns`, broken at spaces. */
function wrap(text: string, columns: number): string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = lines.at(-1)!;
    if (line === '') lines[lines.length - 1] = word;
    else if (line.length + 1 + word.length <= columns) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines.map((line) => line.replaceAll(NO_BREAK, ' '));
}
