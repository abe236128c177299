/**
 * Configurations against an obvious implementation: a list of who votes on which side, and counting. What a chain of
 * changes leads to, what a joint majority is, and that two configurations next to each other cannot decide apart (§6).
 */
import { describe, expect, test } from 'vitest';
import { MalformedError } from '../../src/lib/bytes.ts';
import {
  Configuration,
  decodeConfiguration,
  encodeConfiguration,
  type GroupMember,
  type MemberRole,
  type MembershipChange,
  NO_CONFIGURATION,
} from '../../src/raft/configuration.ts';
import { SimRandom } from '../sim/random.ts';
import { describeConfiguration, foundingOf } from './cores.ts';

const ROLES: readonly MemberRole[] = ['voter', 'learner', 'incoming', 'outgoing'];

/** Members 1 to `count` in roles by chance; at least one votes on each side. */
function anyConfiguration(random: SimRandom, countMax = 7): Configuration {
  const members = Array.from(
    { length: 1 + random.below(countMax) },
    (_, i): GroupMember => ({
      id: i + 1,
      role: i === 0 ? 'voter' : random.pick(ROLES),
      description: `s${i + 1}`,
    }),
  );
  return new Configuration(members);
}

/** The two sides as the paper has them; the same one twice when it is not joint. */
function sidesOf({ members }: Configuration): [number[], number[]] {
  const ids = (roles: MemberRole[]) => members.filter(({ role }) => roles.includes(role)).map(({ id }) => id);
  return [ids(['voter', 'outgoing']), ids(['voter', 'incoming'])];
}

const isMajority = (of: readonly number[], chosen: ReadonlySet<number>) =>
  of.filter((id) => chosen.has(id)).length * 2 > of.length;

function subsets(ids: readonly number[]): Set<number>[] {
  return Array.from({ length: 2 ** ids.length }, (_, bits) => new Set(ids.filter((_, i) => bits & (1 << i))));
}

const intersect = (a: ReadonlySet<number>, b: ReadonlySet<number>) => [...a].some((id) => b.has(id));

describe('a majority of a joint configuration', () => {
  test('is one of the old voters and one of the new ones, in 20,000 random cases', () => {
    const random = new SimRandom(1);
    for (let i = 0; i < 20_000; i++) {
      const configuration = anyConfiguration(random);
      const [before, after] = sidesOf(configuration);
      const chosen = new Set(configuration.members.map(({ id }) => id).filter(() => random.chance(0.6)));
      const expected = isMajority(before, chosen) && isMajority(after, chosen);
      const is = configuration.hasMajority((id) => chosen.has(id));
      if (is !== expected) expect.fail(`${[...chosen]} of ${describeConfiguration(configuration)}: ${is}`);
    }
  });

  test('has reached what more than half of each side has reached, in 20,000 random cases', () => {
    const random = new SimRandom(2);
    for (let i = 0; i < 20_000; i++) {
      const configuration = anyConfiguration(random);
      const sides = sidesOf(configuration);
      const reached = new Map(
        configuration.members.map(({ id }) => [id, random.below(random.pick([3, 100]))]),
      );
      const reachedBy = (n: number) =>
        sides.every((side) => isMajority(side, new Set(side.filter((id) => reached.get(id)! >= n))));
      const expected = Math.max(...[...reached.values(), 0].filter(reachedBy));
      const is = configuration.reachedByMajority((id) => reached.get(id)!);
      if (is !== expected) expect.fail(`${[...reached]} in ${describeConfiguration(configuration)}: ${is}`);
    }
  });

  test('meets every majority of C_old and every majority of C_new, by trying all', () => {
    // "There is no point in time at which C_old and C_new can both make decisions unilaterally."
    const random = new SimRandom(3);
    for (let i = 0; i < 150; i++) {
      const joint = anyConfiguration(random, 6);
      const all = subsets(joint.members.map(({ id }) => id));
      const joints = all.filter((chosen) => joint.hasMajority((id) => chosen.has(id)));
      for (const side of sidesOf(joint)) {
        const alone = all.filter((chosen) => isMajority(side, chosen));
        for (const a of joints) {
          for (const b of alone) if (!intersect(a, b)) expect.fail(`${[...a]} and ${[...b]}`);
        }
      }
    }
  });

  test('does not depend on learners', () => {
    const random = new SimRandom(4);
    for (let i = 0; i < 2000; i++) {
      const configuration = anyConfiguration(random);
      const chosen = new Set(configuration.members.map(({ id }) => id).filter(() => random.chance(0.5)));
      const voters = new Set([...chosen].filter((id) => configuration.isVoter(id)));
      expect(configuration.hasMajority((id) => chosen.has(id))).toBe(
        configuration.hasMajority((id) => voters.has(id)),
      );
    }
  });

  test('is nobody where nobody votes', () => {
    expect(NO_CONFIGURATION.hasMajority(() => true)).toBe(false);
    expect(NO_CONFIGURATION.reachedByMajority(() => 5)).toBe(0);
    expect(NO_CONFIGURATION.isVoter(1)).toBe(false);
  });
});

