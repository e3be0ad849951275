/** When replicas are fed: late, by whole stretches, and not again and again with the little that came meanwhile. */
import t from 'tap';
import { LOG_STRETCHES_BEHIND_MAX, REPLICA_INTERVAL_MS } from '../../src/base/limits.js';
import { ReplicaFeeder, type FedVoter } from '../../src/quorum/replica-feeder.js';
import { ManualClock } from '../disk/manual-clock.js';

class FakeVoter implements FedVoter {
  online = true;
  replicaPosition = 0;
  applicable = 0;
  /** Where each feed was to end. */
  readonly feeds: number[] = [];
  #end = 0;
  #done: (() => void) | undefined;

  replicaBehind(end: number): boolean {
    return this.replicaPosition < Math.min(end, this.applicable);
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
    this.replicaPosition = this.#end;
    this.#done?.();
    this.#done = undefined;
    await new Promise(setImmediate);
  }
}

/** Each hundred entries are a stretch. */
function world(count: number): {
  readonly voters: FakeVoter[];
  readonly clock: ManualClock;
  readonly feeder: ReplicaFeeder;
  readonly moves: () => number;
  /** So many entries are durable; the last voter's log has `late` of them. */
  readonly durable: (position: number, late?: number) => void;
} {
  const voters = Array.from({ length: count }, () => new FakeVoter());
  const clock = new ManualClock();
  let head = 0;
  let moves = 0;
  const feeder = new ReplicaFeeder({
    clock,
    history: {
      lastStretchEnd: (position) => Math.floor(Math.min(position, head) / 100) * 100,
      stretchesBehind: (position) => Math.floor(head / 100) - Math.floor(position / 100),
    },
    voters: {
      all: voters,
      replicasAt: () => voters.map(({ replicaPosition }) => replicaPosition).sort((a, b) => b - a)[Math.floor(count / 2)] ?? 0,
    },
    moved: () => moves++,
  });
  const durable = (position: number, late = position): void => {
    head = position;
    for (const [at, voter] of voters.entries()) voter.applicable = at === count - 1 ? late : position;
    feeder.inTime();
  };
  t.teardown(() => {
    feeder.stop();
  });
  return { voters, clock, feeder, moves: () => moves, durable };
}

const feedsOf = (voters: readonly FakeVoter[]): number[][] => voters.map(({ feeds }) => feeds);

t.test('less than a stretch waits for more, and for the interval at most', async (test) => {
  const { voters, clock, durable } = world(3);
  durable(10);
  durable(20);
  test.same(feedsOf(voters), [[], [], []]);
  await clock.advance(REPLICA_INTERVAL_MS - 1);
  test.same(feedsOf(voters), [[], [], []]);
  await clock.advance(1);
  test.same(feedsOf(voters), [[20], [20], [20]]);
});

t.test('a stretch is fed when it is whole, and nothing of the next one', async (test) => {
  const { voters, clock, moves, durable } = world(3);
  durable(99);
  test.same(feedsOf(voters), [[], [], []]);
  durable(105);
  for (let position = 106; position <= 110; position++) durable(position);
  test.same(feedsOf(voters), [[100], [100], [100]]);
  for (const voter of voters) await voter.applied();
  test.equal(moves(), 3);
  test.same(feedsOf(voters), [[100], [100], [100]], 'all is applied but for ten entries: no batch is made for them');
  await clock.advance(REPLICA_INTERVAL_MS);
  test.same(feedsOf(voters), [
    [100, 110],
    [100, 110],
    [100, 110],
  ]);
  for (const voter of voters) await voter.applied();
  durable(205);
  test.same(feedsOf(voters)[0], [100, 110, 200], 'and then stretches end where they did for all');
});

t.test('whole stretches that came during a feed are fed at its end', async (test) => {
  const { voters, durable } = world(1);
  durable(100);
  durable(350);
  test.same(feedsOf(voters), [[100]]);
  await voters[0]?.applied();
  test.same(feedsOf(voters), [[100, 300]]);
});

t.test('one whose log is late holds up nobody, nor does one that hangs', async (test) => {
  const { voters, durable } = world(3);
  const [first, second, third] = voters;
  durable(100, 70);
  test.same(feedsOf(voters), [[100], [100], []], 'its log has no whole stretch');
  await first?.applied();
  await second?.applied();
  durable(150);
  test.same(feedsOf(voters), [[100], [100], [100]]);
  durable(200);
  test.same(feedsOf(voters), [[100, 200], [100, 200], [100]], 'now it hangs');
  await first?.applied();
  await second?.applied();
  await third?.applied();
  test.same(feedsOf(voters), [
    [100, 200],
    [100, 200],
    [100, 200],
  ]);
});

t.test('they are too far behind when a majority lacks several stretches', async (test) => {
  const { voters, feeder, durable } = world(3);
  durable(100 * LOG_STRETCHES_BEHIND_MAX + 99);
  test.notOk(feeder.behind);
  durable(100 * LOG_STRETCHES_BEHIND_MAX + 100);
  test.ok(feeder.behind);
  await voters[0]?.applied();
  test.ok(feeder.behind, 'one of three is no majority');
  await voters[2]?.applied();
  test.notOk(feeder.behind);
});

t.test('who is not there is not fed, and nobody after the end', async (test) => {
  const { voters, clock, feeder, durable } = world(3);
  const [first] = voters;
  if (first) first.online = false;
  durable(20);
  await clock.advance(REPLICA_INTERVAL_MS);
  test.same(feedsOf(voters), [[], [20], [20]]);
  durable(30);
  feeder.stop();
  await clock.advance(2 * REPLICA_INTERVAL_MS);
  test.same(feedsOf(voters), [[], [20], [20]]);
});
