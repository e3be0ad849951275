/**
 * The quorum log while this process leads it. Made by recovery, which then calls `lead`; serves as `QuorumLog` from then on.
 *
 *   append ─▶ journal, working replica (committed)
 *   flush:    syncData ─▶ barrier (covers what was there when syncData was asked) ─▶ voters write and sync, in parallel ─▶ durable
 *
 * One flush runs at a time; what arrives meanwhile is the next one's. A position is *replicated* when enough voters have synced it, and
 * *durable* when besides a replicated barrier covers it (I2, I4). The journal keeps what is not replicated.
 *
 * Loss of the majority makes the log read-only; journal and working replica stay, and when voters return all goes on.
 */
import { assert } from '../base/assert.js';
import type { Cancel } from '../base/clock.js';
import { asOperatingError, OperatingError } from '../base/errors.js';
import { FLUSH_ROUNDS_MAX, JOURNAL_HEADROOM_BYTES, LOG_AHEAD_BYTES_MAX, MARK_INTERVAL_MS } from '../base/limits.js';
import type { Disk } from '../disk/disk.js';
import type { History } from './history.js';
import type { Mutations } from './mutations.js';
import type { QuorumLog, QuorumOptions, VoterChange, VoterStatus } from './quorum-log.js';
import { PromptVoters } from './prompt-voters.js';
import { encodeRecord, RECORD_HEADER_BYTES } from './record.js';
import { ReplicaFeeder } from './replica-feeder.js';
import type { ReplicaHolder } from './replica-holder.js';
import type { EntryKind, LogPoint } from './state-machine.js';
import { VoterLink, type LinkContext, type PreparedVoter } from './voter-link.js';
import { VoterSet } from './voter-set.js';
import { Gate, Waiters } from './waiters.js';

const nothing = new Uint8Array(0);

export class LeadingLog implements QuorumLog {
  readonly epoch: number;
  readonly #options: QuorumOptions;
  readonly #mutations: Mutations;
  readonly #history: History;
  readonly #voters: VoterSet;
  readonly #prompt: PromptVoters;
  readonly #newLink: (number: number, learner: boolean) => VoterLink;
  /** What recovery opened, until the links have it. */
  #prepared = new Map<number, PreparedVoter>();
  #target: number;
  #replicated = 0;
  #durable = 0;
  /** Barriers that are not replicated yet, in order, and up to where everything is durable with each. */
  #barriers: { readonly position: number; readonly reaches: number }[] = [];
  /** What the last barrier covers, replicated or not. */
  #covered = 0;
  #lastData = 0;
  readonly #waiters = new Waiters();
  readonly #room = new Gate();
  /** Resolved when replication moved, or the majority was lost. */
  readonly #moved = new Gate();
  #flush: Promise<void> | undefined;
  #syncing = false;
  #serving = false;
  #writable = false;
  #fencedBy: number | undefined;
  #closed = false;
  #cancelTimer: Cancel | undefined;
  readonly #feeder: ReplicaFeeder;

