/** The window of one follower against a plain list. */
import { expect, test } from 'vitest';
import { DEFAULT_LIMITS } from '../../src/raft/limits.ts';
import { Progress } from '../../src/raft/progress.ts';
import { SimRandom } from '../sim/random.ts';

test('the window holds what was sent and not acknowledged, is full at its bounds, and match < next always', () => {
  for (let seed = 1; seed <= 300; seed++) {
    const random = new SimRandom(seed);
    const limits = {
      ...DEFAULT_LIMITS,
      inflightMessagesMax: 1 + random.below(5),
      inflightBytesMax: 500,
      appendBytesMax: 100,
    };
    let nowMs = 0;
    const progress = new Progress({ nextIndex: 1 + random.below(20), contactMs: nowMs, limits });
    let inflight: { last: number; bytes: number }[] = [];
    let match = 0;
    for (let step = 0; step < 200; step++) {
      nowMs += random.below(30);
      switch (random.below(6)) {
        case 0:
        case 1:
        case 2: {
          if (progress.paused) break;
          const last = progress.nextIndex + random.below(4) - 1;
          const bytes = 1 + random.below(200);
          if (progress.state === 'replicate' && last >= progress.nextIndex) inflight.push({ last, bytes });
          progress.sent(last, bytes, nowMs);
          break;
        }
        case 3: {
          const index = random.below(progress.nextIndex);
          const news = progress.acknowledged(index, nowMs);
          expect(news).toBe(index > match);
          match = Math.max(match, index);
          inflight = inflight.filter(({ last }) => last > index);
          break;
        }
        case 4: {
          const before = progress.nextIndex;
          if (progress.refused(random.below(before + 2), random.below(before + 2))) inflight = [];
          break;
        }
        default: {
          if (random.chance(0.3)) {
            progress.becomeProbe();
            inflight = [];
          } else if (progress.stalled(nowMs)) {
            progress.lossSuspected(nowMs);
          }
        }
      }
      const bytes = inflight.reduce((sum, sent) => sum + sent.bytes, 0);
      expect(progress.matchIndex).toBe(match);
      expect(progress.nextIndex).toBeGreaterThan(match);
      expect(progress.inflightCount).toBe(inflight.length);
      expect(progress.windowFull).toBe(
        inflight.length >= limits.inflightMessagesMax || bytes >= limits.inflightBytesMax,
      );
      if (progress.state === 'probe') expect(progress.paused).toBe(progress.probeSent);
    }
  }
});
