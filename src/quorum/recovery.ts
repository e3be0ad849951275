/**
 * Opens the quorum log: leads it where a majority of the voters can be read, otherwise opens it read-only. Called once by the daemon, after
 * it has locked and synced all disks (`syncAll`): what a process that died had written and not synced is then on the disks, as far as it is there.
 *
 *   survey ─▶ promise a higher epoch (synced, on a majority) ─▶ read ─▶ choose the history ─▶ bring voters to it
 *          ─▶ working replica ─▶ first entry of the own epoch, synced on a majority ─▶ serve
 *
 * The order is what makes it safe (I4, I9): logs are read after the promise, so whatever an earlier leader acknowledges is seen, or its
 * acknowledgement fails; nothing is served before an entry of the own epoch is on a majority, so what was recovered stays. A voter that is damaged
 * below its mark counts for no majority. Where a voter fails in the midst, all begins anew without it.
 */
import { AssertionError, must } from '../base/assert.js';
import { asOperatingError, OperatingError } from '../base/errors.js';
import { EPOCH_MAX } from '../base/ids.js';
import { LOG_BATCH_BYTES_MAX, RECOVERY_ATTEMPTS_MAX } from '../base/limits.js';
import type { Disk } from '../disk/disk.js';
import { majorityOf } from './acknowledgements.js';
import { History } from './history.js';
import { LeadingLog } from './leading-log.js';
import type { Mutations } from './mutations.js';
import { compareAdvance, originPoint } from './point.js';
import type { OpenedLog, QuorumOptions, VoterState, VoterStatus } from './quorum-log.js';
import { ReadOnlyLog } from './read-only-log.js';
import { recoverHistory, type ReadVoter } from './recovered-history.js';
import { ReplicaHolder } from './replica-holder.js';
import type { LogPoint } from './state-machine.js';
import { highestEpoch, type VoterIdentity, type VoterNames } from './voter-format.js';
import type { PreparedVoter } from './voter-link.js';
import { readVoter, surveyVoter, type VoterImage } from './voter-reader.js';
import { writePromise } from './voter-writer.js';

interface Present {
  readonly number: number;
  readonly disk: Disk;
}

/** One try. What it learns about voters that cannot be used goes into `reasons`. */
class Attempt {
  readonly options: QuorumOptions;
  readonly mutations: Mutations;
  readonly majority: number;
  readonly reasons: Map<number, string>;
  highest = 0;

  constructor(options: QuorumOptions, mutations: Mutations, reasons = new Map<number, string>()) {
    this.options = options;
    this.mutations = mutations;
    this.reasons = reasons;
    this.majority = majorityOf(options.voters.length);
  }

  get present(): Present[] {
    return this.options.voters.flatMap(({ number, disk }) => (disk === undefined ? [] : [{ number, disk }]));
  }

  identity(voter: number): VoterIdentity {
    return { poolId: this.options.poolId, voter };
  }

  /** Runs `call` on each voter at the same time; those that fail are left out. */
  async each<V extends Present, T>(
    voters: readonly V[],
    call: (voter: V) => Promise<T | undefined>,
  ): Promise<(V & { readonly value: T })[]> {
    const results = await Promise.all(
      voters.map(async (voter) => {
        try {
          const value = await call(voter);
          return value === undefined ? [] : [{ ...voter, value }];
        } catch (thrown) {
          if (thrown instanceof AssertionError) throw thrown;
          this.reasons.set(voter.number, asOperatingError(thrown).message);
          return [];
        }
      }),
    );
    return results.flat();
  }

