/**
 * What comes at once or later. A promise costs as much as what most of our calls do, and the garbage that it becomes costs it again: where the answer lies
 * in memory it is given as it is, and where it has to be fetched, as a promise. `await` takes both. A function that returns one may throw, too, instead of
 * returning a promise that rejects.
 */
export type Awaitable<T> = T | Promise<T>;

/** Goes on with `use`: at once where the value is there. */
export function when<T, U>(value: Awaitable<T>, use: (value: T) => Awaitable<U>): Awaitable<U> {
  return value instanceof Promise ? value.then(use) : use(value);
}

/** Does `step` again and again, as long as it says true. */
export function repeat(step: () => Awaitable<boolean>): Awaitable<void> {
  for (;;) {
    const more = step();
    if (more instanceof Promise) return more.then((goesOn) => (goesOn ? repeat(step) : undefined));
    if (!more) return;
  }
}

/** Does `act` for one item after the other. */
export function each<T>(items: Iterable<T>, act: (item: T) => Awaitable<void>): Awaitable<void> {
  const iterator = items[Symbol.iterator]();
  return repeat(() => {
    const next = iterator.next();
    return next.done !== true && when(act(next.value), () => true);
  });
}

/** As try and finally: does `action`, and behind it `end`, whatever becomes of it. */
export function lastly<T>(action: () => Promise<T>, end: () => void): Promise<T>;
export function lastly<T>(action: () => Awaitable<T>, end: () => void): Awaitable<T>;
export function lastly<T>(action: () => Awaitable<T>, end: () => void): Awaitable<T> {
  let result: Awaitable<T>;
  try {
    result = action();
  } catch (error) {
    end();
    throw error;
  }
  if (result instanceof Promise)
    return result.then(
      (value) => {
        end();
        return value;
      },
      (error: unknown) => {
        end();
        throw error;
      },
    );
  end();
  return result;
}

/** As try and catch: does `action`, and where that fails, `undo`; the error goes on. */
export function undoing<T>(action: () => Awaitable<T>, undo: () => void): Awaitable<T> {
  let done = false;
  return lastly(
    () =>
      when(action(), (value) => {
        done = true;
        return value;
      }),
    () => {
      if (!done) undo();
    },
  );
}
