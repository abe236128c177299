import { expect, test } from 'vitest';
import { LatencyMonitor } from '../../src/server/latency-monitor.ts';

/** A clock that is set by hand, with the one timer that the monitor has. */
function monitored(thresholdMs: number) {
  const time = { monotonicMs: 0, wallMs: 1_700_000_000_000 };
  let timer: { readonly dueMs: number; readonly callback: () => void } | undefined;
  const monitor = new LatencyMonitor(
    {
      monotonicMs: () => time.monotonicMs,
      wallMs: () => time.wallMs,
      after: (delayMs, callback) => {
        const own = { dueMs: time.monotonicMs + delayMs, callback };
        timer = own;
        return {
          cancel: () => {
            if (timer === own) timer = undefined;
          },
        };
      },
      endOfTurn: () => {},
    },
    thresholdMs,
  );
  /** The timer comes so late. */
  const beat = (lateMs: number) => {
    time.monotonicMs = timer!.dueMs + lateMs;
    timer!.callback();
  };
  return { monitor, time, beat, isWatching: () => timer !== undefined };
}

test('the longest delay of each second is kept, and the longest of all', () => {
  const { monitor, time } = monitored(10);
  for (const [atMs, latencyMs] of [
    [0, 20.9],
    [500, 50],
    [999, 30],
    [1000, 15],
    [5000, 12],
  ] as const) {
    time.wallMs = 1_700_000_000_000 + atMs;
    monitor.add('command', latencyMs);
  }
  expect(monitor.events.get('command')).toEqual({
    samples: [
      { atSeconds: 1_700_000_000, latencyMs: 50 },
      { atSeconds: 1_700_000_001, latencyMs: 15 },
      { atSeconds: 1_700_000_005, latencyMs: 12 },
    ],
    maxMs: 50,
  });
  expect([monitor.reset('command'), monitor.reset('command')]).toEqual([true, false]);
  expect(monitor.events.size).toBe(0);
});

test('no more than 160 samples of an event are kept', () => {
  const { monitor, time } = monitored(10);
  for (let i = 0; i < 1000; i++) {
    time.wallMs += 1000;
    monitor.add('fast-command', 1000 - i);
  }
  const { samples, maxMs } = monitor.events.get('fast-command')!;
  expect(samples).toHaveLength(160);
  expect([samples[0]!.latencyMs, samples.at(-1)!.latencyMs, maxMs]).toEqual([160, 1, 1000]);
});

test('the event loop is watched while there is a threshold, and a late timer is an event', () => {
  const { monitor, beat, isWatching } = monitored(0);
  expect([isWatching(), monitor.isLate(1e9)]).toEqual([false, false]);
  monitor.thresholdMs = 100;
  for (const lateMs of [1, 99, 100.5, 2]) beat(lateMs);
  expect(monitor.events.get('event-loop')).toMatchObject({ maxMs: 100, samples: [{ latencyMs: 100 }] });
  monitor.thresholdMs = 200;
  beat(150);
  expect(monitor.events.get('event-loop')).toMatchObject({ maxMs: 100 });
  monitor.thresholdMs = 0;
  expect(isWatching()).toBe(false);
  monitor.thresholdMs = 5;
  expect(isWatching()).toBe(true);
  monitor.stop();
  expect(isWatching()).toBe(false);
});
