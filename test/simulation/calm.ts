/**
 * A calm: all disks are back, and in its time everything must be whole. What nobody can know of without reading everything is looked for as an operator would:
 * by a restart, in which recovery reads the logs of all voters, and a scrub. Then nothing is excused any more.
 *
 *   faults end ─▶ the operator is answered; jobs go on ─▶ disks that do not come back are replaced ─▶ restart, scrub ─▶ all is whole, on the media too
 *     ─▶ drained disks are empty, and leave ─▶ heal counts, check finds nothing
 */
import { must } from '../../src/base/assert.js';
import type { CheckResult } from '../../src/daemon/check-job.js';
import type { Pool } from '../../src/daemon/pool.js';
import { nextVoterStep } from '../../src/daemon/voter-placement.js';
import type { Job } from '../../src/durability/progress.js';
import type { Faults } from './faults.js';
import type { Operator } from './operator.js';
import { badShards, leftSegments, recordsOn, strandedRecords } from './oracle.js';
import { has } from './replicas.js';
import { expect, type Rule } from './violation.js';
import type { World } from './world.js';

/** Everything that can be whole again is by then: heal tries again every ten minutes at the latest. */
const CALM_MS = 30 * 60_000;
/** A disk that is not back by then will not come by itself: its superblock was lost. */
const RETURN_MS = 3 * 60_000;
/** A scrub that found what cannot be repaired yet is started again. */
const TRIES_MAX = 3;

export class Calm {
  readonly #world: World;
  readonly #faults: Faults;
  readonly #operator: Operator;
  /** Stops the pool and starts it again. */
  readonly #restart: () => Promise<void>;

  constructor(world: World, faults: Faults, operator: Operator, restart: () => Promise<void>) {
    this.#world = world;
    this.#faults = faults;
    this.#operator = operator;
    this.#restart = restart;
  }

  /** @param strandedPossible disks were out: what was freed meanwhile is found by the next start */
  async reach(strandedPossible: boolean): Promise<void> {
    const silent = this.#faults.silent.size > 0;
    await this.#resume();
    await this.#until('progress', () => (this.#operator.busy ? 'the operator was not answered' : undefined));
    // What the operator asked for last may have been to pause.
    await this.#resume();
    await this.#giveUpDead();
    if (silent || strandedPossible) await this.#restart();
    await this.#giveUpDead();
    if (silent) await this.#job('scrub', this.#pool.diskSet.membership.members.length);
    await this.#until('heal', () => this.#lacking() ?? this.#underWay());
    await this.#removeDrained();
    await this.#until('heal', () => this.#lacking() ?? this.#underWay());
    await this.#job('heal', 0);
    const { result } = await this.#job('check', 0, { depth: 'frames' });
    const { counts, total } = result as CheckResult;
    const { findings } = this.#pool.check.findings('found', 0);
    expect(total === 0, 'rows', () => `check found ${JSON.stringify(counts)}: ${findings[0]?.message ?? ''}${this.#world.describe()}`);
    this.#faults.clear();
  }

  /** Everything was deleted: in its time nothing is left on the media either, torn and stray things included. */
  async reachEmptiness(): Promise<void> {
    const { membership } = this.#world;
    const { epoch } = this.#pool.log;
    await this.#until('I10 stranded space', () => {
      const left = membership.members.flatMap(({ number }) => leftSegments(this.#world, number, epoch));
      return left.length === 0 ? undefined : `nothing is left, and there is ${left.join()}`;
    });
  }

  get #pool(): Pool {
    return must(this.#world.process?.pool, 'an open pool');
  }

  /** Lets time pass until nothing is lacking. */
  async #until(rule: Rule, lacking: () => string | undefined): Promise<void> {
    const { time } = this.#world;
    const untilMs = time.nowMs + CALM_MS;
    for (let pauseMs = 500; ; pauseMs = Math.min(2 * pauseMs, 60_000)) {
      const what = lacking();
      if (this.#operator.failure !== undefined) throw this.#operator.failure;
      if (what === undefined) return;
      expect(
        time.nowMs < untilMs,
        what.includes('stranded') ? 'I10 stranded space' : rule,
        () => `after ${CALM_MS / 60_000} minutes of calm: ${what}${this.#world.describe()}`,
      );
      await time.pass(pauseMs);
    }
  }

