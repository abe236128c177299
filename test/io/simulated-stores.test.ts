/** The stores that stand for classic-level in other tests do as it does. */

import type { Store } from '../../src/lib/env.ts';
import { InUseError } from '../../src/lib/errors.ts';
import { MemoryStore } from '../kv/memory-store.ts';
import { GOOD_DISK } from '../sim/disk.ts';
import { SimRandom } from '../sim/random.ts';
import { Scheduler } from '../sim/scheduler.ts';
import { SimStore } from '../sim/store.ts';
import { storeConformance } from './store-conformance.ts';

/** One store, which can be held once. */
function heldOnce(open: () => Store): () => Promise<Store> {
  let held = false;
  return async () => {
    if (held) throw new InUseError('the store is in use');
    held = true;
    const store = open();
    const close = store.close.bind(store);
    store.close = async () => {
      await close();
      held = false;
    };
    return store;
  };
}

storeConformance('The store in memory', async () => {
  const entries = new Map<string, Uint8Array>();
  let store = new MemoryStore(entries);
  const open = heldOnce(() => {
    store = new MemoryStore(entries);
    return store;
  });
  return {
    stores: { open },
    path: 'store',
    until: async (promise) => {
      store.drain();
      return promise;
    },
    end: async () => {},
  };
});

storeConformance('The simulated store', async () => {
  const scheduler = new Scheduler();
  const store = new SimStore(scheduler, new SimRandom(1), GOOD_DISK);
  const life = { alive: true, paused: false, held: [] };
  return {
    stores: { open: heldOnce(() => store.open(life)) },
    path: 'store',
    until: async (promise) => {
      await scheduler.run(Number.POSITIVE_INFINITY);
      return promise;
    },
    end: async () => {},
  };
});
