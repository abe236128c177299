/** How far a job has come, on one line of a terminal; and what it was, when it is done. */

export interface Progress {
  /** Servers have other jobs too, and put the result into their store. */
  readonly phase: 'queued' | 'map' | 'reduce' | 'commit';
  readonly maps: Tasks;
  readonly reduces: Tasks;
  readonly bytes: Tasks;
}

interface Tasks {
  readonly done: number;
  readonly of: number;
}

export interface Summary {
  readonly maps: number;
  readonly reduces: number;
  readonly bytes: number;
  readonly counters: Readonly<Record<string, number>>;
}

const BAR_COLUMNS = 24;
const MB = 1_000_000;
/** Before that the rate says little of what is to come. */
const FORESEE_MS_MIN = 500;
/** Map tasks are most of a job: reduce tasks see what is left after counting. A guess, for the bar alone. */
const MAP_SHARE = 0.9;

/** `columns`: of the terminal; a longer line would leave its beginning behind when it is written over. */
export function progressLine(progress: Progress, elapsedMs: number, columns: number): string {
  const { maps, reduces, bytes, phase } = progress;
  // How many bytes stored keys have is not known before they are read.
  const mapped = share(bytes.of > 0 ? bytes : maps);
  const fraction = phase === 'queued' ? 0 : MAP_SHARE * mapped + (1 - MAP_SHARE) * share(reduces);
  const filled = Math.floor(BAR_COLUMNS * fraction);
  const bar = `[${'#'.repeat(filled)}${'.'.repeat(BAR_COLUMNS - filled)}]`;
  const rate =
    bytes.done > 0 && elapsedMs > 0 ? `${(bytes.done / MB / (elapsedMs / 1000)).toFixed(0)} MB/s` : '';
  const counts = `map ${maps.done}/${maps.of}  reduce ${reduces.done}/${reduces.of}`;
  const tasks = phase === 'queued' ? 'waits for other jobs' : counts;
  const left =
    elapsedMs >= FORESEE_MS_MIN && fraction > 0
      ? `${duration((elapsedMs / fraction) * (1 - fraction))} left`
      : '';
  const parts = [bar, tasks, rate, left].filter((part) => part !== '');
  return parts.join('  ').slice(0, Math.max(0, columns - 1));
}

export function summaryText({ maps, reduces, bytes, counters }: Summary, elapsedMs: number): string {
  const rate = elapsedMs > 0 ? `, ${(bytes / MB / (elapsedMs / 1000)).toFixed(0)} MB/s` : '';
  const head = `${(bytes / MB).toFixed(1)} MB in ${(elapsedMs / 1000).toFixed(1)} s${rate}: ${count(maps, 'map task')}, ${count(reduces, 'reduce task')}`;
  const names = Object.keys(counters).sort();
  const width = Math.max(0, ...names.map((name) => name.length));
  return `${[head, ...names.map((name) => `  ${name.padEnd(width)}  ${counters[name]}`)].join('\n')}\n`;
}

function count(tasks: number, what: string): string {
  return `${tasks} ${what}${tasks === 1 ? '' : 's'}`;
}

function share({ done, of }: Tasks): number {
  return of === 0 ? 1 : done / of;
}

function duration(ms: number): string {
  const seconds = Math.ceil(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  const [minutes, hours] = [Math.floor(seconds / 60), Math.floor(seconds / 3600)];
  return hours > 0 ? `${hours} h ${minutes % 60} min` : `${minutes} min ${seconds % 60} s`;
}
