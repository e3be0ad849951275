/**
 * One voter of a leading log: brings it up, feeds it what is appended, feeds its durable replica what is durable. Made by `LeadingLog`, one
 * for each voter; lives as long as the leadership, while the voter's disk comes and goes.
 *
 *   absent ──setDisk──▶ behind ──bringUp: read, promise, replica, entries, mark──▶ online
 *      ▲                  ▲  ▲                                                       │
 *      │                  │  └────── any error (tried again later) ─────────────────┤
 *      └── disk left ─────┴─ (broken, where it is damaged below its mark) ◀──────────┘
 *
 * It counts as online only when its log holds the history and its replica and log alone would do for a recovery (I7). A write is acknowledged
 * after it was synced and, after that, no promise of a higher epoch was seen on the voter (I9): a new leader promises first and reads
 * then, so either it sees the write or we see the promise.
 */
import { AssertionError, must } from '../base/assert.js';
import type { Cancel, Clock } from '../base/clock.js';
import { asOperatingError, OperatingError } from '../base/errors.js';
import { LOG_BATCH_BYTES_MAX, LOG_KEPT_BYTES_MAX, VOTER_RETRY_MS } from '../base/limits.js';
import type { Disk } from '../disk/disk.js';
import { EntryTable } from './entry-table.js';
import type { History } from './history.js';
import { lastOfFile, runOf } from './log-run.js';
import type { Mutations } from './mutations.js';
import { pointText } from './point.js';
import type { VoterState, VoterStatus } from './quorum-log.js';
import type { LogRecord } from './record.js';
import { ReplicaHolder } from './replica-holder.js';
import type { LogPoint, ReplicaStore } from './state-machine.js';
import { highestEpoch, parseNames, QUORUM_DIRECTORY, type VoterIdentity, type VoterNames } from './voter-format.js';
import { readVoter, surveyVoter, type VoterImage } from './voter-reader.js';
import { VoterWriter, writePromise } from './voter-writer.js';

/** What a link knows of its log. */
export interface LinkContext {
  readonly poolId: string;
  readonly epoch: number;
  readonly clock: Clock;
  /** A voter's mark is brought up so often while it is written to. */
  readonly markIntervalMs: number;
  readonly replicas: ReplicaStore;
  readonly history: History;
  readonly mutations: Mutations;
  /** Up to here voters shall have the entries. */
  target(): number;
  durablePosition(): number;
  readonly log: (level: 'info' | 'warn' | 'error', message: string, detail?: Record<string, unknown>) => void;
  /** The most advanced replica on the history beside that of `except`. */
  bestReplica(except: VoterLink): ReplicaHolder | undefined;
  /** A voter synced more, or its state changed. */
  changed(link: VoterLink): void;
  failed(link: VoterLink, error: OperatingError): void;
  /** Another process leads. */
  fenced(epoch: number): void;
}

/** What recovery has read and opened already. */
export interface PreparedVoter {
  readonly image: VoterImage;
  readonly holder: ReplicaHolder | undefined;
}

/** The disk of a bring-up or write left meanwhile: nothing to report. */
class TenureEnded extends Error {}

export class VoterLink {
  readonly identity: VoterIdentity;
  readonly #context: LinkContext;
  readonly #learner: boolean;
  #disk: Disk | undefined;
  /** Counts comings and goings: what belongs to an earlier one ends without effect. */
  #tenure = 0;
  #state: VoterState = 'absent';
  #reason: string | undefined;
  #full = false;
  #synced = 0;
  #writer: VoterWriter | undefined;
  #holder: ReplicaHolder | undefined;
  #pump: Promise<void> | undefined;
  #closing: Promise<unknown> = Promise.resolve();
  #trimTo = 0;
  /** Entries that it needs while it is brought up come after this one; and what the log had grown to when that began. */
  #needs: { position: number; readonly sinceBytes: number } | undefined;
  /** Of its writes lately. */
  #usualMs = 0;
  #noteMark = false;
  #notedMs = 0;
  /** What the voter's directory held after the last append. */
  #seenNames = '';
  #cancelRetry: Cancel | undefined;
  #closed = false;

