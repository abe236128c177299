/** How the program is asked to end: by signals, and by the death of the process that started it. */
import { performance } from 'node:perf_hooks';

/**
 * One Ctrl-C may arrive twice: the terminal tells every process of the group, and npm or the launcher, told as well,
 * passes it on. What comes so soon after the first is not a second request.
 */
const SAME_REQUEST_MS = 1000;
const PARENT_CHECK_MS = 500;

/** Calls `stop` at the first SIGINT or SIGTERM, `hurry` at every later one. */
export function onStopSignals(stop: () => void, hurry: () => void): void {
  let firstMs: number | undefined;
  const onSignal = (): void => {
    const nowMs = performance.now();
    if (firstMs === undefined) {
      firstMs = nowMs;
      stop();
    } else if (nowMs - firstMs > SAME_REQUEST_MS) {
      hurry();
    }
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
}

/**
 * Calls `onOrphaned` once when the process that started this one is gone. A SIGTERM to npm, for one, ends npm and its
 * shell, and leaves what they started behind.
 */
export function watchParent(onOrphaned: () => void): void {
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    onOrphaned();
  }, PARENT_CHECK_MS);
  timer.unref();
}
