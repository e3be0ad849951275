/** Whether work on the main thread lets others have their turn. */
import type { Awaitable } from '../../src/base/awaitable.js';

/** How often the event loop goes round until `work` is done: promises that resolve at once do not let it. */
export async function turnsDuring(work: () => Awaitable<unknown>): Promise<number> {
  let turns = 0;
  let over = false;
  const turn = (): void => {
    turns++;
    if (!over) setImmediate(turn);
  };
  setImmediate(turn);
  try {
    await work();
  } finally {
    over = true;
  }
  return turns;
}
