/**
 * The language of the transcripts: one command a line, under it what it brought about. After etcd's interaction tests.
 *
 *   add-nodes COUNT [LIMIT=N ...]      servers 1 to COUNT with empty logs; limits as in raft/limits.ts
 *   add-node ID voters=(1,2,3) [log=(1,1,4)] [term=T] [vote=V] [applied=N] [LIMIT=N ...]
 *                                      one server, whose disk holds entries of these terms
 *   campaign ID                        its election timeout passes
 *   tick ID|all MS                     so much time passes for it
 *   propose ID TEXT [COUNT]            COUNT entries; TEXT of the form 500b is so many bytes
 *   read ID                            a linearizable read is asked for
 *   transfer ID TARGET                 the leader is asked to hand leadership over
 *   request-leadership ID              it asks the leader for leadership
 *   change ID add|promote|remove N     the leader is asked to change the members
 *   compact ID INDEX                   its log is cut off up to there
 *   snapshot ID TARGET [untold]        TARGET takes over the state of the leader, and both know it; untold: the leader does not
 *   snapshot-failed ID TARGET          the transfer ends without success
 *   ready ID                           the core's turn ends: messages leave, a write begins
 *   persist ID [COUNT]                 the oldest writes are durable (all of them without COUNT)
 *   apply ID                           what is committed is applied
 *   deliver ID [from=(1,2)] [type=NAME] [count=N] [drop=(3)] [late] [again]
 *                                      what is on its way to ID arrives: of these senders, of this type, the oldest N;
 *                                      from the senders in drop it is lost; late: in reverse order; again: it stays on its way
 *   drop ID                            what is on its way to ID is lost
 *   elect ID                           all that it takes to make it the leader, untold, and what is then
 *   win ID by=(2,3)                    it wins an election with these votes, untold, and nobody hears of it yet
 *   stabilize [ID ...]                 ready, persist, apply and deliver until nothing is left to do
 *   cut A B, mend A B                  what A sends to B is lost, or not any more
 *   disconnect ID, connect ID          the same with everybody, both ways
 *   unreachable ID PEER                the link to PEER broke
 *   disk ID stalled|well               its disk takes longer than an election timeout for a write
 *   restart ID                         it crashes, and comes back with what was durable
 *   status [ID], members [ID], log ID, messages
 *                                      what is; members: 1 2 +3 -4 (5) for voters 1 and 2, 3 to come, 4 to go, learner 5
 */
import { assert } from '../../src/lib/assert.ts';
import { DEFAULT_LIMITS, type RaftLimits } from '../../src/raft/limits.ts';
import type { Message } from '../../src/raft/messages.ts';
import { type CoreOptions, Cores, describeMessage, entriesOf } from '../raft/cores.ts';

interface Arguments {
  readonly words: readonly string[];
  /** `name=value`, and words alone as flags. */
  readonly options: ReadonlyMap<string, string>;
}

export class Transcript {
  readonly #cores = new Cores();
  #lines: string[] = [];

  constructor() {
    this.#cores.tell = (line) => void this.#lines.push(line);
  }

  /** Runs one command; what it brought about, a line each. */
  run(command: string): string[] {
    this.#lines = [];
    const [name, ...rest] = command.trim().split(/\s+/);
    const words = rest.filter((word) => !word.includes('='));
    const options = new Map(
      rest.filter((word) => word.includes('=')).map((word) => word.split('=') as [string, string]),
    );
    try {
      this.#execute(name!, { words, options });
    } catch (error) {
      this.#lines.push(`error: ${(error as Error).message}`);
    }
    return this.#lines.length === 0 ? ['ok'] : this.#lines;
  }

