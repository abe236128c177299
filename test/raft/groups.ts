/** Groups of bare cores whose members change: how they begin. */
import { expect } from 'vitest';
import { Cores } from './cores.ts';

export const add = (id: number) => ({ type: 'add', id, description: `s${id}` }) as const;
export const remove = (id: number) => ({ type: 'remove', id }) as const;

/** Servers 1 to `count`, led by 1, and newcomers that know of nobody. */
export function group(count: number, newcomers: readonly number[] = []): Cores {
  const cores = Cores.of(count);
  for (const id of newcomers) cores.add({ id, voters: [] });
  cores.elect(1);
  return cores;
}

/** Every configuration that comes into force at `id` from now on. */
export function configurationsOf(cores: Cores, id: number): string[] {
  const seen: string[] = [];
  const before = cores.tell;
  cores.tell = (line) => {
    before(line);
    const found = new RegExp(`^${id} has the members (.*)$`).exec(line);
    if (found !== null) seen.push(found[1]!);
  };
  return seen;
}

/** 1 and 2 have committed that 3 is a learner; 3 knows nothing of it, and 1 and 3 are all that is left. */
export function learnerAlone(): Cores {
  const cores = group(2, [3]);
  cores.disconnect(3);
  cores.changeMembers(1, add(3));
  cores.stabilize();
  expect(cores.members(1)).toBe('1 2 (3)');
  cores.connect(3);
  cores.disconnect(2);
  return cores;
}
