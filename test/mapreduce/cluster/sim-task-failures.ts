/** What servers log of tasks that have failed: whether a job had a reason to fail, and that it did so in time. */

interface Failed {
  readonly job: number;
  readonly phase: string;
  readonly task: number;
  readonly reason: string;
}

const ATTEMPTS_MAX = 4;
const VIEWS_LOST = /lost their view/;

export class TaskFailures {
  readonly #failed: Failed[] = [];

  note(fields: object | undefined): void {
    this.#failed.push(fields as Failed);
  }

  /** A task has failed as often as it may, or the servers have lost what the job read again and again. */
  mayFail(id: number, error: string): boolean {
    const own = this.#failed.filter(({ job }) => job === id);
    const counts = new Map<string, number>();
    for (const { phase, task } of own) {
      const name = `${phase} ${task}`;
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    return VIEWS_LOST.test(error) || [...counts.values()].some((count) => count >= ATTEMPTS_MAX);
  }
}