  #execute(name: string, args: Arguments): void {
    const cores = this.#cores;
    const id = Number(args.words[0]);
    const second = Number(args.words[1]);
    switch (name) {
      case 'add-nodes':
        return this.#addNodes(id, args);
      case 'add-node':
        return this.#addNode(id, args);
      case 'campaign':
        return cores.campaign(id);
      case 'elect':
        cores.elect(id);
        this.#lines = [];
        return this.#each('all', (one) => this.#status(one));
      case 'win':
        cores.win(id, listOf(args.options.get('by')!));
        this.#lines = [];
        return this.#status(id);
      case 'tick':
        return this.#each(args.words[0]!, (one) => cores.tick(one, second));
      case 'propose':
        return this.#propose(id, args);
      case 'read':
        return cores.change(id, (raft) => this.#lines.push(`${id} asks for read ${raft.read()}`));
      case 'transfer':
        return cores.change(id, (raft) => raft.transferLeadership(second));
      case 'request-leadership':
        return cores.change(id, (raft) => raft.requestLeadership());
      case 'change':
        return this.#change(id, args);
      case 'compact':
        return cores.core(id).compact(second);
      case 'snapshot':
        return cores.sendSnapshot(id, second, !args.words.includes('untold'));
      case 'snapshot-failed':
        return cores.change(id, (raft) => raft.snapshotEnded(second, undefined));
      case 'ready':
        return void cores.ready(id);
      case 'persist':
        return this.#persist(id, args.words[1]);
      case 'apply':
        return void cores.apply(id);
      case 'stabilize':
        return cores.stabilize(args.words.length === 0 ? undefined : args.words.map(Number));
      case 'unreachable':
        return cores.change(id, (raft) => raft.unreachable(second));
      case 'disk':
        return cores.raft(id).diskStalled(args.words[1] === 'stalled');
      case 'restart':
        return this.#restart(id);
      default:
        return this.#network(name, id, args);
    }
  }

