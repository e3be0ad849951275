/**
 * Changes who belongs to an open pool, for the operator and by itself: disks are added, drained, replaced and removed, and votes move to where they are
 * safe. One change at a time, each in the order of quorum/change-membership.ts, so the daemon may die between any two; what a membership says and what
 * is not so yet (a voter that failed, a failed disk that nothing names any more) is finished at the next start.
 *
 *   active ──drain──▶ draining ──remove (nothing names it)──▶ gone
 *     │  ▲────cancel────┘                                       ▲
 *     └──replace, remove --force (it is out)──▶ failed ──nothing names it any more: by itself
 *
 * Keeps I7: a vote moves before its disk goes, and a disk goes only when no blob has a shard on it. Made with the pool, stopped before the log closes.
 */
import { must } from '../base/assert.js';
import type { Cancel, Clock, Random } from '../base/clock.js';
import { asOperatingError, OperatingError } from '../base/errors.js';
import { newUuid, type DiskNumber } from '../base/ids.js';
import { MEMBERS_RETRY_MS, POOL_DISKS_MAX } from '../base/limits.js';
import type { DiskSet } from '../disk/disk-set.js';
import type { Member, Membership, MemberState } from '../disk/membership.js';
import { changeMembers } from '../quorum/change-membership.js';
import type { QuorumLog } from '../quorum/quorum-log.js';
import { formatCode } from './code.js';
import type { Log } from './logger.js';
import { nextVoterStep } from './voter-placement.js';

export interface MembershipChangerOptions {
  readonly quorum: QuorumLog;
  readonly diskSet: DiskSet;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Does any blob have a shard on this disk? */
  readonly namesDisk: (disk: DiskNumber) => Promise<boolean>;
  /** How many blobs could not be read without this disk? */
  readonly blobsThatNeed: (disk: DiskNumber) => Promise<number>;
  /** Makes an empty directory for one more witness; undefined: none can be made here. */
  readonly makeWitness: ((number: DiskNumber) => Promise<string>) | undefined;
  /** The membership in force is this one; told at the start and after each change. */
  readonly changed: (membership: Membership) => Promise<void>;
  /** A member has left for good. */
  readonly left: (number: DiskNumber) => Promise<void>;
}

export interface NewDisk {
  /** Absolute. */
  readonly directory: string;
  readonly zone: string | undefined;
}

export class MembershipChanger {
  readonly #options: MembershipChangerOptions;
  #turn: Promise<unknown> = Promise.resolve();
  #retry: Cancel | undefined;
  #stopped = false;

  constructor(options: MembershipChangerOptions) {
    this.#options = options;
    options.diskSet.onChange(() => {
      // It may take a vote, or be what a change waited for.
      this.#settleLater(0);
    });
  }

  get membership(): Membership {
    return this.#options.diskSet.membership;
  }

  /** Finishes what an earlier process left. */
  async start(): Promise<void> {
    await this.#options.changed(this.membership);
    this.#settleLater(0);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#retry?.();
    await this.#turn;
  }

