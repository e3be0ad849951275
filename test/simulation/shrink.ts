/** Makes a failing history short: leaves out steps, many at first, as long as it still fails in the same way. */
import { run } from './driver.js';
import type { History } from './history.js';
import type { Mutation } from './mutations.js';
import { Violation } from './violation.js';

/** Histories that are tried at most. */
const RUNS_MAX = 250;

function kindOf(error: Error): string {
  return error instanceof Violation ? error.rule : error.name;
}

export async function shrink(history: History, error: Error, mutation?: Mutation): Promise<{ history: History; error: Error }> {
  let best = { history, error };
  let runs = 0;
  for (let chunk = Math.ceil(history.steps.length / 2); chunk >= 1; chunk = chunk === 1 ? 0 : Math.ceil(chunk / 2))
    for (let at = 0; at < best.history.steps.length && runs < RUNS_MAX;) {
      const { steps } = best.history;
      const fewer = { ...best.history, steps: [...steps.slice(0, at), ...steps.slice(at + chunk)] };
      const result = await run(fewer, mutation);
      runs++;
      if (result.error !== undefined && kindOf(result.error) === kindOf(error)) best = { history: fewer, error: result.error };
      else at += chunk;
    }
  return best;
}