  #network(name: string, id: number, args: Arguments): void {
    const cores = this.#cores;
    const second = Number(args.words[1]);
    switch (name) {
      case 'deliver':
        return this.#deliver(id, args);
      case 'drop':
        for (const lost of cores.take(({ to }) => to === id))
          this.#lines.push(`lost: ${describeMessage(lost)}`);
        return;
      case 'cut':
        return cores.cut(id, second);
      case 'mend':
        return cores.mend(id, second);
      case 'disconnect':
        return cores.disconnect(id);
      case 'connect':
        return cores.connect(id);
      case 'status':
        return this.#each(args.words[0] ?? 'all', (one) => this.#status(one));
      case 'members':
        return this.#each(args.words[0] ?? 'all', (one) => {
          this.#lines.push(`${one} members ${cores.members(one)}`);
        });
      case 'log':
        return this.#log(id);
      case 'messages':
        for (const message of cores.transit) this.#lines.push(describeMessage(message));
        return;
      default:
        assert(false, 'there is such a command', name);
    }
  }

  #each(who: string, run: (id: number) => void): void {
    if (who === 'all') for (const id of this.#cores.cores.keys()) run(id);
    else run(Number(who));
  }

  #addNodes(count: number, args: Arguments): void {
    const voters = Array.from({ length: count }, (_, i) => i + 1);
    for (const id of voters) this.#cores.add({ id, voters, limits: limitsOf(args) });
  }

  #addNode(id: number, args: Arguments): void {
    const { options } = args;
    const terms = listOf(options.get('log') ?? '()');
    const number = (name: string) => Number(options.get(name) ?? 0);
    const core: CoreOptions = {
      id,
      voters: listOf(options.get('voters')!),
      limits: limitsOf(args),
      hardState: { term: Math.max(number('term'), ...terms), votedFor: number('vote') },
      entries: entriesOf(...terms),
      appliedIndex: number('applied'),
    };
    this.#cores.add(core);
  }

  #propose(id: number, { words }: Arguments): void {
    const text = words[1]!;
    const size = /^(\d+)b$/.exec(text);
    for (let i = 0; i < Number(words[2] ?? 1); i++) {
      const proposed = this.#cores.propose(id, size === null ? text : 'x'.repeat(Number(size[1])));
      if (!proposed.accepted) this.#lines.push(`${id} refuses: ${proposed.reason}`);
    }
  }

  #change(id: number, { words }: Arguments): void {
    const type = words[1] as 'add' | 'promote' | 'remove';
    const member = Number(words[2]);
    this.#cores.change(id, (raft) => {
      const change = type === 'add' ? { type, id: member, description: `s${member}` } : { type, id: member };
      const proposed = raft.changeMembers(change);
      if (!proposed.accepted) this.#lines.push(`${id} refuses: ${proposed.reason}`);
    });
  }

  #persist(id: number, count: string | undefined): void {
    for (let left = Number(count ?? Number.MAX_SAFE_INTEGER); left > 0; left--)
      if (!this.#cores.persist(id)) return;
  }

  #restart(id: number): void {
    this.#cores.core(id).restart();
    this.#status(id);
  }

  #deliver(id: number, { words, options }: Arguments): void {
    const cores = this.#cores;
    const from = options.has('from') ? listOf(options.get('from')!) : undefined;
    const lost = listOf(options.get('drop') ?? '()');
    const type = options.get('type');
    const wanted = (message: Message) =>
      message.to === id &&
      (from === undefined || from.includes(message.from)) &&
      (type === undefined || type === message.type);
    const chosen = cores.transit
      .filter(wanted)
      .slice(0, Number(options.get('count') ?? Number.MAX_SAFE_INTEGER));
    if (words.includes('late')) chosen.reverse();
    for (const message of chosen) {
      if (lost.includes(message.from)) {
        cores.take((other) => other === message);
        this.#lines.push(`lost: ${describeMessage(message)}`);
        continue;
      }
      cores.deliver(id, (other) => other === message);
      if (words.includes('again')) cores.transit.push(message);
    }
  }

  #status(id: number): void {
    const { raft } = this.#cores.core(id);
    const { role, term, votedFor, leaderId, log } = raft;
    this.#lines.push(
      `${id} ${role} term ${term} vote ${votedFor} leader ${leaderId} log ${log.lastIndex}@${log.lastTerm} ` +
        `stable ${log.stableIndex} commit ${log.commitIndex} applied ${log.appliedIndex}`,
    );
    for (const { id: follower } of raft.configuration.members) {
      const progress = raft.leader?.progressOf(follower);
      if (progress === undefined) continue;
      const { state, matchIndex, nextIndex, inflightCount } = progress;
      const paused = progress.paused ? ' paused' : '';
      this.#lines.push(
        `  ${follower} ${state} match ${matchIndex} next ${nextIndex} inflight ${inflightCount}${paused}`,
      );
    }
  }

  #log(id: number): void {
    const { log } = this.#cores.raft(id);
    const { compactedIndex, lastIndex } = log;
    const terms = Array.from({ length: lastIndex - compactedIndex }, (_, i) =>
      log.termAt(compactedIndex + i + 1),
    );
    this.#lines.push(`${id} log terms [${terms.join(' ')}] commit ${log.commitIndex}`);
  }
}

function listOf(text: string): number[] {
  const inside = text.replace(/^\(|\)$/g, '');
  return inside === '' ? [] : inside.split(',').map(Number);
}

function limitsOf({ options }: Arguments): Partial<RaftLimits> {
  const given = [...options].filter(([name]) => name in DEFAULT_LIMITS);
  return Object.fromEntries(given.map(([name, value]) => [name, Number(value)]));
}

/** Runs a whole transcript: its text with every command's outcome as it is now. */
export function replay(text: string): string {
  const transcript = new Transcript();
  const out: string[] = [];
  const lines = text.replace(/\n+$/, '').split('\n');
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i]!;
    out.push(line);
    if (line === '' || line.startsWith('#')) continue;
    out.push('----', ...transcript.run(line));
    if (lines[i + 1] !== '----') {
      if (lines[i + 1] !== undefined && lines[i + 1] !== '') out.push('');
      continue;
    }
    while (i + 1 < lines.length && lines[i + 1] !== '') i++;
  }
  return `${out.join('\n')}\n`;
}
