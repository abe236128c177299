import { expect, test } from 'vitest';
import { reportText } from '../../src/cli/check-dir.ts';

const FACTS = [
  { of: 'identity', lines: ['server n1', 'began alone'] },
  { of: 'log', lines: ['4 segments'] },
];

test('the report of a whole directory ends with ok', () => {
  expect(reportText('/data', { facts: FACTS, problems: [] })).toBe(
    'data directory /data\nidentity  server n1\n          began alone\nlog       4 segments\nok\n',
  );
});

test('problems are listed with what to do about them, which is said once', () => {
  const problems = [
    { text: 'a is damaged', advice: 'replace it' },
    { text: 'b is missing', advice: 'put it back' },
    { text: 'c is damaged', advice: 'replace it' },
  ];
  expect(reportText('/data', { facts: [], problems }).split('\n').slice(1, -1)).toEqual([
    '3 problems:',
    '  a is damaged',
    '  c is damaged',
    '    what to do: replace it',
    '  b is missing',
    '    what to do: put it back',
  ]);
});
