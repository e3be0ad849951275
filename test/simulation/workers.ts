/** Runs histories in a few processes at the same time. A history is the same wherever it runs. */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { run, type Result } from './driver.js';
import type { History } from './history.js';

const WORKER = fileURLToPath(new URL('./worker.js', import.meta.url));

export interface Ran {
  readonly history: History;
  readonly result: Result;
}

async function runIn(child: ChildProcess, history: History): Promise<Result> {
  child.send(history);
  const ended = new AbortController();
  try {
    return await Promise.race([
      once(child, 'message', { signal: ended.signal }).then(([result]) => result as Result),
      once(child, 'exit', { signal: ended.signal }).then(([code]) => {
        throw new Error(`the process that runs seed ${history.seed} has ended with ${code}`);
      }),
    ]);
  } finally {
    ended.abort();
  }
}

/** Runs them in so many processes; the results come as they are there. One that fails has lost the class of its error on the way. */
export async function* runAll(histories: Iterator<History>, processes: number): AsyncGenerator<Ran, void, undefined> {
  if (processes <= 1) {
    for (let next = histories.next(); next.done !== true; next = histories.next())
      yield { history: next.value, result: await run(next.value) };
    return;
  }
  const children = Array.from({ length: processes }, () => fork(WORKER, { serialization: 'advanced', execArgv: process.execArgv }));
  const running = new Map<ChildProcess, Promise<Ran & { readonly child: ChildProcess }>>();
  const begin = (child: ChildProcess): void => {
    const next = histories.next();
    if (next.done === true) running.delete(child);
    else
      running.set(
        child,
        runIn(child, next.value).then((result) => ({ history: next.value, result, child })),
      );
  };
  try {
    children.forEach(begin);
    while (running.size > 0) {
      const { child, history, result } = await Promise.race(running.values());
      begin(child);
      yield { history, result };
    }
  } finally {
    for (const promise of running.values()) promise.catch(() => undefined);
    for (const child of children) child.kill();
  }
}