/** What a configuration is, without any cleverness: who votes before and after the change, and who merely listens. */
class Twin {
  before: Set<number>;
  after: Set<number>;
  learners = new Set<number>();
  readonly removed = new Set<number>();

  constructor(voters: readonly number[]) {
    this.before = new Set(voters);
    this.after = new Set(voters);
  }

  get joint(): boolean {
    return [...this.before].join() !== [...this.after].join();
  }

  has(id: number): boolean {
    return this.before.has(id) || this.after.has(id) || this.learners.has(id);
  }

  /** The refusal, or undefined when it was carried out. */
  change(change: MembershipChange): string | undefined {
    const { id, type } = change;
    if (type === 'add') return this.#add(id, change.instead);
    if (!this.has(id)) return 'unknown';
    if (type === 'promote') {
      if (!this.learners.delete(id)) return 'already';
      this.after.add(id);
    } else if (type === 'remove') {
      if (this.before.has(id) && this.before.size === 1) return 'lastVoter';
      if (this.learners.delete(id)) this.removed.add(id);
      this.after.delete(id);
    }
    return undefined;
  }

  #add(id: number, instead: number | undefined): string | undefined {
    if (this.has(id)) return 'already';
    if (this.removed.has(id)) return 'removed';
    if (instead !== undefined) {
      if (!this.learners.delete(instead)) return 'unknown';
      this.removed.add(instead);
    }
    this.learners.add(id);
    return undefined;
  }

  settle(): void {
    for (const id of this.before) if (!this.after.has(id)) this.removed.add(id);
    this.before = new Set(this.after);
  }
}

const sorted = (ids: Iterable<number>) => [...ids].sort((a, b) => a - b);

function compare(configuration: Configuration, twin: Twin): void {
  const [before, after] = sidesOf(configuration);
  expect(sorted(before)).toEqual(sorted(twin.before));
  expect(sorted(after)).toEqual(sorted(twin.after));
  expect(sorted(configuration.learners)).toEqual(sorted(twin.learners));
  expect(sorted(configuration.removed)).toEqual(sorted(twin.removed));
  expect(sorted(configuration.voters)).toEqual(sorted(new Set([...twin.before, ...twin.after])));
  for (const { id } of configuration.members) {
    expect(configuration.staysVoter(id)).toBe(twin.after.has(id));
    expect(configuration.others(id)).not.toContain(id);
  }
}

function anyChange(random: SimRandom): MembershipChange {
  const [id, other] = [1 + random.below(9), 1 + random.below(9)];
  switch (random.below(7)) {
    case 0:
    case 1:
      return { type: 'add', id, description: `s${id}` };
    case 2:
      return { type: 'add', id, description: `s${id}`, instead: other };
    case 3:
    case 4:
      return { type: 'promote', id };
    case 5:
      return { type: 'describe', id, description: random.pick(['a', 'b']) };
    default:
      return { type: 'remove', id };
  }
}

describe('a chain of changes', () => {
  test('leads where the obvious implementation leads, and is refused where that refuses it', () => {
    const refusals = new Map<string, number>();
    for (let seed = 1; seed <= 500; seed++) {
      const random = new SimRandom(seed);
      const voters = Array.from({ length: 1 + random.below(3) }, (_, i) => i + 1);
      let configuration = foundingOf(voters);
      const twin = new Twin(voters);
      for (let step = 0; step < 25; step++) {
        const change = anyChange(random);
        const next = configuration.after(change);
        const refusal = typeof next === 'string' ? next : undefined;
        if (refusal !== undefined) refusals.set(refusal, (refusals.get(refusal) ?? 0) + 1);
        const present = configuration.member(change.id);
        const same = change.type === 'describe' && change.description === present?.description;
        expect(refusal).toBe(same ? 'unchanged' : twin.change(change));
        if (typeof next === 'string') continue;
        expect(next.joint).toBe(twin.joint);
        compare(next, twin);
        configuration = next.joint ? next.afterJoint() : next;
        twin.settle();
        expect(configuration.joint).toBe(false);
        compare(configuration, twin);
      }
    }
    const seen = [...refusals.keys()].sort();
    expect(seen).toEqual(['already', 'lastVoter', 'removed', 'unchanged', 'unknown']);
  });

  test('never brings back an id that was removed', () => {
    const before = foundingOf([1, 2]);
    const joint = before.after({ type: 'remove', id: 2 }) as Configuration;
    expect(joint.removed, 'it still votes on the old side').toEqual([]);
    const after = joint.afterJoint();
    expect(after.removed).toEqual([2]);
    expect(after.after({ type: 'add', id: 2, description: 's2' })).toBe('removed');
    const learner = after.after({ type: 'add', id: 3, description: 's3' }) as Configuration;
    const given = learner.after({ type: 'add', id: 4, description: 's4', instead: 3 }) as Configuration;
    expect(given.removed).toEqual([2, 3]);
    expect(given.learners).toEqual([4]);
    expect(given.joint, 'no voter was touched').toBe(false);
    expect(given.after({ type: 'add', id: 3, description: 's3' })).toBe('removed');
  });

  test('replaces no voter by a newcomer', () => {
    const change = { type: 'add', id: 3, description: 's3' } as const;
    expect(foundingOf([1, 2]).after({ ...change, instead: 2 })).toBe('unknown');
    expect(foundingOf([1, 2]).after({ ...change, instead: 9 })).toBe('unknown');
  });

  test('is one change at a time: a joint configuration takes none', () => {
    const joint = foundingOf([1, 2]).after({ type: 'remove', id: 2 }) as Configuration;
    expect(() => joint.after({ type: 'remove', id: 1 })).toThrow('one change at a time');
    expect(() => foundingOf([1, 2]).afterJoint()).toThrow('a joint configuration is left');
  });

  test('keeps the descriptions, and moves a member without touching its vote', () => {
    const moved = foundingOf([1, 2]).after({ type: 'describe', id: 2, description: 'elsewhere' });
    expect((moved as Configuration).members).toEqual([
      { id: 1, role: 'voter', description: 's1' },
      { id: 2, role: 'voter', description: 'elsewhere' },
    ]);
  });
});

