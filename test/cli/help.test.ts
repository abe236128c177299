import { describe, expect, test } from 'vitest';
import { mainHelp, modeHelp } from '../../src/cli/help.ts';
import { MODES } from '../../src/cli/invocation.ts';
import { ACCESS_DIRECTIVES } from '../../src/cli/mapreduce-access.ts';
import { MAPREDUCE_DIRECTIVES } from '../../src/cli/mapreduce-settings.ts';
import { CLUSTER_FLAGS } from '../../src/cli/settings.ts';
import { DIRECTIVES } from '../../src/config/table.ts';

const TEXTS = [['hstore', mainHelp('1.2.3')], ...MODES.map((mode) => [mode, modeHelp(mode)])] as [
  string,
  string,
][];

describe.each(TEXTS)('the help of %s', (_, text) => {
  test('fits into 80 columns, without space at the end of lines', () => {
    expect(text.split('\n').filter((line) => line.length > 80 || line !== line.trimEnd())).toEqual([]);
  });

  test('ends with a line end, and never says undefined', () => {
    expect(text).toMatch(/[^\n]\n$/);
    expect(text).not.toContain('undefined');
  });
});

test('the help names every mode', () => {
  for (const mode of MODES) expect(mainHelp('1.2.3')).toMatch(new RegExp(`^  ${mode} `, 'm'));
});

test('the help of server names every directive: the real ones as flags, with their defaults', () => {
  const text = modeHelp('server');
  for (const { name, help } of DIRECTIVES) {
    if (help === undefined) expect(text).toMatch(new RegExp(`[ ,]${name}[ ,\n]`));
    else expect(text).toMatch(new RegExp(`^  --${name} `, 'm'));
  }
  expect(text.match(/\(default\s/g)).toHaveLength(DIRECTIVES.filter(({ help }) => help !== undefined).length);
});

test('the help of cluster names every flag that has an effect', () => {
  const text = modeHelp('cluster');
  const shown = new Set(DIRECTIVES.filter(({ help }) => help !== undefined).map(({ name }) => name));
  for (const name of CLUSTER_FLAGS.valued.filter(
    (each) => shown.has(each) || each === 'config' || each === 'nodes',
  )) {
    expect(text).toMatch(new RegExp(`--${name}[ \n]`));
  }
  expect(text).toMatch(/^ {2}--restart /m);
});

test('the help of mapreduce names every flag and every job', () => {
  const text = modeHelp('mapreduce');
  for (const { name } of [...MAPREDUCE_DIRECTIVES, ...ACCESS_DIRECTIVES]) {
    expect(text).toMatch(new RegExp(`^  --${name}[ \n]`, 'm'));
  }
  for (const job of ['wc', 'ii', 'grep', 'sort', './job.js']) expect(text).toContain(`\n  ${job} `);
});
