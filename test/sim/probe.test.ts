import { test } from 'vitest';
import { keyModel, runOnStore } from './kv-models.ts';
import { checkLinearizable } from './linearizability.ts';
test('probe', () => {
  for (const [count, width, unknownOf, n] of [[500,8,0,3],[500,4,0,3],[500,8,50,3],[500,4,50,3],[2000,4,50,3],[2000,4,50,2],[5000,4,0,3]] as const) {
    let seed = 1;
    const below = (b: number) => { seed = (seed * 48271) % 2147483647; return seed % b; };
    let store: any = new Map();
    const h: any[] = [];
    for (let at = 0; at < count; at++) {
      const c: any = [{name:'GET',key:'a'},{name:'SET',key:'a',value:`${at};`},{name:'APPEND',key:'a',value:`${at};`}][below(n)];
      const [after, reply] = runOnStore(store, c); store = after;
      const unk = unknownOf > 0 && below(unknownOf) === 0;
      h.push({client:0, callMs: at-below(width), returnMs: unk ? Infinity : at+below(width), op: {...c, reply: unk ? undefined : reply}});
    }
    const t = Date.now();
    const v = checkLinearizable(keyModel, h, {stepsMax: 300000});
    console.log(count, width, unknownOf, n, v.outcome, v.steps, Date.now()-t, 'ms', h.filter(x=>x.returnMs===Infinity).length);
  }
});
