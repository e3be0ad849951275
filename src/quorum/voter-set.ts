/**
 * The voters of a leading log, and the learners that are to become voters: learners get everything that voters get, and count for nothing. Kept by
 * `LeadingLog`, which asks it what enough voters have. The set changes by one voter at a time (change-membership.ts says when).
 */
import { assert, must } from '../base/assert.js';
import { majorityOf } from './acknowledgements.js';
import type { VoterStatus } from './quorum-log.js';
import type { VoterLink } from './voter-link.js';

export class VoterSet {
  #voters: readonly VoterLink[];
  #learners: readonly VoterLink[] = [];
  /** Voters that must have synced a batch while all are there. */
  #acknowledgements: number;

  constructor(voters: readonly VoterLink[], acknowledgements: number) {
    this.#voters = voters;
    this.#acknowledgements = acknowledgements;
  }

  /** Voters and learners. */
  get all(): readonly VoterLink[] {
    return [...this.#voters, ...this.#learners];
  }

  get size(): number {
    return this.#voters.length;
  }

  get numbers(): number[] {
    return this.#voters.map((link) => link.number);
  }

  find(number: number): VoterLink | undefined {
    return this.all.find((link) => link.number === number);
  }

  votes(number: number): boolean {
    return this.#voters.some((link) => link.number === number);
  }

  status(): VoterStatus[] {
    return this.#voters.map((link) => link.status());
  }

  get hasMajority(): boolean {
    return this.#online.length >= majorityOf(this.size);
  }

  /** Would there be a majority, if only the disks of some voters were not full? */
  get lackRoomAlone(): boolean {
    return this.#voters.filter((link) => link.online || link.full).length >= majorityOf(this.size);
  }

  /** Which voters are missing for a majority, in words. */
  get shortage(): string {
    const out = this.status().filter((voter) => voter.state !== 'online');
    const why = out.map((voter) => `voter ${voter.number} is ${voter.state}: ${voter.reason ?? 'unknown'}`).join('; ');
    const online = this.size - out.length;
    return `${online} of ${this.size} voters are online, ${majorityOf(this.size)} are needed. Bring back their disks (${why})`;
  }

  get #online(): VoterLink[] {
    return this.#voters.filter((link) => link.online);
  }

  /** Of `online` voters, so many must have synced a batch. Those that are out count among the m that may be lost. */
  #needed(online: number): number {
    return Math.min(this.#acknowledgements, Math.max(majorityOf(this.size), online));
  }

  /** As many of those that are online as must have a batch: those that are not at work, and usually quick. */
  quickest(): VoterLink[] {
    const online = this.#online.sort((a, b) => Number(a.busy) - Number(b.busy) || a.usualMs - b.usualMs);
    return online.slice(0, this.#needed(online.length));
  }

  /**
   * The position that enough voters have synced; there must be a majority.
   * @param atMost for a test that shows what the number is for
   */
  replicated(atMost = Infinity): number {
    const online = this.#online;
    const needed = Math.min(this.#needed(online.length), atMost);
    const synced = online.map((link) => link.syncedPosition).sort((a, b) => b - a);
    return must(synced[needed - 1], 'as many are online');
  }

  /** The position that all have synced that are online, learners too. */
  get followedTo(): number {
    return Math.min(...this.all.filter((link) => link.online).map((link) => link.syncedPosition));
  }

  /** The position that the replicas of a majority have. */
  replicasAt(): number {
    const positions = this.#voters.map((link) => (link.online ? link.replicaPosition : 0)).sort((a, b) => b - a);
    return must(positions[majorityOf(this.size) - 1], 'one a voter');
  }

  /** What comes after this position must stay in the logs, for voters that are being brought up; while one has no room for its log, nobody may ask for that. */
  get neededAfter(): number {
    if (this.all.some((link) => link.full)) return Infinity;
    return Math.min(...this.all.map((link) => link.needsAfter ?? Infinity));
  }

  addLearner(link: VoterLink): void {
    assert(this.find(link.number) === undefined, 'a learner is new');
    this.#learners = [...this.#learners, link];
  }

  /** Takes a learner out; the caller closes it. */
  dropLearner(number: number): VoterLink | undefined {
    const link = this.#learners.find((each) => each.number === number);
    this.#learners = this.#learners.filter((each) => each !== link);
    return link;
  }

  /**
   * Changes who votes, at once. A new voter was a learner before.
   * @returns those that vote no more; the caller closes them
   */
  change(numbers: readonly number[], acknowledgements: number): VoterLink[] {
    const before = this.#voters;
    const after = numbers.map((number) => must(this.find(number), `voter ${number} was a learner before`));
    const gone = before.filter((link) => !after.includes(link));
    assert(gone.length + after.filter((link) => !before.includes(link)).length <= 1, 'voters change one at a time');
    this.#learners = this.#learners.filter((link) => !after.includes(link));
    this.#voters = after;
    this.#acknowledgements = acknowledgements;
    return gone;
  }
}