  /** Adds an empty directory as a disk. @throws OperatingError EEXIST, ENOTEMPTY, …: what is wrong with it; EROFS */
  add(disk: NewDisk): Promise<Member> {
    return this.#inTurn(async () => {
      const member = this.#newMember(disk);
      await this.#change([...this.membership.members, member]);
      await this.#settle();
      return this.member(member.number);
    });
  }

  /** Begins or ends the draining of a disk; the drain job does the rest. @throws OperatingError EINVAL: the others are too few for the code */
  setDraining(number: DiskNumber, on: boolean): Promise<Member> {
    return this.#inTurn(async () => {
      const { state, role } = this.member(number);
      if (state === 'failed') throw new OperatingError('EINVAL', `disk ${number} has failed: there is nothing to drain`);
      if (on && role === 'data') this.#refuseTooFew(number);
      await this.#setState(number, on ? 'draining' : 'active');
      await this.#settle();
      return this.member(number);
    });
  }

  /**
   * Adds `disk` for `old`, which is drained if it is in, and given up if it is not.
   * @param force also when blobs are lost with it
   */
  replace(old: DiskNumber, disk: NewDisk, force: boolean): Promise<Member> {
    return this.#inTurn(async () => {
      const { members } = this.membership;
      // Asked again after a crash: it is done, or the rest happens by itself.
      const done = members.find((member) => member.directory === disk.directory && member.number > old && member.state === 'active');
      if (done !== undefined && members.find((member) => member.number === old)?.state !== 'active') {
        await this.#settle();
        return this.member(done.number);
      }
      const { role, state, zone } = this.member(old);
      if (role === 'witness') throw new OperatingError('EINVAL', `disk ${old} is a witness: it holds no data that could be replaced`);
      const next: MemberState = state === 'active' ? (this.#isIn(old) ? 'draining' : 'failed') : state;
      if (next === 'failed' && !force) await this.#refuseLoss(old);
      const member = this.#newMember({ ...disk, zone: disk.zone ?? zone });
      await this.#change([...members.map((each) => (each.number === old ? { ...each, state: next } : each)), member]);
      await this.#settle();
      return this.member(member.number);
    });
  }

  /**
   * Takes a disk out of the pool for good: one that was drained, or, with `force`, one that is out. Of the latter the rest is rebuilt elsewhere first.
   * @returns whether it has left already
   */
  remove(number: DiskNumber, force: boolean): Promise<boolean> {
    return this.#inTurn(async () => {
      const { role, state } = this.member(number);
      if (role === 'data' && state === 'active') {
        if (!force)
          throw new OperatingError('EBUSY', `disk ${number} is in use: its data must be moved to the others first`, {
            hint: 'Drain it with "ostraka disk drain"; if it is dead, replace it with "ostraka disk replace", or use --force.',
          });
        if (this.#isIn(number))
          throw new OperatingError('EBUSY', `disk ${number} is alive: drain it, so that nothing is without protection meanwhile`, {
            hint: 'ostraka disk drain NAME DISK',
          });
        this.#refuseTooFew(number);
        await this.#refuseLoss(number);
        await this.#setState(number, 'failed');
      } else if (role === 'data' && state === 'draining' && (await this.#options.namesDisk(number))) {
        if (!force || this.#isIn(number))
          throw new OperatingError('EBUSY', `disk ${number} is not empty yet`, {
            hint: 'Wait until "ostraka disk drain --watch" is done.',
          });
        await this.#refuseLoss(number);
        await this.#setState(number, 'failed');
      } else if (role === 'witness' && state === 'active') await this.#setState(number, 'draining');
      await this.#settle();
      await this.#removeIfEmpty(number);
      return !this.membership.members.some((member) => member.number === number);
    });
  }

  /** @throws OperatingError ENOENT */
  member(number: DiskNumber): Member {
    const found = this.membership.members.find((member) => member.number === number);
    if (found !== undefined) return found;
    throw new OperatingError('ENOENT', `the pool has no disk ${number}`, { hint: '"ostraka disk list" shows them.' });
  }

  #isIn(number: DiskNumber): boolean {
    return this.#options.diskSet.disk(number) !== undefined;
  }

  #newMember({ directory, zone }: NewDisk): Member {
    const { lastNumber, members } = this.membership;
    if (members.length >= POOL_DISKS_MAX) throw new OperatingError('EINVAL', `a pool has at most ${POOL_DISKS_MAX} disks`);
    const id = newUuid(this.#options.random);
    return { number: lastNumber + 1, id, role: 'data', state: 'active', voter: false, zone, directory };
  }

  /** A blob must find a place for each of its shards without this disk. */
  #refuseTooFew(number: DiskNumber): void {
    const { k, m, members } = this.membership;
    const left = members.filter((member) => member.role === 'data' && member.state === 'active' && member.number !== number).length;
    if (left >= k + m) return;
    throw new OperatingError('EINVAL', `code ${formatCode({ k, m })} needs ${k + m} disks, and ${left} would be left`, {
      hint: 'Add a disk first, or replace this one: ostraka disk replace NAME OLD NEWDIR.',
    });
  }

  async #refuseLoss(number: DiskNumber): Promise<void> {
    const lost = await this.#options.blobsThatNeed(number);
    if (lost === 0) return;
    throw new OperatingError('EIO', `${lost} blobs cannot be read without disk ${number}, since other disks are out or damaged`, {
      hint: 'Bring back this disk or the other ones.',
    });
  }

  async #setState(number: DiskNumber, state: MemberState): Promise<void> {
    if (this.member(number).state === state) return;
    await this.#change(this.membership.members.map((member) => (member.number === number ? { ...member, state } : member)));
  }

  async #change(members: readonly Member[]): Promise<void> {
    const { quorum, diskSet, changed } = this.#options;
    await changeMembers({ log: quorum, disks: diskSet }, members);
    await changed(diskSet.membership);
  }

  /** Brings votes to where they belong, and lets go of failed disks that nothing names any more. */
  async #settle(): Promise<void> {
    const { log } = this.#options;
    // Each step brings it nearer to 2m + 1 good voters.
    for (let step = 0; step < 2 * POOL_DISKS_MAX && !this.#stopped; step++) {
      const next = nextVoterStep(this.membership, (number) => this.#isIn(number));
      if (next === undefined) break;
      if ('witness' in next) {
        if (!(await this.#addWitness())) break;
      } else if ('add' in next) {
        log('info', `disk ${next.add} becomes a voter`, { disk: next.add });
        await this.#setVoter(next.add, true);
      } else {
        log('info', `disk ${next.remove} votes no more`, { disk: next.remove });
        await this.#setVoter(next.remove, false);
      }
    }
    for (const { number, state } of this.membership.members) if (state === 'failed') await this.#removeIfEmpty(number);
    if (this.membership.members.some(({ state }) => state === 'failed')) this.#settleLater(MEMBERS_RETRY_MS);
  }

  async #setVoter(number: DiskNumber, voter: boolean): Promise<void> {
    await this.#change(this.membership.members.map((member) => (member.number === number ? { ...member, voter } : member)));
  }

  async #addWitness(): Promise<boolean> {
    const { lastNumber, members } = this.membership;
    const directory = await this.#options.makeWitness?.(lastNumber + 1);
    if (directory === undefined) return false;
    const id = newUuid(this.#options.random);
    const witness: Member = { number: lastNumber + 1, id, role: 'witness', state: 'active', voter: false, zone: undefined, directory };
    this.#options.log('info', `a witness is made at ${directory}, since the disks alone are an even number of voters`);
    await this.#change([...members, witness]);
    return true;
  }

  async #removeIfEmpty(number: DiskNumber): Promise<void> {
    const member = this.membership.members.find((each) => each.number === number);
    if (member === undefined || member.state === 'active') return;
    if (member.role === 'data' && (await this.#options.namesDisk(number))) return;
    if (member.voter) await this.#setVoter(number, false);
    await this.#change(this.membership.members.filter((each) => each.number !== number));
    this.#options.log('info', `disk ${number} has left the pool`, { disk: number, directory: member.directory });
    await this.#options.quorum.dropLearner(number);
    await this.#options.left(number);
    await this.#settle();
  }

  #settleLater(delayMs: number): void {
    const { clock, log, quorum } = this.#options;
    if (this.#stopped || this.#retry !== undefined) return;
    this.#retry = clock.after(delayMs, () => {
      this.#retry = undefined;
      if (!quorum.writable) return;
      this.#inTurn(() => this.#settle()).catch((thrown: unknown) => {
        log('warn', `votes could not be moved now: ${asOperatingError(thrown).message}`);
        this.#settleLater(MEMBERS_RETRY_MS);
      });
    });
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(() => {
      if (this.#stopped) throw new OperatingError('ECONNRESET', 'the daemon is about to end');
      return work();
    });
    this.#turn = result.catch(() => undefined);
    return result;
  }
}

/** The member that an operator means by a path, a number or the beginning of an id. @throws OperatingError ENOENT, EINVAL */
export function findMember(membership: Membership, text: string, directoryOf: (number: DiskNumber) => string | undefined): Member {
  const { members } = membership;
  const byPath = members.filter(({ number, directory }) => directory === text || directoryOf(number) === text);
  const byNumber = members.filter(({ number }) => String(number) === text);
  const byId = /^[0-9a-f]{4,}$/.test(text) ? members.filter(({ id }) => id.startsWith(text)) : [];
  const found = [byPath, byNumber, byId].find((some) => some.length > 0) ?? [];
  if (found.length === 1) return must(found[0], 'there is one');
  const hint = 'Name it by its path, its number, or the beginning of its id: "ostraka disk list" shows them.';
  if (found.length === 0) throw new OperatingError('ENOENT', `the pool has no disk "${text}"`, { hint });
  throw new OperatingError('EINVAL', `"${text}" means several disks`, { hint });
}
