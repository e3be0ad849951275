/** When replicas are fed: late, together, and not again and again with the little that came meanwhile. */
import t from 'tap';
import { LOG_AHEAD_BYTES_MAX, REPLICA_INTERVAL_MS } from '../../src/base/limits.js';
import { ReplicaFeeder, type FedVoter } from '../../src/quorum/replica-feeder.js';
import { ManualClock } from '../disk/manual-clock.js';

class FakeVoter implements FedVoter {
  online = true;
  position = 0;
  applicable = 0;
  /** Where each feed was to end. */
  readonly feeds: number[] = [];
  #end = 0;
  #done: (() => void) | undefined;

  replicaBehind(end: number): boolean {
    return this.position < Math.min(end, this.applicable);
  }

  feedReplica(end = Infinity): Promise<void> {
    this.#end = Math.min(end, this.applicable);
    this.feeds.push(this.#end);
    return new Promise((resolve) => {
      this.#done = resolve;
    });
  }

  /** The feed that is under way ends. */
  async applied(): Promise<void> {
    this.position = this.#end;
    this.#done?.();
    this.#done = undefined;
    await new Promise(setImmediate);
  }
}

function world(count: number): {
  readonly voters: FakeVoter[];
  readonly history: { windowBase: number; windowBytes: number };
  readonly clock: ManualClock;
  readonly feeder: ReplicaFeeder;
  /** So many entries are durable; this much is in memory. */
  readonly durable: (position: number, share: number) => void;
} {
  const voters = Array.from({ length: count }, () => new FakeVoter());
  const history = { windowBase: 0, windowBytes: 0 };
  const clock = new ManualClock();
  const feeder = new ReplicaFeeder({
    clock,
    history,
    voters: { all: voters },
    // As the log does: what a majority has leaves memory.
    moved: () => {
      const positions = voters.map(({ position }) => position).sort((a, b) => b - a);
      const most = positions[Math.floor(count / 2)] ?? 0;
      if (most > history.windowBase) history.windowBytes = 0;
      history.windowBase = most;
    },
  });
  const durable = (position: number, share: number): void => {
    for (const voter of voters) voter.applicable = position;
    history.windowBytes = LOG_AHEAD_BYTES_MAX * share;
    feeder.inTime();
  };
  t.teardown(() => {
    feeder.stop();
  });
  return { voters, history, clock, feeder, durable };
}

const feedsOf = (voters: readonly FakeVoter[]): number[][] => voters.map(({ feeds }) => feeds);

t.test('little waits for more, and for the interval at most', async (test) => {
  const { voters, clock, durable } = world(3);
  durable(10, 0.2);
  durable(20, 0.4);
  test.same(feedsOf(voters), [[], [], []]);
  await clock.advance(REPLICA_INTERVAL_MS - 1);
  test.same(feedsOf(voters), [[], [], []]);
  await clock.advance(1);
  test.same(feedsOf(voters), [[20], [20], [20]]);
});

t.test('what comes during a feed waits for the next one', async (test) => {
  const { voters, clock, durable } = world(3);
  durable(100, 0.6);
  for (let position = 101; position <= 105; position++) durable(position, 0.6);
  test.same(feedsOf(voters), [[100], [100], [100]]);
  for (const voter of voters) await voter.applied();
  test.same(feedsOf(voters), [[100], [100], [100]], 'all is applied but for five entries: no batch is made for them');
  await clock.advance(REPLICA_INTERVAL_MS);
  test.same(feedsOf(voters), [
    [100, 105],
    [100, 105],
    [100, 105],
  ]);
});

t.test('much that came during a feed is fed at its end', async (test) => {
  const { voters, history, durable } = world(1);
  durable(100, 0.6);
  durable(300, 0.7);
  history.windowBase = 100;
  await voters[0]?.applied();
  test.same(feedsOf(voters), [[100, 300]]);
});

t.test('those that are nearly as far as the others are given the same entries', async (test) => {
  const { voters, feeder } = world(3);
  for (const [at, voter] of voters.entries()) voter.applicable = [100, 97, 100][at] ?? 0;
  feeder.now();
  test.same(feedsOf(voters), [[97], [97], [97]]);
});

t.test('one that is far behind holds up nobody', async (test) => {
  const { voters, feeder } = world(3);
  for (const [at, voter] of voters.entries()) voter.applicable = [100, 20, 100][at] ?? 0;
  feeder.now();
  test.same(feedsOf(voters), [[100], [20], [100]]);
});

t.test('when memory is short each goes as far as it can', async (test) => {
  const { voters, history, feeder } = world(3);
  for (const [at, voter] of voters.entries()) voter.applicable = [100, 97, 100][at] ?? 0;
  history.windowBytes = LOG_AHEAD_BYTES_MAX * 0.8;
  feeder.now();
  test.same(feedsOf(voters), [[100], [97], [100]]);
});

t.test('one that hangs holds up the others only until memory is short', async (test) => {
  const { voters, feeder, durable } = world(3);
  const [first, second] = voters;
  durable(100, 0.6);
  await first?.applied();
  await second?.applied();
  durable(200, 0.6);
  test.same(feedsOf(voters), [[100], [100], [100]]);
  durable(210, 0.8);
  test.same(feedsOf(voters), [[100, 210], [100, 210], [100]]);
  await first?.applied();
  await second?.applied();
  durable(300, 0.6);
  test.same(feedsOf(voters), [[100, 210], [100, 210], [100]]);
  feeder.now(true);
  test.same(feedsOf(voters), [[100, 210, 300], [100, 210, 300], [100]], 'somebody waits for room');
});

t.test('one that hangs holds up the others no longer than the interval', async (test) => {
  const { voters, clock, durable } = world(3);
  const [first, second, third] = voters;
  durable(100, 0.6);
  await first?.applied();
  await second?.applied();
  durable(200, 0.2);
  if (third) third.applicable = 150;
  test.same(feedsOf(voters), [[100], [100], [100]]);
  await clock.advance(REPLICA_INTERVAL_MS);
  test.same(feedsOf(voters), [[100, 200], [100, 200], [100]]);
});

t.test('one that has all that the others let it have is not asked for ever', async (test) => {
  const { voters, history, feeder } = world(2);
  const [first, second] = voters;
  for (const [at, voter] of voters.entries()) voter.applicable = [100, 97][at] ?? 0;
  history.windowBytes = LOG_AHEAD_BYTES_MAX * 0.6;
  feeder.now();
  await first?.applied();
  test.same(feedsOf(voters), [[97], [97]]);
  await second?.applied();
  history.windowBytes = LOG_AHEAD_BYTES_MAX * 0.6;
  feeder.inTime();
  test.same(feedsOf(voters), [[97, 100], [97]], 'alone it goes on');
});

t.test('who is not there is not fed, and nobody after the end', async (test) => {
  const { voters, clock, feeder, durable } = world(3);
  const [first] = voters;
  if (first) first.online = false;
  durable(100, 0.2);
  await clock.advance(REPLICA_INTERVAL_MS);
  test.same(feedsOf(voters), [[], [100], [100]]);
  durable(200, 0.2);
  feeder.stop();
  await clock.advance(2 * REPLICA_INTERVAL_MS);
  test.same(feedsOf(voters), [[], [100], [100]]);
});
