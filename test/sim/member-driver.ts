/**
 * An operator who cannot leave the cluster alone: lets servers in, removes others, two at once sometimes, and replaces one
 * whose disk is rotten. What he asks for goes through any server, and may be refused, be lost or happen late; in the end
 * (`finish`) he sees to it that the servers that there are and the members are the same.
 */
import type { Configuration, MembershipChange } from '../../src/raft/configuration.ts';
import type { ChangeOutcome } from '../../src/server/membership-requests.ts';
import type { Cluster, SimServer } from './cluster.ts';
import type { ConfigurationInvariants } from './configuration-invariants.ts';
import type { SimRandom } from './random.ts';

const MEMBERS_MAX = 5;
/** Who was removed runs on for a while, as if nobody had told its operator. */
const RUNS_ON_MS = 2000;
const ASK_AGAIN_MS = 400;
const STRANDED_MS = 1500;
/** After which an earlier change can no longer begin: requests end, and late packets have arrived. */
const QUIET_MS = 9000;

export class MemberDriver {
  readonly #cluster: Cluster;
  readonly #random: SimRandom;
  readonly #configurations: ConfigurationInvariants;
  /** Removed, and to be retired. */
  readonly #leaving = new Set<SimServer>();
  /** Servers of no more use: their disks are rotten. */
  readonly #lost = new Set<SimServer>();
  #lastAskedMs = Number.NEGATIVE_INFINITY;
  /** Changes that were reported as done. */
  done = 0;
  readonly outcomes = new Map<ChangeOutcome, number>();

  constructor(cluster: Cluster, random: SimRandom, configurations: ConfigurationInvariants) {
    this.#cluster = cluster;
    this.#random = random;
    this.#configurations = configurations;
  }

  /** Once in a while. */
  change(): void {
    this.#retireRemoved();
    if (this.#random.chance(0.2)) return this.#strand();
    this.#once();
    if (this.#random.chance(0.2)) this.#once();
  }

  #once(): void {
    const { servers } = this.#cluster;
    const count = servers.length - this.#leaving.size;
    const grow = count < MEMBERS_MAX && (count <= 1 || this.#random.chance(0.5));
    if (grow) return this.#letIn();
    // With one rotten the others must stay: a change that needs a majority of the two left might need it.
    if (this.#lost.size > 0) return;
    const leader = this.#cluster.leader();
    const victim = leader !== undefined && this.#random.chance(0.4) ? leader : this.#random.pick(servers);
    this.#ask({ type: 'remove', id: victim.id });
  }

  /** A leader that reaches nobody any more begins a change: its entry will be truncated, and must be forgotten. */
  #strand(): void {
    const { network, scheduler, ids } = this.#cluster;
    const leader = this.#cluster.leader();
    const others = ids.filter((id) => id !== leader?.id);
    if (leader === undefined || others.length < 2 || this.#lost.size > 0) return;
    network.partition([leader.id], others);
    this.#ask({ type: 'remove', id: this.#random.pick(others) }, () => {}, leader);
    scheduler.after(this.#random.exponential(STRANDED_MS), undefined, () => network.mendAll());
  }

  /** Asked for at the moment at which it is least wise: an impatient operator. */
  newLeader(leader: SimServer): void {
    if (!this.#random.chance(0.2) || this.#lost.size > 0) return;
    const others = this.#cluster.servers.filter((server) => server !== leader);
    if (others.length < 2) return;
    this.#ask({ type: 'remove', id: this.#random.pick(others).id }, () => {}, leader);
  }

  #letIn(): void {
    const newcomer = this.#cluster.newcomer();
    newcomer.start();
    this.#add(newcomer, 10);
  }

  /** Asks until it is in, or for so many times. */
  #add(newcomer: SimServer, tries: number): void {
    if (tries === 0 || !this.#isStranger(newcomer)) return;
    const again = () => {
      this.#cluster.scheduler.after(ASK_AGAIN_MS, undefined, () => this.#add(newcomer, tries - 1));
    };
    const { id } = newcomer;
    const left = this.#ask({ type: 'add', id, description: `n${id}` }, (outcome) => {
      if (outcome !== 'done' && outcome !== 'already' && outcome !== 'removed') again();
    });
    if (!left) again();
  }

  #isStranger(server: SimServer): boolean {
    if (!this.#cluster.servers.includes(server)) return false;
    if (this.#configurations.isRemoved(server.id)) return false;
    return this.#configurations.last.configuration.member(server.id) === undefined;
  }

  /** Whether it could be asked for at all. `done` may never come: the server that was asked may fall. */
  #ask(
    change: MembershipChange,
    done: (outcome: ChangeOutcome) => void = () => {},
    server = this.#random.pick(this.#cluster.servers),
  ): boolean {
    const through = server.replica;
    if (through === undefined) return false;
    this.#lastAskedMs = this.#cluster.scheduler.nowMs;
    this.#cluster.options.trace?.(
      `${this.#cluster.scheduler.nowMs.toFixed(2)} change ${change.type} ${change.id} asked of n${through.raft.id}`,
    );
    through.changeMembers(change, (outcome) => {
      this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1);
      if (outcome === 'done') this.done++;
      done(outcome);
    });
    return true;
  }