  /** The log, leading; undefined without a majority; 'again' when a voter failed in the midst. */
  async lead(): Promise<OpenedLog | undefined | 'again'> {
    const surveyed = await this.each(this.present, async (voter) => {
      const names = await surveyVoter(voter.disk);
      if (names === undefined) this.reasons.set(voter.number, 'its quorum files are gone');
      return names;
    });
    this.highest = Math.max(0, ...surveyed.map((voter) => highestEpoch(voter.value)));
    if (surveyed.filter((voter) => hasBasics(voter.value)).length < this.majority) return undefined;
    const epoch = this.highest + 1;
    if (epoch > EPOCH_MAX) throw new OperatingError('EOVERFLOW', `the pool has had ${EPOCH_MAX} epochs`);
    const promised = await this.each(surveyed, async (voter) => {
      if (this.mutations.skipPromise !== true) await writePromise(voter.disk, this.identity(voter.number), epoch);
      return true;
    });
    // Read after the promise, as the logs are: a leader before us that still changes it fails its check for promises, or we see its change.
    if ((await this.options.membershipStands?.()) === false)
      throw new OperatingError('ESTALE', 'the members of the pool were changed while it was opened', { hint: 'Mount it again.' });
    const read = await this.readAll(promised);
    const good = read.filter((voter) => voter.image.broken === undefined);
    // A call that failed may succeed the next time; damage stays.
    if (good.length < this.majority) return read.length < surveyed.length ? 'again' : undefined;
    const holders = await this.openReplicas(read);
    let log: LeadingLog | undefined;
    try {
      const points = pointsOf(holders);
      const recovered = await recoverHistory(this.options, good, points);
      log = new LeadingLog(this.options, this.mutations, epoch, recovered.history, this.reasons);
      const { cutEntries, journalEntries } = recovered;
      if (await this.take(log, recovered.history, read, holders)) return { log, cutEntries, journalEntries };
    } catch (thrown) {
      if (thrown instanceof AssertionError) throw thrown;
      this.options.log('warn', `recovery failed and begins anew: ${asOperatingError(thrown).message}`);
    }
    for (const { number, reason } of log?.voters() ?? []) if (reason !== undefined) this.reasons.set(number, reason);
    await log?.abandon();
    await Promise.all([...holders.values()].map((holder) => holder.close()));
    return 'again';
  }

  /** Brings the voters and the working replica to the history and appends the first entry. */
  async take(
    log: LeadingLog,
    history: History,
    read: readonly (ReadVoter & Present)[],
    holders: ReadonlyMap<number, ReplicaHolder>,
  ): Promise<boolean> {
    const prepared = new Map<number, PreparedVoter>();
    const quick = new Set<number>();
    for (const { number, image } of read) {
      const holder = holders.get(number);
      // One that could not be opened is tried again with the voter.
      if (holder === undefined) continue;
      prepared.set(number, { image, holder });
      if (isQuick(image, holder, history)) quick.add(number);
    }
    const disks = new Map(this.present.map((voter) => [voter.number, voter.disk]));
    if (!(await log.bringUp(disks, prepared, quick))) return false;
    await bringUpWorking(this.options, history, log.bestReplica());
    return log.lead();
  }

  async readAll(voters: readonly Present[]): Promise<(ReadVoter & Present)[]> {
    const read = await this.each(voters, (voter) => readVoter(voter.disk, this.identity(voter.number), this.mutations));
    for (const { number, value } of read) if (value.broken !== undefined) this.reasons.set(number, value.broken);
    return read.map(({ number, disk, value }) => ({ number, disk, image: value }));
  }

  async openReplicas(voters: readonly Present[]): Promise<Map<number, ReplicaHolder>> {
    const opened = await this.each(voters, (voter) => ReplicaHolder.open(this.options.replicas, voter.disk));
    return new Map(opened.map((voter) => [voter.number, voter.value]));
  }

  /** The log without a majority, from whatever can be read, broken voters too. Writes nothing but the working replica. */
  async readOnly(): Promise<OpenedLog> {
    const surveyed = await this.each(this.present, (voter) => surveyVoter(voter.disk));
    const read = await this.readAll(surveyed);
    const holders = await this.openReplicas(read);
    try {
      const points = pointsOf(holders);
      const furthest = [...holders.values()].sort((a, b) => compareAdvance(b.point ?? originPoint, a.point ?? originPoint))[0];
      if (read.length === 0) throw new OperatingError('EIO', 'no voter of the pool can be read', { hint: this.reason([]) });
      let recovered = await recoverHistory(this.options, read, points);
      let source = bestOn(recovered.history, holders);
      // A replica may be all that is left of the log, or further on than what is left.
      const alone = furthest?.point !== undefined && compareAdvance(furthest.point, recovered.history.head) > 0;
      if (furthest?.point !== undefined && (alone || (source === undefined && !recovered.history.reaches(0)))) {
        source = furthest;
        recovered = { history: new History(furthest.point), covered: furthest.point.position, cutEntries: 0, journalEntries: 0 };
      }
      await bringUpWorking(this.options, recovered.history, source);
      const voters = this.statuses(read, holders);
      const reason = this.reason(voters);
      this.options.log('error', `the pool is read-only: ${reason}`);
      const state = { reason, epoch: this.highest, head: recovered.history.head, durablePosition: recovered.covered, voters };
      return { log: new ReadOnlyLog(state), cutEntries: recovered.cutEntries, journalEntries: recovered.journalEntries };
    } finally {
      await Promise.all([...holders.values()].map((holder) => holder.close()));
    }
  }

