/** Plays recorded requests to a front end over an in-memory namespace whose clock stands still. */
import type { Clock } from '../../src/base/clock.js';
import { FuseFrontEnd } from '../../src/frontend/fuse/front-end.js';
import { FakeChannel, settled } from './fake-channel.js';
import { MemoryNamespace } from './memory-namespace.js';

/** 2001-09-09 01:46:40.123456789 UTC, always. */
export const standingClock: Clock = {
  monotonicMs: () => 0,
  now: () => ({ seconds: 1e9, nanoseconds: 123456789 }),
  after: () => () => undefined,
  sleep: () => new Promise(() => undefined),
  yield: () => Promise.resolve(),
};

/** Replies to `requests`, in their order; undefined where none is due. */
export async function play(requests: readonly Buffer[]): Promise<(Buffer | undefined)[]> {
  const channel = new FakeChannel();
  const frontEnd = new FuseFrontEnd({
    namespace: new MemoryNamespace(standingClock),
    channel,
    validity: { entrySeconds: 3600, attributeSeconds: 7200 },
    clock: standingClock,
    log: () => undefined,
    invalidate: () => undefined,
  });
  frontEnd.ready.catch(() => undefined);
  const replies: (Buffer | undefined)[] = [];
  for (const request of requests) {
    const before = channel.replies.length;
    frontEnd.deliver(channel.put([request]));
    await settled();
    if (channel.replies.length > before + 1) throw new Error('two replies to one request');
    replies.push(channel.replies[before]);
  }
  return replies;
}
