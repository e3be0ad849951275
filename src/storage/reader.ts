/**
 * Reads blobs: opens the records that are on disks that are in, has one stripe call read and verify them, and accounts for what turned out bad. Pins the blob
 * while it reads, so that its space is not given back underneath (I5).
 *
 * Keeps I6: all bytes come from `StripeIo`, which verifies frames against prefix and seed; damage is counted on the disk and reported (I8).
 */
import { LRUCache } from 'lru-cache';
import { assert } from '../base/assert.js';
import { BufferPool } from '../base/buffers.js';
import type { Cancel } from '../base/clock.js';
import { OperatingError, type ErrnoName } from '../base/errors.js';
import type { DiskNumber } from '../base/ids.js';
import { DAMAGE_REPORTS_MAX, FRAME_BYTES, READ_ALONE_BYTES_MAX } from '../base/limits.js';
import type { Location } from '../base/location.js';
import type { ShardFailure, ShardRecord } from '../disk/stripe.js';
import type { HeldFile } from './file-cache.js';
import { placeOf, presentShards, type Pool } from './pool.js';
import type { Probe, TimedFetch } from './slow-disks.js';
import { aloneGeometry, encodePrefix, geometryOf, recordSeed } from './record.js';

interface Opened {
  readonly shard: number;
  readonly disk: DiskNumber;
  readonly held: HeldFile;
}

const OWN_BUFFERS_KEPT = 8;
const NOBODY: ReadonlyMap<DiskNumber, Probe> = new Map();

/** Whether findings are accounted for. quiet: the caller knows that some shards are suspect. */
type Findings = 'report' | 'quiet';

