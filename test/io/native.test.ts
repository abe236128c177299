import { expect, test } from 'vitest';
import { loadNative } from '../../src/io/native.ts';

test('a platform without a build of the addon is told which there are', () => {
  const prebuilds = [
    { targets: ['plan9-mips'], sha256: '', content: '' },
    { targets: ['vms-vax', 'vms-alpha'], sha256: '', content: '' },
  ];
  const platform = `${process.platform}-${process.arch}`;
  expect(() => loadNative('addon', prebuilds)).toThrow(`carries no addon for ${platform}`);
  expect(() => loadNative('addon', prebuilds)).toThrow('only for plan9-mips, vms-vax, vms-alpha');
});
