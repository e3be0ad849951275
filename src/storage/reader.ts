/**
 * Reads blobs: opens the records that are on disks that are in, has one stripe call read and verify them, and accounts for what turned out bad. Pins the blob
 * while it reads, so that its space is not given back underneath (I5).
 *
 * Keeps I6: all bytes come from `StripeIo`, which verifies frames against prefix and seed; damage is counted on the disk and reported (I8).
 */
import { LRUCache } from 'lru-cache';
import { assert } from '../base/assert.js';
import { OperatingError, type ErrnoName } from '../base/errors.js';
import type { DiskNumber } from '../base/ids.js';
import { DAMAGE_REPORTS_MAX } from '../base/limits.js';
import type { Location } from '../base/location.js';
import type { ShardFailure, ShardRecord } from '../disk/stripe.js';
import type { HeldFile } from './file-cache.js';
import { placeOf, presentShards, type Pool } from './pool.js';
import { aloneGeometry, encodePrefix, geometryOf, recordSeed } from './record.js';

interface Opened {
  readonly shard: number;
  readonly disk: DiskNumber;
  readonly held: HeldFile;
}

/** Whether findings are accounted for. quiet: the caller knows that some shards are suspect. */
type Findings = 'report' | 'quiet';

export class Reader {
  readonly #pool: Pool;
  readonly #reported = new LRUCache<string, true>({ max: DAMAGE_REPORTS_MAX });

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  /** See `Storage.read`. */
  async read(location: Location, offset: number, out: Uint8Array): Promise<void> {
    assert(offset >= 0 && offset + out.length <= location.bytes, `read ${offset}+${out.length} of ${location.bytes}`);
    if (out.length === 0) return;
    await this.#pool.pins.with(location.blob, () => this.#fetch(location, presentShards(location), offset, out, 'report'));
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
      const opened = await this.#open(location, shards, 'report');
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

  /** One shard's content, data or parity; or why it cannot be had from its place. */
  async shardContent(location: Location, shard: number): Promise<Buffer | ErrnoName> {
    const { stripeIo } = this.#pool.options;
    const geometry = aloneGeometry(location);
    return this.#pool.pins.with(location.blob, async () => {
      const opened = await this.#open(location, [shard], 'quiet');
      try {
        const records = this.#records(location, opened).map((record) => ({ ...record, shard: 0 }));
        if (records.length === 0) return 'ENODATA';
        const out = Buffer.allocUnsafe(geometry.shardBytes);
        try {
          await stripeIo.fetch(geometry, records, 0, out);
          return out;
        } catch (thrown) {
          if (!(thrown instanceof OperatingError)) throw thrown;
          return (await stripeIo.verify(geometry, records))[0]?.error.code ?? thrown.code;
        }
      } finally {
        for (const { held } of opened) held.release();
      }
    });
  }

  async #fetch(location: Location, shards: readonly number[], offset: number, out: Uint8Array, findings: Findings): Promise<void> {
    const { stripeIo, diskSet } = this.#pool.options;
    for (let attempt = 0; ; attempt++) {
      const opened = await this.#open(location, shards, findings);
      try {
        if (opened.length < location.k) throw this.#tooFew(location, opened.length);
        const failures = await stripeIo.fetch(geometryOf(location), this.#records(location, opened), offset, out);
        if (findings === 'report') this.#account(location, opened, failures);
        return;
      } catch (thrown) {
        if (!(thrown instanceof OperatingError)) throw thrown;
        // A disk that left or came back in between has closed our files: once more with what is there now.
        const changed = opened.some(({ disk, held }) => diskSet.disk(disk) !== held.file.disk);
        if (attempt === 0 && changed) continue;
        if (findings === 'report') await this.#accountLost(location, opened);
        throw thrown;
      } finally {
        for (const { held } of opened) held.release();
      }
    }
  }

  /** Handles on the records that can be tried. */
  async #open(location: Location, shards: readonly number[], findings: Findings): Promise<Opened[]> {
    const opened: Opened[] = [];
    const waiting: Promise<void>[] = [];
    for (const shard of shards) {
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
      waiting.push(held.then((file) => void opened.push({ shard, disk, held: file }), failed));
    }
    if (waiting.length > 0) await Promise.all(waiting);
    return opened;
  }

  #records(location: Location, opened: readonly Opened[]): ShardRecord[] {
    const { poolId } = this.#pool.options;
    return opened.map(({ shard, held }) => ({
      shard,
      file: held.file,
      offset: placeOf(location, shard).offset,
      prefix: encodePrefix(poolId, location, shard),
      seed: recordSeed(poolId, location.blob, shard),
    }));
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