  /** @param learner it never voted: that it has no files yet is nothing to worry about */
  constructor(context: LinkContext, voter: number, absentReason: string | undefined, learner: boolean) {
    this.#context = context;
    this.#learner = learner;
    this.identity = { poolId: context.poolId, voter };
    this.#reason = absentReason;
  }

  get number(): number {
    return this.identity.voter;
  }

  get online(): boolean {
    return this.#state === 'online';
  }

  /** It is out because its disk has no room, and is tried again. */
  get full(): boolean {
    return this.#full && this.#disk !== undefined;
  }

  /** Position up to which this voter is synced under this leadership; 0 while it is not online. */
  get syncedPosition(): number {
    return this.#synced;
  }

  /** Is it writing, or about to? */
  get busy(): boolean {
    return this.#pump !== undefined;
  }

  /** How long a write of it takes, ms, about. */
  get usualMs(): number {
    return this.#usualMs;
  }

  get holder(): ReplicaHolder | undefined {
    return this.#holder;
  }

  get replicaPosition(): number {
    return this.#holder?.point?.position ?? 0;
  }

  /**
   * While it is brought up: the others' logs must keep what comes after this entry, or it would have to begin anew with each attempt. Not for ever: a voter
   * that cannot keep up shall not fill the others' disks.
   */
  get needsAfter(): number | undefined {
    if (this.#needs === undefined || this.#context.history.pushedBytes - this.#needs.sinceBytes > LOG_KEPT_BYTES_MAX) return undefined;
    return this.#needs.position;
  }

  #need(position: number): void {
    this.#needs = { position, sinceBytes: this.#needs?.sinceBytes ?? this.#context.history.pushedBytes };
  }

  status(): VoterStatus {
    return {
      number: this.number,
      state: this.#state,
      syncedPosition: this.#synced,
      replicaPosition: this.replicaPosition,
      reason: this.#state === 'online' ? undefined : this.#reason,
    };
  }