  #retireRemoved(): void {
    for (const server of this.#cluster.servers) {
      if (!this.#configurations.isRemoved(server.id) || this.#leaving.has(server)) continue;
      this.#leaving.add(server);
      const runsOnMs = this.#random.exponential(RUNS_ON_MS);
      this.#cluster.scheduler.after(runsOnMs, undefined, () => this.#retire(server));
    }
  }

  #retire(server: SimServer): void {
    this.#leaving.delete(server);
    this.#lost.delete(server);
    if (this.#cluster.servers.includes(server)) this.#cluster.retire(server);
  }

  // A rotten disk

  /**
   * Whether the cluster can bear to lose a member for good: it has three voters that stay, and nothing is under way that
   * could make of them two.
   */
  get canLoseOne(): boolean {
    const configuration = this.#inForce;
    if (configuration === undefined || configuration.joint || this.#lost.size > 0) return false;
    const quiet = this.#cluster.scheduler.nowMs - this.#lastAskedMs > QUIET_MS;
    return quiet && configuration.voters.length >= 3 && configuration.learners.length === 0;
  }

  isLost(server: SimServer): boolean {
    return this.#lost.has(server);
  }

  /** Its disk rots; it is replaced when it has noticed. */
  lose(server: SimServer): void {
    this.#lost.add(server);
  }

  /** What there is of it is not to be used any more: another one comes in its place. */
  replace(server: SimServer): void {
    server.crash();
    if (!this.#isStranger(server)) this.#removeLost(server);
    this.#letIn();
  }

  #removeLost(server: SimServer): void {
    if (!this.#lost.has(server) || !this.#cluster.servers.includes(server)) return;
    if (this.#configurations.isRemoved(server.id)) return this.#retire(server);
    this.#ask({ type: 'remove', id: server.id });
    this.#cluster.scheduler.after(ASK_AGAIN_MS, undefined, () => this.#removeLost(server));
  }

  // The end

  get #inForce(): Configuration | undefined {
    return this.#cluster.leader()?.replica?.raft.configuration;
  }

  /** All is mended: now and then, until `finished`. */
  finish(): void {
    const configuration = this.#inForce;
    for (const server of [...this.#cluster.servers]) {
      if (this.#configurations.isRemoved(server.id)) this.#retire(server);
    }
    if (configuration === undefined || configuration.joint || this.finished) return;
    const stranger = this.#cluster.servers.find(({ id }) => configuration.member(id) === undefined);
    if (stranger === undefined) return;
    if (this.#lost.has(stranger)) return this.#retire(stranger);
    this.#ask({ type: 'add', id: stranger.id, description: `n${stranger.id}` });
  }

  /** All servers are members and vote, and all know it. */
  get finished(): boolean {
    const { servers } = this.#cluster;
    const indexes = new Set(servers.map(({ replica }) => replica?.configuration.index));
    if (indexes.size !== 1 || indexes.has(undefined)) return false;
    return servers.every(({ replica }) => {
      const { members, voters } = replica!.configuration.configuration;
      const all = members.length === servers.length && voters.length === servers.length;
      return all && servers.every(({ id }) => voters.includes(id)) && !replica!.raft.configuration.joint;
    });
  }
}