describe('the bytes of a configuration', () => {
  const someConfiguration = (random: SimRandom) => {
    const ids = new Set(Array.from({ length: random.below(9) }, () => random.below(2 ** 48)));
    const members = [...ids].map(
      (id): GroupMember => ({
        id,
        role: random.pick(ROLES),
        description: random.pick(['', 'name 10.0.0.1:6379', 'ä€😀']),
      }),
    );
    return new Configuration(
      members,
      Array.from({ length: random.below(5) }, () => random.below(2 ** 48)),
    );
  };

  test('come back as the same configuration', () => {
    const random = new SimRandom(5);
    for (let i = 0; i < 2000; i++) {
      const configuration = someConfiguration(random);
      const { members, removed } = decodeConfiguration(encodeConfiguration(configuration));
      expect(members).toEqual(configuration.members);
      expect(removed).toEqual(configuration.removed);
    }
  });

  test('are refused when they end early, at every byte, and when there are too many', () => {
    const random = new SimRandom(6);
    for (let i = 0; i < 100; i++) {
      const bytes = encodeConfiguration(someConfiguration(random));
      for (let length = 0; length < bytes.length; length++) {
        expect(() => decodeConfiguration(bytes.subarray(0, length))).toThrow(MalformedError);
      }
      expect(() => decodeConfiguration(Buffer.concat([bytes, Buffer.of(0)]))).toThrow(MalformedError);
    }
  });

  test('are a configuration or refused, whatever they are', () => {
    const random = new SimRandom(7);
    for (let i = 0; i < 20_000; i++) {
      const bytes = Buffer.from(
        random.chance(0.5) ? random.bytes(random.below(60)) : encodeConfiguration(someConfiguration(random)),
      );
      for (let flips = 0; flips < 3 && bytes.length > 0; flips++) {
        bytes[random.below(bytes.length)] = random.below(256);
      }
      try {
        const configuration = decodeConfiguration(bytes);
        expect(configuration.members.length).toBeLessThanOrEqual(64);
      } catch (error) {
        if (!(error instanceof MalformedError)) throw error;
      }
    }
  });

  test('are refused when they name a member twice, a role or a format that does not exist, or too many', () => {
    const twice = Buffer.concat([
      encodeConfiguration(foundingOf([1])).subarray(0, 1),
      Buffer.of(2, 0, 0, 0),
      encodeConfiguration(foundingOf([1])).subarray(5, -4),
      encodeConfiguration(foundingOf([1])).subarray(5),
    ]);
    expect(() => decodeConfiguration(twice)).toThrow('names a member twice');
    const role = encodeConfiguration(foundingOf([1]));
    role[13] = 4;
    expect(() => decodeConfiguration(role)).toThrow('member 1 has no known role');
    const format = encodeConfiguration(foundingOf([1]));
    format[0] = 2;
    expect(() => decodeConfiguration(format)).toThrow('unknown format 2');
    const many = encodeConfiguration(foundingOf(Array.from({ length: 65 }, (_, i) => i + 1)));
    expect(() => decodeConfiguration(many)).toThrow('at most 64');
  });

  test('hold the ids that were removed last', () => {
    let configuration = foundingOf([1]);
    for (let id = 2; id < 1100; id++) {
      configuration = configuration.after({ type: 'add', id, description: '' }) as Configuration;
      configuration = configuration.after({ type: 'remove', id }) as Configuration;
    }
    const { removed } = decodeConfiguration(encodeConfiguration(configuration));
    expect(removed).toHaveLength(1000);
    expect(removed.at(-1)).toBe(1099);
  });
});