  /** The disk left (undefined) or came (back); brings the voter up. Resolves when it is online, or was given up for now. */
  async setDisk(disk: Disk | undefined, prepared?: PreparedVoter): Promise<void> {
    this.#end(disk === undefined ? 'absent' : 'behind', disk === undefined ? 'its disk is not there' : 'it is being brought up');
    this.#disk = disk;
    if (disk === undefined || this.#closed) return;
    const tenure = this.#tenure;
    try {
      await this.#bringUp(disk, tenure, prepared);
    } catch (thrown) {
      this.#lose(tenure, thrown);
    }
  }

  /** There is more to write. */
  kick(): void {
    if (this.#closed || this.#state !== 'online' || this.#pump !== undefined) return;
    const tenure = this.#tenure;
    this.#pump = this.#write(tenure)
      .catch((thrown: unknown) => {
        this.#lose(tenure, thrown);
      })
      .finally(() => {
        this.#pump = undefined;
        // Something may have come after the last look.
        if (this.#hasWork()) this.kick();
      });
  }

  /** Resolves when it is not writing. */
  async settled(): Promise<void> {
    while (this.#pump !== undefined) await this.#pump;
  }

  /** Makes the mark durable though nothing more is to be written. */
  settleMark(): void {
    this.#noteMark = true;
    this.kick();
  }

  /** Removes log files behind `position` and the own replica. */
  trim(position: number): void {
    this.#trimTo = Math.max(this.#trimTo, Math.min(position, this.replicaPosition));
    this.kick();
  }

  /** How far the durable replica may go: never ahead of the barrier, nor of this voter's own log. */
  get applicable(): number {
    const early = this.#context.mutations.applyEarly === true;
    return Math.min(early ? this.#context.target() : this.#context.durablePosition(), this.#synced);
  }

  /** There is something for the durable replica up to `end`, or it is damaged. */
  replicaBehind(end: number): boolean {
    const point = this.#holder?.point;
    return point === undefined || point.position < Math.min(end, this.applicable);
  }

  /** Brings the durable replica up to `end`, as far as that is durable and synced here when it begins: from this voter's log, which reaches back to it. */
  async feedReplica(end = Infinity): Promise<void> {
    const tenure = this.#tenure;
    const holder = this.#holder;
    const disk = this.#disk;
    const writer = this.#writer;
    if (this.#state !== 'online' || holder === undefined || disk === undefined || writer === undefined) return;
    try {
      await holder.run(async () => {
        for (const last = Math.min(end, this.applicable); ;) {
          if (tenure !== this.#tenure) return;
          const point = holder.point;
          if (point === undefined) throw new OperatingError('EIO', 'its replica is damaged');
          if (point.position >= last) return;
          // The file is the voter's, not this epoch's: a new leader shall find it as it reads it (I9).
          await this.#checkFence(disk);
          // In the steps in which the others go: the net effect of each is found once for all.
          const stepEnd = this.#context.history.stretchEnd(point.position) ?? lastOfFile(writer.table, point.position + 1, last);
          await holder.replica.apply(runOf(disk, writer.table, point, Math.min(stepEnd, last)));
        }
      });
    } catch (thrown) {
      this.#lose(tenure, thrown);
    }
  }

  /** Waits for what is being written and closes the files. The link is of no use afterwards. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelRetry?.();
    await this.settled();
    const writer = this.#writer;
    const holder = this.#holder;
    this.#writer = undefined;
    this.#holder = undefined;
    this.#tenure++;
    if (writer?.markBehind === true) await writer.note().catch(() => undefined);
    await Promise.all([this.#closing, writer?.close(), holder?.close()]);
  }

  // ── Bringing up ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  async #bringUp(disk: Disk, tenure: number, prepared: PreparedVoter | undefined): Promise<void> {
    const { epoch, history, mutations, replicas } = this.#context;
    this.#holder = prepared?.holder;
    // The same files must not be open twice.
    await this.#closing;
    this.#still(tenure);
    const image = prepared?.image ?? (await readVoter(disk, this.identity, mutations));
    this.#still(tenure);
    if (image.promised > epoch) this.#fenced(image.promised);
    if (image.broken !== undefined && !this.#learner) {
      this.#state = 'broken';
      this.#reason = image.broken;
      this.#context.log('warn', `voter ${this.number} is broken and will be repaired: ${image.broken}`, { disk: disk.directory });
    }
    if (!image.names.promises.includes(epoch) && mutations.skipPromise !== true) {
      await disk.makeDirectory(QUORUM_DIRECTORY);
      await disk.syncDirectory('');
      await writePromise(disk, this.identity, epoch);
      this.#still(tenure);
    }
    const holder = this.#holder ?? (await ReplicaHolder.open(replicas, disk));
    if (tenure !== this.#tenure) await holder.close();
    this.#still(tenure);
    this.#holder = holder;
    const writer = await this.#plan(disk, image, holder);
    this.#still(tenure);
    this.#writer = writer;
    this.#need(writer.written.position);
    await this.#catchUp(writer, tenure);
    await writer.createMark();
    this.#still(tenure);
    history.setSource(this.number, { disk, table: writer.table });
    await this.#catchUp(writer, tenure);
    await this.#checkFence(disk);
    this.#still(tenure);
    this.#synced = writer.written.position;
    this.#needs = undefined;
    this.#state = 'online';
    this.#reason = undefined;
    this.#full = false;
    this.#context.changed(this);
    this.kick();
  }

  /**
   * Goes on with the voter's log where that holds the history and reaches back to its replica; otherwise the log begins anew at the replica.
   * Entries above the mark are written anew: they may be in the kernel's memory only, and a sync that failed in an earlier process may
   * never put them on the disk.
   */
  async #plan(disk: Disk, image: VoterImage, holder: ReplicaHolder): Promise<VoterWriter> {
    const { history, epoch, mutations } = this.#context;
    const { table, mark, names } = image;
    const common = image.broken === undefined ? history.commonWith(table) : undefined;
    if (common !== undefined) {
      table.cut(common);
      history.setSource(this.number, { disk, table });
    }
    const oldest = common === undefined ? 0 : table.base.position;
    const replica = await this.#repairReplica(holder, oldest);
    const synced = mutations.trustUnsynced === true ? common : mark?.point.position;
    const own = [...names.logs, ...names.marks].filter((id) => id.epoch === epoch).map((id) => id.sequence);
    const start = { disk, identity: this.identity, epoch, sequence: Math.max(0, ...own) + 1, skipSync: mutations.skipSync === true };
    if (common !== undefined && synced !== undefined && replica.position >= oldest && synced >= oldest) {
      const base = must(table.pointAt(Math.min(synced, common)), 'the log holds what lies at its mark');
      // A log that was never marked may have files that were never synced: it begins anew at the origin.
      const first = mutations.trustUnsynced === true ? table.files[0]?.id : mark?.first;
      if (first === undefined || first.epoch === 0)
        return new VoterWriter({ ...start, table: new EntryTable(base), base, first: undefined });
      return new VoterWriter({ ...start, table, base, first });
    }
    this.#context.log('info', `voter ${this.number} gets a new log from ${pointText(replica)} on`, { disk: disk.directory });
    return new VoterWriter({ ...start, table: new EntryTable(replica), base: replica, first: undefined });
  }

  /** A replica that is on the history and, if any is, not older than `oldest`. */
  async #repairReplica(holder: ReplicaHolder, oldest: number): Promise<LogPoint> {
    const { history } = this.#context;
    const usable = (point: LogPoint | undefined): point is LogPoint =>
      point !== undefined && history.holds(point) && history.reaches(point.position);
    const own = holder.point;
    if (usable(own) && own.position >= oldest) return own;
    const best = this.#context.bestReplica(this);
    if (best !== undefined && (!usable(own) || (best.point?.position ?? 0) > own.position)) {
      this.#context.log('info', `voter ${this.number} gets a copy of another voter's replica`);
      this.#need(best.point?.position ?? 0);
      await holder.copyFrom(best);
    } else if (!usable(own)) {
      if (!history.reaches(0))
        throw new OperatingError('EIO', 'no replica is there to copy, and the logs do not reach back to the beginning');
      await holder.replica.reset();
    }
    const point = holder.point;
    if (!usable(point)) throw new OperatingError('EIO', 'its replica could not be repaired');
    return point;
  }

  async #catchUp(writer: VoterWriter, tenure: number): Promise<void> {
    for (;;) {
      const end = this.#context.target();
      if (writer.written.position >= end) return;
      const records = await this.#context.history.read(writer.written.position + 1, end, LOG_BATCH_BYTES_MAX);
      this.#still(tenure);
      await writer.append(records);
      this.#still(tenure);
      if (this.#needs !== undefined) this.#need(writer.written.position);
    }
  }

  // ── Writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  #hasWork(): boolean {
    if (this.#state !== 'online' || this.#writer === undefined) return false;
    const { written, table, markBehind } = this.#writer;
    return written.position < this.#context.target() || this.#trimTo > table.base.position || (this.#noteMark && markBehind);
  }

  async #write(tenure: number): Promise<void> {
    const writer = must(this.#writer, 'an online voter has a writer');
    for (;;) {
      const end = this.#context.target();
      if (writer.written.position < end) {
        const { history } = this.#context;
        const from = writer.written.position + 1;
        const records = history.readNow(from, end, LOG_BATCH_BYTES_MAX) ?? (await history.read(from, end, LOG_BATCH_BYTES_MAX));
        this.#still(tenure);
        const names = await this.#append(writer, records);
        this.#checkNames(names);
        this.#still(tenure);
        this.#synced = writer.written.position;
        this.#context.changed(this);
        await this.#afterAppend(writer);
      } else if (this.#trimTo > writer.table.base.position) {
        const to = this.#trimTo;
        this.#trimTo = 0;
        await writer.trim(to);
      } else if (this.#noteMark && writer.markBehind) {
        this.#noteMark = false;
        await this.#note(writer);
      } else return;
      this.#still(tenure);
    }
  }

  async #append(writer: VoterWriter, records: readonly LogRecord[]): Promise<string> {
    const { clock } = this.#context;
    const startMs = clock.monotonicMs();
    const names = await writer.append(records);
    this.#usualMs += (clock.monotonicMs() - startMs - this.#usualMs) / 8;
    return names;
  }

  /** What need not be done with each append, and whoever waits for the append does not wait for. */
  async #afterAppend(writer: VoterWriter): Promise<void> {
    const { clock, markIntervalMs } = this.#context;
    await writer.prepare();
    if (clock.monotonicMs() - this.#notedMs >= markIntervalMs) await this.#note(writer);
  }

  async #note(writer: VoterWriter): Promise<void> {
    await writer.note();
    this.#notedMs = this.#context.clock.monotonicMs();
  }

  /** Does nobody else lead? Asked before files change that outlive this epoch. */
  async #checkFence(disk: Disk): Promise<void> {
    const names = await surveyVoter(disk);
    if (names === undefined) throw new OperatingError('EIO', 'its quorum files are gone', { disk: disk.directory });
    this.#checkPromises(names);
  }

  /** The same of names that were listed after a sync. They are hardly ever others than the last time. */
  #checkNames(names: string): void {
    if (names === this.#seenNames) return;
    this.#checkPromises(parseNames(names.split('/')));
    this.#seenNames = names;
  }

  #checkPromises(names: VoterNames): void {
    const { epoch, mutations } = this.#context;
    const promised = highestEpoch({ ...names, marks: [], logs: [] });
    if (promised > epoch && mutations.skipFence !== true) this.#fenced(promised);
  }

  #fenced(promised: number): never {
    this.#context.fenced(promised);
    throw new OperatingError('EROFS', `another process leads this pool in epoch ${promised}`);
  }