  /** @param history what was recovered; its window holds what was taken over from the journal */
  constructor(options: QuorumOptions, mutations: Mutations, epoch: number, history: History, absent: ReadonlyMap<number, string>) {
    this.#options = options;
    this.#mutations = mutations;
    this.#history = history;
    history.onFailure = (voter, error) => {
      options.log('warn', `the log of voter ${voter} cannot be read: ${error.message}`, { code: error.code });
    };
    this.epoch = epoch;
    this.#target = history.head.position;
    const context = this.#context();
    this.#newLink = (number, learner) => new VoterLink(context, number, learner ? undefined : absent.get(number), learner);
    const links = options.voters.map(({ number }) => this.#newLink(number, false));
    this.#voters = new VoterSet(links, options.acknowledgements);
    this.#feeder = new ReplicaFeeder({
      clock: options.clock,
      history,
      voters: this.#voters,
      moved: () => {
        this.#replicasMoved();
      },
    });
    this.#prompt = new PromptVoters(options.clock, this.#voters, options.allVotersAtOnce === true);
  }

  // ── Becoming the leader ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The most advanced durable replica on the history. */
  bestReplica(except?: VoterLink): ReplicaHolder | undefined {
    let best: ReplicaHolder | undefined;
    for (const link of this.#voters.all) {
      const holder = link.holder ?? this.#prepared.get(link.number)?.holder;
      const point = holder?.point;
      if (link === except || holder === undefined || point === undefined) continue;
      if (!this.#history.holds(point) || !this.#history.reaches(point.position)) continue;
      if (best === undefined || point.position > (best.point?.position ?? -1)) best = holder;
    }
    return best;
  }

  /**
   * Brings voters up. Resolves when those in `quick` are settled, and a majority is online or all are settled.
   * @returns whether a majority is online
   */
  async bringUp(disks: ReadonlyMap<number, Disk>, prepared: Map<number, PreparedVoter>, quick: ReadonlySet<number>): Promise<boolean> {
    this.#prepared = prepared;
    const quickOnes: Promise<void>[] = [];
    let open = 0;
    let wake = (): void => undefined;
    for (const link of this.#voters.all) {
      const disk = disks.get(link.number);
      if (disk === undefined) continue;
      open++;
      const settled = link.setDisk(disk, prepared.get(link.number)).finally(() => {
        open--;
        wake();
      });
      if (quick.has(link.number)) quickOnes.push(settled);
    }
    await Promise.all(quickOnes);
    while (open > 0 && !this.#hasMajority) await new Promise<void>((resolve) => (wake = resolve));
    return this.#hasMajority;
  }

  /**
   * Appends the first entry of this epoch and has it synced; from then on the log serves. All that it covers was verified, and its data is
   * synced: recovery sees to both.
   * @returns false when the majority was lost meanwhile
   */
  async lead(): Promise<boolean> {
    const covers = this.#history.head.position;
    const record = encodeRecord(this.#history.head, this.epoch, 'lead', covers, nothing);
    this.#history.push(record);
    const { position } = record.entry.point;
    this.#covered = covers;
    this.#lastData = covers;
    this.#pushBarrier(position, covers);
    this.#replicateAll();
    this.#changed();
    while (this.#replicated < position && this.#mutations.skipLead !== true) {
      if (!this.#hasMajority) return false;
      await this.#moved.wait();
    }
    if (this.#mutations.skipLead === true) this.#durable = position;
    this.#options.working.apply(record.entry);
    // What it held is on the voters now.
    this.#options.journal.reset();
    this.#prepared.clear();
    this.#serving = true;
    this.#changed();
    return true;
  }

  // ── QuorumLog ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  get writable(): boolean {
    return this.#writable && !this.#closed;
  }

  get readOnlyReason(): string | undefined {
    if (this.writable) return undefined;
    if (this.#closed) return 'the log is closed';
    if (this.#fencedBy !== undefined)
      return `another process leads this pool in epoch ${this.#fencedBy}: stop one of the two and mount again`;
    return this.#voters.shortage;
  }

  get refusalCode(): 'EROFS' | 'ENOSPC' {
    if (this.#closed || this.#fencedBy !== undefined) return 'EROFS';
    return this.#voters.lackRoomAlone ? 'ENOSPC' : 'EROFS';
  }

  get head(): LogPoint {
    return this.#history.head;
  }

  get durablePosition(): number {
    return this.#durable;
  }

  reserve(payloadBytes: number): Promise<void> | undefined {
    // `append` says why not.
    if (!this.writable || this.#hasRoom(payloadBytes)) return undefined;
    const room = this.#room.wait();
    this.#makeRoom();
    return room;
  }

  append(payload: Uint8Array): number {
    if (!this.writable) throw this.#readOnlyError();
    assert(this.#hasRoom(payload.length), 'appended without room: reserve first');
    this.#lastData = this.#put('data', 0, payload);
    if (this.#journalHalfFull) this.#startFlush();
    else this.#arm();
    return this.#lastData;
  }

  durable(position: number): Promise<void> {
    assert(position <= this.head.position, `entry ${position} was not appended`);
    if (position <= this.#durable) return Promise.resolve();
    if (!this.#writable) return Promise.reject(this.#readOnlyError());
    const waiting = this.#waiters.add(position);
    this.#startFlush();
    return waiting;
  }

  setVoterDisk(number: number, disk: Disk | undefined): void {
    const link = this.#voters.find(number);
    if (link !== undefined && !this.#closed) void link.setDisk(disk);
  }

  voters(): VoterStatus[] {
    return this.#voters.status();
  }

  async addLearner(number: number, disk: Disk): Promise<void> {
    if (this.#closed) throw this.#readOnlyError();
    let link = this.#voters.find(number);
    if (link === undefined) {
      link = this.#newLink(number, true);
      this.#voters.addLearner(link);
    }
    if (!link.online) await link.setDisk(disk);
    if (link.online) return;
    const reason = link.status().reason ?? 'unknown';
    if (!this.#voters.votes(number)) await this.dropLearner(number);
    throw new OperatingError('EIO', `voter ${number} could not be brought up: ${reason}`, { disk: disk.directory });
  }

  async dropLearner(number: number): Promise<void> {
    const link = this.#voters.dropLearner(number);
    await link?.close();
    if (link !== undefined) this.#history.dropSource(number);
  }

  async changeVoters({ voters, acknowledgements }: VoterChange): Promise<void> {
    if (!this.writable) throw this.#readOnlyError();
    const gone = this.#voters.change(voters, acknowledgements);
    // An entry under the new set, so that all before it is on a majority of that.
    const covers = Math.max(this.#covered, this.#durable);
    const position = this.#put('barrier', covers, nothing);
    this.#pushBarrier(position, covers);
    this.#replicateAll();
    this.#changed();
    for (const link of gone) {
      await link.close();
      this.#history.dropSource(link.number);
    }
    while (this.#replicated < position) {
      if (!this.#writable) throw this.#readOnlyError();
      await this.#moved.wait();
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    // No more appends; the flush may still put its barrier.
    this.#closed = true;
    this.#room.open();
    await this.#flushEnds();
    while (this.#writable && this.#durable < this.#lastData) {
      const before = this.#durable;
      this.#startFlush();
      await this.#flushEnds();
      if (this.#durable === before) break;
    }
    if (this.#writable) this.#prompt.askAll();
    if (this.#writable) await Promise.all(this.#voters.all.map((link) => link.settled().then(() => link.feedReplica())));
    this.#replicasMoved();
    for (const link of this.#voters.all) link.settleMark();
    await this.abandon();
  }

  /** Ends without flushing. */
  async abandon(): Promise<void> {
    this.#closed = true;
    this.#cancelTimer?.();
    this.#feeder.stop();
    this.#prompt.stop();
    await Promise.all(this.#voters.all.map((link) => link.close()));
    // Nothing can become durable any more.
    this.#writable = false;
    this.#waiters.fail(new OperatingError('EROFS', 'the log was closed'));
    this.#room.open();
  }

  // ── Appending and flushing ───────────────────────────────────────────────────────────────────────────────────────────────────────

  #put(kind: EntryKind, covers: number, payload: Uint8Array): number {
    const record = encodeRecord(this.#history.head, this.epoch, kind, covers, payload);
    this.#options.journal.append(record.bytes);
    this.#history.push(record);
    this.#options.working.apply(record.entry);
    return record.entry.point.position;
  }

  get #headroom(): number {
    return Math.min(JOURNAL_HEADROOM_BYTES, Math.floor(this.#options.journal.capacityBytes / 4));
  }

  #hasRoom(payloadBytes: number): boolean {
    const { journal } = this.#options;
    const bytes = RECORD_HEADER_BYTES + payloadBytes;
    assert(bytes + this.#headroom <= journal.capacityBytes / 2, () => `an entry of ${payloadBytes} bytes is too large for the journal`);
    if (journal.freeBytes() - this.#headroom < bytes) return false;
    // While data is being synced the flush itself may have to append, and must not wait for what only it can bring about.
    return this.#syncing || (this.#history.windowBytes + bytes <= LOG_AHEAD_BYTES_MAX && !this.#feeder.behind);
  }

  get #journalHalfFull(): boolean {
    return this.#options.journal.freeBytes() < this.#options.journal.capacityBytes / 2;
  }

  /** Someone waits for room. */
  #makeRoom(): void {
    this.#startFlush();
    // While data is being synced, voters take what is there already: the journal may let go of it then.
    if (this.#syncing) this.#replicateAll();
  }

  #replicateAll(): void {
    this.#target = this.head.position;
    this.#prompt.askAll();
  }

  #startFlush(): void {
    if (this.#flush !== undefined || !this.#writable) return;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#flush = this.#runFlush()
      .catch((thrown: unknown) => {
        if (!(thrown instanceof OperatingError)) throw thrown;
        this.#options.log('error', `a flush failed: ${thrown.message}`, { code: thrown.code });
        this.#waiters.fail(thrown);
        return false;
      })
      .then((ended) => {
        this.#flush = undefined;
        // After a failure the commit interval tries again.
        if (ended) this.#afterFlush();
        else this.#arm();
      });
  }

  async #flushEnds(): Promise<void> {
    while (this.#flush !== undefined) await this.#flush;
  }

  async #runFlush(): Promise<true> {
    if (this.#lastData > this.#covered) {
      const covers = await this.#syncData();
      if (!this.#writable) return true;
      this.#covered = covers;
      this.#pushBarrier(this.#put('barrier', covers, nothing), covers);
    }
    const end = this.#covered;
    this.#target = this.head.position;
    this.#prompt.flush();
    while (this.#durable < end && this.#writable) await this.#moved.wait();
    this.#prompt.flushed();
    return true;
  }

  /** Barriers need no data themselves: where nothing else follows what one covers, all up to it is durable with it. */
  #pushBarrier(position: number, covers: number): void {
    this.#barriers.push({ position, reaches: this.#lastData <= covers ? position : covers });
  }

  /** Returns the position up to which everything points to synced data. */
  async #syncData(): Promise<number> {
    this.#syncing = true;
    try {
      for (let round = 0; round < FLUSH_ROUNDS_MAX; round++) {
        const covers = this.head.position;
        if (await this.#options.syncData()) return covers;
      }
    } catch (thrown) {
      throw asOperatingError(thrown);
    } finally {
      this.#syncing = false;
    }
    throw new OperatingError('EIO', 'data could not be synced: it had to be moved again and again');
  }

  #afterFlush(): void {
    const wanted = this.#waiters.beyond(this.#durable);
    if (this.#writable && (wanted || this.#room.wanted || this.#journalHalfFull) && this.#lastData > this.#durable) this.#startFlush();
    else this.#arm();
  }

  /** The commit interval: flushes what is there then; when nothing is, makes the marks durable once. */
  #arm(): void {
    if (this.#cancelTimer !== undefined || this.#closed) return;
    this.#cancelTimer = this.#options.clock.after(this.#options.commitIntervalMs, () => {
      this.#cancelTimer = undefined;
      if (this.#lastData > this.#durable) this.#startFlush();
      else for (const link of this.#voters.all) link.settleMark();
    });
  }

  // ── Voters ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  #context(): LinkContext {
    const { poolId, clock, replicas, log } = this.#options;
    return {
      poolId,
      clock,
      markIntervalMs: this.#options.markIntervalMs ?? MARK_INTERVAL_MS,
      replicas,
      log,
      epoch: this.epoch,
      history: this.#history,
      mutations: this.#mutations,
      target: () => this.#target,
      durablePosition: () => this.#durable,
      bestReplica: (except) => this.bestReplica(except),
      changed: (link) => {
        this.#changed(link);
      },
      failed: (link, error) => this.#options.voterFailed?.(link.number, error),
      fenced: (epoch) => {
        this.#fencedBy = epoch;
        this.#changed();
      },
    };
  }

  get #hasMajority(): boolean {
    return this.#voters.hasMajority && this.#fencedBy === undefined;
  }

  /** A voter synced more, came or went. */
  #changed(link?: VoterLink): void {
    // Those that are left have to do.
    if (link?.online === false) this.#prompt.askAll();
    if (this.#hasMajority) this.#replicatedUpTo(this.#voters.replicated(this.#mutations.acknowledgeEarly === true ? 1 : Infinity));
    this.#setWritable(this.#serving && this.#hasMajority);
    if (this.#serving) this.#feeder.inTime();
    this.#moved.open();
  }

  #replicatedUpTo(position: number): void {
    if (position > this.#replicated) this.#moveTo(position);
    // What voters will ask for that follow a little later stays, but for so much; the others read each other's logs.
    const { windowBytes } = this.#history;
    this.#history.evict(windowBytes > LOG_AHEAD_BYTES_MAX / 2 ? this.#replicated : Math.min(this.#replicated, this.#voters.followedTo));
  }

  #moveTo(position: number): void {
    this.#replicated = position;
    for (let barrier = this.#barriers[0]; barrier !== undefined && barrier.position <= position; barrier = this.#barriers[0]) {
      this.#durable = barrier.reaches;
      this.#barriers.shift();
    }
    if (!this.#serving) return;
    this.#options.journal.trim(position);
    this.#room.open();
    this.#waiters.reached(this.#durable);
  }

  #setWritable(writable: boolean): void {
    if (writable === this.#writable) return;
    this.#writable = writable;
    if (writable) {
      this.#options.log('info', `the log is writable in epoch ${this.epoch}`);
      if (this.#lastData > this.#durable) this.#startFlush();
      return;
    }
    this.#options.log('error', `the log is read-only: ${this.readOnlyReason ?? ''}`);
    this.#waiters.fail(this.#readOnlyError());
    this.#room.open();
  }

  #readOnlyError(): OperatingError {
    return new OperatingError(this.refusalCode, 'no majority of the voters: it cannot be made durable', { hint: this.readOnlyReason });
  }

  // ── Durable replicas ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** What the replicas of a majority have leaves the logs. */
  #replicasMoved(): void {
    const behind = Math.min(this.#durable, this.#voters.replicasAt());
    const kept = Math.min(behind, this.#voters.neededAfter);
    for (const link of this.#voters.all) link.trim(kept);
    if (!this.#feeder.behind) this.#room.open();
  }
}
