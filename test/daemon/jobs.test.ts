/** The runner of long jobs: one of each kind, turns, pauses, what survives a restart, and how a run ends. */
import t from 'tap';
import { systemClock } from '../../src/base/clock.js';
import { OperatingError } from '../../src/base/errors.js';
import { JobRunner } from '../../src/daemon/jobs.js';
import type { JobContext, JobKind } from '../../src/durability/job.js';
import type { LogEntry } from '../../src/quorum/state-machine.js';
import { indexAfter } from '../namespace/fixture.js';

/** A job that counts to `steps`, one step each time that it is let. */
class Counting implements JobKind {
  steps = 3;
  failing: OperatingError | undefined;
  /** Steps that may be made now. */
  allowed = 0;
  /** Where runs began. */
  readonly begun: number[] = [];
  options: Readonly<Record<string, unknown>> = {};

  constructor(
    readonly kind: string,
    readonly turn: number | undefined,
    readonly readsOnly = false,
  ) {}

  check({ bad }: Readonly<Record<string, unknown>>): void {
    if (bad === true) throw new OperatingError('EINVAL', 'bad option');
  }

  async run(context: JobContext): Promise<unknown> {
    let at = typeof context.cursor === 'number' ? context.cursor : 0;
    this.begun.push(at);
    context.progress.totalItems = this.steps;
    while (at < this.steps) {
      while (this.allowed === 0) {
        await context.checkpoint();
        await systemClock.yield();
      }
      await context.checkpoint();
      this.allowed--;
      if (this.failing !== undefined) throw this.failing;
      context.progress.advance(0, 1);
      this.options = context.options;
      await context.save(++at);
    }
    return { counted: at };
  }
}

function runner(entries: readonly LogEntry[] = [], readOnly = false): { jobs: JobRunner; entries: readonly LogEntry[] } {
  const { index, log } = indexAfter(entries);
  const jobs = new JobRunner({ index, clock: systemClock, log: () => undefined, readOnly });
  return {
    jobs,
    get entries() {
      return [...entries, ...log.entries];
    },
  };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await systemClock.yield();
}

t.test('a job runs to its end, and its result stays', async (test) => {
  const rig = runner();
  const job = new Counting('count', 1);
  rig.jobs.register(job);
  await rig.jobs.begin();
  test.equal(rig.jobs.status('count').state, 'idle');
  await rig.jobs.start('count');
  await until(() => rig.jobs.status('count').state === 'running');
  await rig.jobs.start('count', { rate: 5 });
  test.equal(job.begun.length, 1, 'a second start makes no second run');
  job.allowed = 3;
  await until(() => rig.jobs.status('count').state === 'done');
  test.same(job.options, { rate: 5 }, 'but its options count');
  test.match(rig.jobs.status('count'), { doneItems: 3, result: { counted: 3 }, secondsLeft: null });
  const { job: answer, history } = await rig.jobs.request('count', 'status');
  test.equal(answer.state, 'done');
  test.match(history, [{ outcome: 'done', result: { counted: 3 } }]);
  await test.rejects(rig.jobs.start('nothing'), { code: 'EINVAL' });
  await test.rejects(rig.jobs.start('count', { bad: true }), { code: 'EINVAL' });
  await test.rejects(rig.jobs.request('count', 'pause'), { code: 'ENOENT' });

  const next = runner(rig.entries);
  next.jobs.register(new Counting('count', 1));
  await next.jobs.begin();
  test.match(next.jobs.status('count'), { state: 'done', doneItems: 3, result: { counted: 3 } }, 'also in the next process');
});

t.test('an error is the state failed with its message, and the next run begins anew', async (test) => {
  const { jobs } = runner();
  const job = new Counting('count', 1);
  jobs.register(job);
  await jobs.begin();
  job.failing = new OperatingError('EIO', 'the disk is gone');
  job.allowed = 1;
  await jobs.start('count');
  await until(() => jobs.status('count').state === 'failed');
  test.match(jobs.status('count'), { message: 'the disk is gone', result: null });
  job.failing = undefined;
  job.allowed = 3;
  await jobs.start('count');
  await until(() => jobs.status('count').state === 'done');
  test.same(job.begun, [0, 0]);
  test.same(
    jobs.history('count').map(({ outcome }) => outcome),
    ['done', 'failed'],
  );
});