  statuses(read: readonly (ReadVoter & Present)[], holders: ReadonlyMap<number, ReplicaHolder>): VoterStatus[] {
    return this.options.voters.map(({ number, disk }) => {
      const image = read.find((voter) => voter.number === number)?.image;
      const broken = image?.broken !== undefined || (disk !== undefined && image === undefined);
      const state: VoterState = disk === undefined ? 'absent' : broken ? 'broken' : 'behind';
      const reason = this.reasons.get(number) ?? (disk === undefined ? 'its disk is not there' : 'there is no majority to follow');
      const replicaPosition = holders.get(number)?.point?.position ?? 0;
      return { number, state, syncedPosition: image?.mark?.point.position ?? 0, replicaPosition, reason };
    });
  }

  reason(voters: readonly VoterStatus[]): string {
    // One that is well otherwise may have refused a promise: its disk is full, say.
    const isUsable = (voter: VoterStatus): boolean => voter.state === 'behind' && !this.reasons.has(voter.number);
    const usable = voters.filter(isUsable).length;
    const out = voters.filter((voter) => !isUsable(voter)).map((voter) => `voter ${voter.number} is ${voter.state}: ${voter.reason ?? ''}`);
    return (
      `${usable} of ${this.options.voters.length} voters can be used, ${this.majority} are needed (${out.join('; ')}). ` +
      'Bring back their disks and mount the pool again'
    );
  }
}

function pointsOf(holders: ReadonlyMap<number, ReplicaHolder>): LogPoint[] {
  return [...holders.values()].flatMap(({ point }) => (point === undefined ? [] : [point]));
}

/** Are the files there that every voter has from the beginning? */
function hasBasics(names: VoterNames): boolean {
  return names.promises.length > 0 && names.marks.length > 0;
}

/** Needs no replica copied: such voters are waited for at the start. */
function isQuick(image: VoterImage, holder: ReplicaHolder, history: History): boolean {
  const { point } = holder;
  if (image.broken !== undefined || history.commonWith(image.table) === undefined || point === undefined) return false;
  return history.holds(point) && history.reaches(point.position) && point.position >= image.table.base.position;
}

function bestOn(history: History, holders: ReadonlyMap<number, ReplicaHolder>): ReplicaHolder | undefined {
  let best: ReplicaHolder | undefined;
  for (const holder of holders.values()) {
    const { point } = holder;
    if (point === undefined || !history.holds(point) || !history.reaches(point.position)) continue;
    if (best === undefined || point.position > (best.point?.position ?? -1)) best = holder;
  }
  return best;
}

/** Brings the working replica to the end of the history: goes on where it stands if it is on it, else from a durable replica. */
async function bringUpWorking(options: QuorumOptions, history: History, source: ReplicaHolder | undefined): Promise<void> {
  const { working } = options;
  const usable = (point: LogPoint | undefined): boolean => point !== undefined && history.holds(point) && history.reaches(point.position);
  if (!usable(working.point)) {
    if (source === undefined && !history.reaches(0))
      throw new OperatingError('EIO', 'no replica of the index is left, and the logs do not reach back to the beginning', {
        hint: 'Bring back more disks of the pool.',
      });
    options.log('info', 'the working replica is made anew');
    if (source === undefined) await working.rebuildFrom(undefined);
    else await source.run(() => working.rebuildFrom(source.replica));
  }
  let at = must(working.point, 'the working replica has a point').position;
  while (at < history.head.position) {
    for (const record of await history.read(at + 1, history.head.position, LOG_BATCH_BYTES_MAX)) {
      working.apply(record.entry);
      at++;
    }
    for (let room = working.room(); room !== undefined; room = working.room()) await room;
    await options.clock.yield();
  }
}

/** `openQuorumLog` with rules left out, for the check that shows what each is for. */
export async function openWithMutations(options: QuorumOptions, mutations: Mutations): Promise<OpenedLog> {
  let reasons: Map<number, string> | undefined;
  for (let tries = 0; tries < RECOVERY_ATTEMPTS_MAX; tries++) {
    const attempt = new Attempt(options, mutations);
    const opened = await attempt.lead();
    if (opened !== 'again') return opened ?? attempt.readOnly();
    reasons = attempt.reasons;
  }
  // With what the last one learned.
  return new Attempt(options, mutations, reasons).readOnly();
}