  async #resume(): Promise<void> {
    const { jobs } = this.#pool;
    // One that was told to pause runs on to its next checkpoint.
    for (const { kind } of jobs.all())
      if (jobs.isActive(kind)) await this.#world.within(jobs.request(kind, 'resume'), CALM_MS, `resuming ${kind}`);
  }

  #underWay(): string | undefined {
    const job = this.#operator.underWay();
    return job === undefined ? undefined : `${job.kind} is ${job.state}, ${job.message ?? 'at work'}`;
  }

  /** Disks that are gone for good, or whose superblock was damaged behind everybody's back, are replaced. */
  async #giveUpDead(): Promise<void> {
    const { dead } = this.#faults;
    const fromMs = this.#world.time.nowMs;
    await this.#until('members', () => {
      const late = this.#world.time.nowMs > fromMs + RETURN_MS;
      const out = this.#pool.diskSet.members().filter(({ disk }) => disk === undefined);
      for (const { member } of out)
        if (dead.has(member.number) || (late && this.#faults.isSilent(member.number))) this.#operator.giveUp(member);
      return out.map(({ member, reason }) => `disk ${member.number} is ${member.state} and out: ${reason?.message ?? ''}`)[0];
    });
  }

  /** Runs a job to its end, and again while it says that something is left. */
  async #job(kind: string, tries: number, options = {}): Promise<Job> {
    const { jobs } = this.#pool;
    const ended = (): string | undefined => (jobs.isActive(kind) ? `${kind} is ${jobs.status(kind).state}` : undefined);
    for (let left = Math.min(tries, TRIES_MAX); ; left--) {
      // One that is under way may have passed by what went wrong since.
      await this.#until('jobs', ended);
      await this.#world.within(jobs.start(kind, options), CALM_MS, `starting ${kind}`);
      await this.#until('jobs', ended);
      const job = jobs.status(kind);
      if (job.state === 'done') return job;
      expect(
        left > 0,
        'jobs',
        () => `${kind} is ${job.state}: ${job.message ?? ''} ${JSON.stringify(job.result)}${this.#world.describe()}`,
      );
    }
  }

  /** What is not whole yet; undefined: all is. */
  #lacking(): string | undefined {
    const world = this.#world;
    const { log, working } = must(world.process, 'a process');
    const { diskSet } = this.#pool;
    if (log === undefined || working === undefined) return 'the pool is not open';
    for (const { member, disk, reason } of diskSet.members())
      if (disk === undefined) return `disk ${member.number} is ${member.state} and out: ${reason?.message ?? ''}`;
    const votes = diskSet.membership.members.flatMap(({ number, voter }) => (voter ? [number] : [])).join();
    const counted = log
      .voters()
      .map(({ number }) => number)
      .sort((a, b) => a - b)
      .join();
    if (votes !== counted) return `${votes} vote, and the log counts ${counted}`;
    const step = nextVoterStep(diskSet.membership, (number) => diskSet.disk(number) !== undefined);
    if (step !== undefined && !('witness' in step)) return `votes are to move: ${JSON.stringify(step)}`;
    for (const voter of log.voters()) if (voter.state !== 'online') return `voter ${voter.number} is ${voter.state}: ${voter.reason ?? ''}`;
    if (log.durablePosition < log.head.position - 1) return 'something is not durable';
    const rows = working.rows();
    for (const table of ['m', 'f', 'g']) if (has(rows, table)) return `there are rows in table ${table}`;
    const bad = badShards(world, rows);
    const [first] = bad;
    if (first !== undefined)
      return `${bad.length} shards are not there: shard ${first.shard} of blob ${first.blob} on disk ${first.disk} ${first.why}`;
    const stranded = strandedRecords(world, rows);
    if (stranded.length > 0) return `${stranded.length} records are stranded, such as ${stranded[0] ?? ''}`;
    return undefined;
  }

  /** What was drained is empty, and may go. */
  async #removeDrained(): Promise<void> {
    const { members } = this.#pool.diskSet.membership;
    const draining = members.filter(({ role, state }) => role === 'data' && state === 'draining').map(({ number }) => number);
    if (draining.length === 0) return;
    await this.#job('drain', TRIES_MAX);
    for (const disk of draining) {
      const left = recordsOn(this.#world, disk);
      expect(left.length === 0, 'jobs', () => `disk ${disk} was drained, and ${left.length} records are on it, such as ${left[0] ?? ''}`);
      this.#operator.remove(disk);
      await this.#until('members', () => {
        if (this.#operator.busy) return `the removal of disk ${disk} was not answered`;
        return this.#pool.diskSet.membership.members.some(({ number }) => number === disk)
          ? `drained disk ${disk} does not leave`
          : undefined;
      });
      this.#world.count('a drained disk left');
    }
  }
}