t.test('pause, resume, cancel', async (test) => {
  const { jobs } = runner();
  const job = new Counting('count', 1);
  jobs.register(job);
  await jobs.begin();
  await jobs.start('count');
  await jobs.request('count', 'pause');
  await until(() => jobs.status('count').state === 'paused');
  job.allowed = 3;
  for (let turn = 0; turn < 10; turn++) await systemClock.yield();
  test.equal(jobs.status('count').doneItems, 0, 'paused means paused');
  await jobs.request('count', 'resume');
  await until(() => jobs.status('count').state === 'done');
  await jobs.start('count');
  await jobs.request('count', 'pause');
  await until(() => jobs.status('count').state === 'paused');
  test.equal((await jobs.request('count', 'cancel')).job.state, 'cancelled');
  await jobs.cancel('count');
});

t.test('one that moves data at a time, the more important first', async (test) => {
  const { jobs } = runner();
  const kinds = { scrub: new Counting('scrub', 1), heal: new Counting('heal', 4), check: new Counting('check', undefined) };
  for (const kind of Object.values(kinds)) jobs.register(kind);
  await jobs.begin();
  const states = (): string[] => jobs.all().map(({ state }) => state);
  await jobs.start('scrub');
  await until(() => states()[0] === 'running');
  await jobs.start('heal');
  await jobs.start('check');
  await until(() => states().join() === 'waiting,running,running');
  test.pass('scrub gave its turn to heal, check runs beside them');
  await jobs.request('heal', 'pause');
  await until(() => states().join() === 'running,paused,running');
  test.pass('a paused job holds nobody up');
  await jobs.request('heal', 'resume');
  await until(() => states().join() === 'waiting,running,running');
  await jobs.cancel('scrub');
  test.same(states(), ['cancelled', 'running', 'running'], 'one that waits can be cancelled');
  kinds.heal.allowed = 3;
  await until(() => states()[1] === 'done');
  await jobs.cancel('check');
});

t.test('a run goes on in the next process, from where it stood', async (test) => {
  const first = runner();
  const job = new Counting('count', 1);
  first.jobs.register(job);
  await first.jobs.begin();
  await first.jobs.start('count', { rate: 7 });
  job.allowed = 2;
  await until(() => first.jobs.status('count').doneItems === 2);
  await first.jobs.stop();
  test.equal(first.jobs.history('count').length, 0, 'it has not ended');

  const second = runner(first.entries);
  const again = new Counting('count', 1);
  again.allowed = 1;
  second.jobs.register(again);
  await second.jobs.begin();
  await until(() => second.jobs.status('count').state === 'done');
  test.same(again.begun, [2]);
  test.same(again.options, { rate: 7 });
  test.equal(second.jobs.status('count').doneItems, 3);

  const third = runner(second.entries);
  const none = new Counting('count', 1);
  third.jobs.register(none);
  await third.jobs.begin();
  test.same(none.begun, [], 'what has ended is not carried on');
});

t.test('a paused run is paused in the next process too', async (test) => {
  const first = runner();
  first.jobs.register(new Counting('count', 1));
  await first.jobs.begin();
  await first.jobs.start('count');
  await first.jobs.request('count', 'pause');
  await first.jobs.stop();
  const second = runner(first.entries);
  second.jobs.register(new Counting('count', 1));
  await second.jobs.begin();
  await until(() => second.jobs.status('count').state === 'paused');
  await second.jobs.stop();
  test.end();
});

t.test('a read-only pool runs what only reads', async (test) => {
  const rig = runner([], true);
  const check = new Counting('check', undefined, true);
  check.allowed = 3;
  rig.jobs.register(check);
  rig.jobs.register(new Counting('scrub', 1));
  await rig.jobs.begin();
  await test.rejects(rig.jobs.start('scrub'), { code: 'EROFS' });
  await rig.jobs.start('check');
  await until(() => rig.jobs.status('check').state === 'done');
  test.equal(rig.entries.length, 0, 'and writes no rows');
});

t.test('only the last runs are remembered', async (test) => {
  const rig = runner();
  const job = new Counting('count', undefined);
  job.steps = 0;
  rig.jobs.register(job);
  await rig.jobs.begin();
  for (let run = 0; run < 13; run++) {
    await rig.jobs.start('count');
    await until(() => !rig.jobs.isActive('count'));
  }
  test.equal(rig.jobs.history('count').length, 10);
  const next = runner(rig.entries);
  next.jobs.register(job);
  await next.jobs.begin();
  test.equal(next.jobs.history('count').length, 10);
});