export class Reader {
  readonly #pool: Pool;
  readonly #reported = new LRUCache<string, true>({ max: DAMAGE_REPORTS_MAX });
  /** Memory of small reads. */
  readonly #own = new BufferPool(READ_ALONE_BYTES_MAX, { keepMax: OWN_BUFFERS_KEPT });

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  /** See `Storage.read`. */
  read(location: Location, offset: number, out: Uint8Array): Promise<void> {
    assert(offset >= 0 && offset + out.length <= location.bytes, () => `read ${offset}+${out.length} of ${location.bytes}`);
    if (out.length === 0) return Promise.resolve();
    return this.#pool.pins.with(location.blob, () => {
      const alone = this.#holder(location, offset, out.length);
      return alone === undefined ? this.#fetchFromAll(location, offset, out) : this.#fetchAlone(location, alone, offset, out);
    });
  }

  #fetchFromAll(location: Location, offset: number, out: Uint8Array): Promise<void> {
    return this.#fetch(location, presentShards(location), offset, out, 'report');
  }

  /**
   * The one shard that holds all of a small range, open; undefined where there is none, or it is better not to wait for it. To ask it alone costs less
   * than to prepare for what the others might be needed for.
   */
  #holder(location: Location, offset: number, bytes: number): Opened | undefined {
    const { shardBytes } = geometryOf(location);
    const shard = Math.floor(offset / shardBytes);
    const { disk, segment } = placeOf(location, shard);
    if (bytes > READ_ALONE_BYTES_MAX || offset + bytes > (shard + 1) * shardBytes || disk === 0) return undefined;
    const shelf = this.#pool.shelf(disk);
    if (!shelf.disk || this.#pool.isSlow(disk)) return undefined;
    const held = shelf.opened(segment);
    return held && { shard, disk, held };
  }

  /** From one shard, if it answers in time and well. Gives its file back. */
  #fetchAlone(location: Location, alone: Opened, offset: number, out: Uint8Array): Promise<void> {
    const { shard, disk, held } = alone;
    // Not `out` itself: when we wait no longer, it may still be written to.
    const memory = this.#own.take();
    const own = memory.subarray(0, out.length);
    const timed = this.#pool.slowDisks.begin();
    return new Promise<void>((resolve) => {
      let late = false;
      const ended = timed.patience(() => {
        if (late) return;
        late = true;
        resolve(this.#fetchLate(location, alone, offset, out, timed));
      });
      const over = (good: boolean): void => {
        ended();
        held.release();
        if (good && !late) out.set(own);
        this.#own.give(memory);
        if (late) return;
        if (good) timed.ended([disk], NOBODY);
        resolve(good ? undefined : this.#fetchFromAll(location, offset, out));
      };
      const record = this.#record(location, alone, 0);
      const skip = offset - shard * geometryOf(location).shardBytes;
      void this.#pool.options.stripeIo.fetch(aloneGeometry(location), [record], skip, own).then(
        () => {
          over(true);
        },
        () => {
          over(false);
        },
      );
    });
  }

  /** What one shard did not answer in time. */
  async #fetchLate(location: Location, { shard, disk }: Opened, offset: number, out: Uint8Array, timed: TimedFetch): Promise<void> {
    if (await this.#fetchAround(location, shard, offset, out)) timed.ended([disk], this.#probes(location, [shard]));
    else await this.#fetchFromAll(location, offset, out);
  }

  /** Without a shard. False where the others are not enough. */
  async #fetchAround(location: Location, shard: number, offset: number, out: Uint8Array): Promise<boolean> {
    const rest = presentShards(location).filter((other) => other !== shard);
    if (rest.length < location.k) return false;
    try {
      await this.#fetch(location, rest, offset, out, 'quiet');
      return true;
    } catch (thrown) {
      if (!(thrown instanceof OperatingError)) throw thrown;
      return false;
    }
  }

  /**
   * The whole content, from shards other than those to `avoid` if there are enough.
   * @throws OperatingError EIO
   */
  async content(location: Location, avoid: readonly number[], findings: Findings): Promise<Buffer> {
    const all = presentShards(location);
    const rest = all.filter((shard) => !avoid.includes(shard));
    const out = Buffer.allocUnsafe(location.bytes);
    return this.#pool.pins.with(location.blob, async () => {
      try {
        await this.#fetch(location, rest, 0, out, findings);
      } catch (error) {
        if (rest.length === all.length) throw error;
        // Those to avoid are verified like all others: where they are good, they are good enough.
        await this.#fetch(location, all, 0, out, findings);
      }
      return out;
    });
  }

  /** Shards of these that are there and whole. */
  async goodShards(location: Location, shards: readonly number[]): Promise<number[]> {
    return this.#pool.pins.with(location.blob, async () => {
      const { opened } = await this.#open(location, shards, 'report');
      try {
        const failures = await this.#pool.options.stripeIo.verify(geometryOf(location), this.#records(location, opened));
        this.#account(location, opened, failures);
        const bad = new Set(failures.map(({ shard }) => shard));
        return opened.map(({ shard }) => shard).filter((shard) => !bad.has(shard));
      } finally {
        for (const { held } of opened) held.release();
      }
    });
  }

  /**
   * Writes `targets`, made of shards other than those, which are missing or suspect, without their content passing through here.
   * @returns targets that did not land
   * @throws OperatingError EIO: fewer than k good ones are there
   */
  async remake(location: Location, shards: readonly number[], targets: readonly ShardRecord[]): Promise<readonly ShardFailure[]> {
    const { stripeIo } = this.#pool.options;
    const rest = presentShards(location).filter((shard) => !shards.includes(shard));
    const made = await this.#pool.pins.with(location.blob, async () => {
      // Slow disks are not waited for, if enough others are there.
      const { opened } = await this.#open(location, rest, 'report', location.k);
      try {
        if (opened.length < location.k) return undefined;
        const remade = await stripeIo.remake(geometryOf(location), this.#records(location, opened), targets);
        this.#account(location, opened, remade.sources);
        return remade;
      } finally {
        for (const { held } of opened) held.release();
      }
    });
    if (made?.enough === true) return made.targets;
    // Fewer than k whole records: frame by frame there may be enough, with what those to avoid have left.
    return stripeIo.store(geometryOf(location), await this.content(location, shards, 'report'), targets);
  }

  /** Copies one record to another place. `bad`: why it cannot be had from its own; then nothing was written. */
  async copy(location: Location, shard: number, target: ShardRecord): Promise<{ bad?: ErrnoName; failures: readonly ShardFailure[] }> {
    const { stripeIo } = this.#pool.options;
    return this.#pool.pins.with(location.blob, async () => {
      const { opened } = await this.#open(location, [shard], 'quiet');
      try {
        const sources = opened.map((one) => this.#record(location, one, 0));
        if (sources.length === 0) return { bad: 'ENODATA', failures: [] };
        const remade = await stripeIo.remake(aloneGeometry(location), sources, [{ ...target, shard: 0 }]);
        if (!remade.enough) return { bad: remade.sources[0]?.error.code ?? 'EIO', failures: [] };
        return { failures: remade.targets.map(({ error }) => ({ shard, error })) };
      } finally {
        for (const { held } of opened) held.release();
      }
    });
  }

  async #fetch(location: Location, shards: readonly number[], offset: number, out: Uint8Array, findings: Findings): Promise<void> {
    const { stripeIo, diskSet } = this.#pool.options;
    const { slowDisks } = this.#pool;
    for (let attempt = 0; ; attempt++) {
      // Slow disks are gone around at first; if that was one too many, all are waited for.
      const timed = attempt === 0 ? slowDisks.begin() : undefined;
      const { opened, leftOut } = await this.#open(location, shards, findings, timed ? location.k : shards.length);
      try {
        if (opened.length < location.k) throw this.#tooFew(location, opened.length);
        const failures = await stripeIo.fetch(geometryOf(location), this.#records(location, opened), offset, out, timed?.patience);
        const late = failures.filter(({ error }) => error.code === 'ETIME').map(({ shard }) => shard);
        timed?.ended(this.#asked(location, offset, out.length), this.#probes(location, [...late, ...leftOut]));
        if (findings === 'report')
          this.#account(
            location,
            opened,
            failures.filter(({ shard }) => !late.includes(shard)),
          );
        return;
      } catch (thrown) {
        if (!(thrown instanceof OperatingError)) throw thrown;
        // A disk that left or came back in between has closed our files: once more with what is there now.
        const changed = opened.some(({ disk, held }) => diskSet.disk(disk) !== held.file.disk);
        const hasty = timed !== undefined && (timed.hurried || leftOut.length > 0 || opened.length < shards.length);
        if (attempt === 0 && (changed || hasty)) continue;
        if (attempt === 1 && changed) continue;
        if (findings === 'report') await this.#accountLost(location, opened);
        throw thrown;
      } finally {
        for (const { held } of opened) held.release();
      }
    }
  }

  /** Disks of the data shards that hold a range: those that a read waits for when nothing is wrong. */
  #asked(location: Location, offset: number, bytes: number): DiskNumber[] {
    const { shardBytes } = geometryOf(location);
    const disks: DiskNumber[] = [];
    for (let shard = Math.floor(offset / shardBytes); shard * shardBytes < offset + bytes; shard++)
      disks.push(placeOf(location, shard).disk);
    return disks;
  }

  #probes(location: Location, shards: readonly number[]): Map<DiskNumber, Probe> {
    return new Map(shards.map((shard) => [placeOf(location, shard).disk, () => this.#probe(location, shard)]));
  }

  /** Reads a frame's worth somewhere in a record, for its time alone. */
  async #probe(location: Location, shard: number): Promise<void> {
    const { disk, segment, offset } = placeOf(location, shard);
    const held = await this.#pool.shelf(disk).acquire(segment);
    try {
      const { shardBytes } = geometryOf(location);
      await held.file.read(offset + this.#pool.options.random.below(shardBytes), FRAME_BYTES);
    } finally {
      held.release();
    }
  }

  /**
   * Handles on the records that can be tried.
   * @param enough so many will do: slow disks are left out, and those whose files do not open in time
   */
  async #open(
    location: Location,
    shards: readonly number[],
    findings: Findings,
    enough = shards.length,
  ): Promise<{ opened: Opened[]; leftOut: number[] }> {
    const opened: Opened[] = [];
    const waiting = new Map<number, Promise<void>>();
    let over = false;
    for (const shard of this.#quick(location, shards, enough)) {
      const { disk, segment } = placeOf(location, shard);
      const shelf = this.#pool.shelf(disk);
      const object = shelf.disk;
      if (!object) continue;
      const held = shelf.acquire(segment);
      if (!(held instanceof Promise)) {
        opened.push({ shard, disk, held });
        continue;
      }
      const failed = (error: unknown): void => {
        const { code } = this.#pool.ioFailed(disk, object, 'read', error);
        if (findings === 'quiet' || this.#pool.options.diskSet.disk(disk) !== object) return;
        // A segment that is gone: what it held is not there.
        this.#report(location, shard, code === 'ENOENT' ? 'ENODATA' : code);
      };
      const opening = held.then((file) => {
        if (over) file.release();
        else opened.push({ shard, disk, held: file });
      }, failed);
      waiting.set(
        shard,
        opening.finally(() => waiting.delete(shard)),
      );
    }
    if (waiting.size > 0) await this.#openedInTime(waiting, () => opened.length >= enough);
    over = true;
    return { opened, leftOut: [...waiting.keys()] };
  }

  /** Waits for all, or after a while until there are enough. */
  async #openedInTime(waiting: ReadonlyMap<number, Promise<void>>, enough: () => boolean): Promise<void> {
    let cancel: Cancel = () => undefined;
    let late = false;
    const patience = new Promise<void>((resolve) => {
      cancel = this.#pool.options.clock.after(this.#pool.slowDisks.patienceMs, () => {
        late = true;
        resolve();
      });
    });
    await Promise.race([Promise.all(waiting.values()), patience]);
    cancel();
    while (late && waiting.size > 0 && !enough()) await Promise.race(waiting.values());
  }

  /** The shards without those on slow disks, if enough others are there. */
  #quick(location: Location, shards: readonly number[], enough: number): readonly number[] {
    const { slowDisks } = this.#pool;
    const slow = shards.filter((shard) => this.#pool.isSlow(placeOf(location, shard).disk));
    if (slow.length === 0) return shards;
    const quick = shards.filter((shard) => !slow.includes(shard) && this.#pool.options.diskSet.disk(placeOf(location, shard).disk));
    if (quick.length < enough) return shards;
    for (const [disk, probe] of this.#probes(location, slow)) slowDisks.leftOut(disk, probe);
    return quick;
  }

  #records(location: Location, opened: readonly Opened[]): ShardRecord[] {
    return opened.map((one) => this.#record(location, one, one.shard));
  }

  /** @param as the number of the shard in the call */
  #record(location: Location, { shard, held }: Opened, as: number): ShardRecord {
    const { poolId } = this.#pool.options;
    return {
      shard: as,
      file: held.file,
      offset: placeOf(location, shard).offset,
      prefix: encodePrefix(poolId, location, shard),
      seed: recordSeed(poolId, location.blob, shard),
    };
  }

  #account(location: Location, opened: readonly Opened[], failures: readonly ShardFailure[]): void {
    for (const { shard, error } of failures) {
      const found = opened.find((each) => each.shard === shard);
      assert(found, `shard ${shard} was not asked for`);
      const { diskSet } = this.#pool.options;
      // What a disk that is out did not answer says nothing about the record.
      if (diskSet.disk(found.disk) !== found.held.file.disk) continue;
      this.#pool.ioFailed(found.disk, found.held.file.disk, 'read', error);
      this.#report(location, shard, error.code);
    }
  }

  /** The stripe call gave up without saying on whom: asks each record, once for a blob. */
  async #accountLost(location: Location, opened: readonly Opened[]): Promise<void> {
    const key = `${location.blob} lost`;
    if (this.#reported.has(key) || opened.length === 0) return;
    this.#reported.set(key, true);
    this.#account(location, opened, await this.#pool.options.stripeIo.verify(geometryOf(location), this.#records(location, opened)));
  }

  #report(location: Location, shard: number, code: string): void {
    const { disk, segment, offset } = placeOf(location, shard);
    const key = `${location.blob} ${shard} ${disk} ${segment} ${offset}`;
    if (this.#reported.has(key)) return;
    this.#reported.set(key, true);
    this.#pool.options.onDamage({ blob: location.blob, shard, disk, code });
  }

  #tooFew({ k, m }: Location, there: number): OperatingError {
    return new OperatingError('EIO', `${k} good shards are needed, ${there} of ${k + m} are on disks that are in`, {
      hint: 'Bring the missing disks of the pool back ("ostraka status" names them).',
    });
  }
}
