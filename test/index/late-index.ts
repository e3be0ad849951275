/** An index that answers nothing at once, as an engine on another machine would: whoever has to wait for it does so. */
import type { IndexStore } from '../../src/index/index-store.js';
import { over } from '../simulation/over.js';

/** The same index; each answer is a promise. */
export function lateIndex(index: IndexStore): IndexStore {
  return over(index, {
    get: async (key) => index.get(key),
    scan: async (range) => index.scan(range),
    transact: async (body) =>
      index.transact((tx) => body(over(tx, { get: async (key) => tx.get(key), scan: async (range) => tx.scan(range) }))),
  });
}