  // ── Going ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  #still(tenure: number): void {
    if (tenure !== this.#tenure) throw new TenureEnded();
  }

  /** An error of the present tenure takes the voter out until its disk returns, or a retry. */
  #lose(tenure: number, thrown: unknown): void {
    if (tenure !== this.#tenure || thrown instanceof TenureEnded) return;
    if (thrown instanceof AssertionError) throw thrown;
    const error = asOperatingError(thrown);
    const disk = this.#disk;
    this.#full = error.code === 'ENOSPC' || error.code === 'EDQUOT';
    this.#end(this.#state === 'broken' ? 'broken' : 'behind', error.message);
    this.#context.log('warn', `voter ${this.number} is out: ${error.message}`, { disk: disk?.directory, code: error.code });
    if (disk !== undefined && !this.#closed)
      this.#cancelRetry = this.#context.clock.after(VOTER_RETRY_MS, () => {
        if (this.#disk === disk && !this.online) void this.setDisk(disk);
      });
    this.#context.failed(this, error);
  }

  #end(state: VoterState, reason: string): void {
    this.#tenure++;
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
    const writer = this.#writer;
    const holder = this.#holder;
    this.#writer = undefined;
    this.#holder = undefined;
    this.#synced = 0;
    this.#noteMark = false;
    this.#seenNames = '';
    this.#trimTo = 0;
    this.#needs = undefined;
    // At the start the history knows the voters' logs from recovery: they stay until the voters have had their turn.
    if (this.#disk !== undefined) this.#context.history.dropSource(this.number);
    this.#state = state;
    this.#reason = reason;
    const before = this.#closing;
    this.#closing = Promise.all([before, writer?.close(), holder?.close()]);
    this.#context.changed(this);
  }
}
