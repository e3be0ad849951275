/**
 * What comes at once or later. A promise costs as much as what most of our calls do: where the answer lies in memory it is given as it is, and where it has
 * to be fetched, as a promise. `await` takes both.
 */
export type Awaitable<T> = T | Promise<T>;
