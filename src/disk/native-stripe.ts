/**
 * Stripe I/O on real disks: each call is one native call that encodes, checks and reads or writes on the threads of all its disks in parallel.
 * I6: native code verifies header, prefix and every frame that it uses; what does not match is counted on its disk and reported.
 */
import { constants } from 'node:os';
import { assert } from '../base/assert.js';
import { OperatingError } from '../base/errors.js';
import { BLOB_SHARDS_MAX, RECORD_PREFIX_BYTES } from '../base/limits.js';
import { nativeIo, RECORD_COLUMNS, type NativeIo } from '../base/native-io.js';
import { NativeFile } from './native-disk.js';
import { nativeError } from './native-error.js';
import type { DiskFile } from './disk.js';
import type { Patience, Remade, ShardFailure, ShardRecord, StoreWatch, Stretch, StripeGeometry, StripeIo } from './stripe.js';

/** The records that a native call takes part in, packed, and those that could not even be tried. */
interface Packed {
  readonly records: readonly { readonly record: ShardRecord; readonly file: NativeFile }[];
  readonly table: Float64Array;
  readonly prefixes: Uint8Array;
  readonly failures: ShardFailure[];
}

function nativeFile(record: ShardRecord): NativeFile {
  assert(record.file instanceof NativeFile, () => `shard ${record.shard} is not on a native disk`);
  return record.file;
}

function pack(records: readonly ShardRecord[], writing: boolean): Packed {
  const usable: { record: ShardRecord; file: NativeFile }[] = [];
  const failures: ShardFailure[] = [];
  const table = new Float64Array(records.length * RECORD_COLUMNS);
  const prefixes = Buffer.allocUnsafe(records.length * RECORD_PREFIX_BYTES);
  for (const record of records) {
    const file = nativeFile(record);
    assert(record.prefix.length === RECORD_PREFIX_BYTES, () => `prefix of ${record.prefix.length} bytes`);
    try {
      if (writing && file.poisoned) throw file.poisonedError('write');
      const at = usable.length;
      table.set([record.shard, file.usableHandle(), record.offset, record.seed >>> 0], at * RECORD_COLUMNS);
      prefixes.set(record.prefix, at * RECORD_PREFIX_BYTES);
      usable.push({ record, file });
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      failures.push({ shard: record.shard, error });
    }
  }
  const count = usable.length;
  return {
    records: usable,
    failures,
    table: table.subarray(0, count * RECORD_COLUMNS),
    prefixes: prefixes.subarray(0, count * RECORD_PREFIX_BYTES),
  };
}

/** Adds what native code reports, and counts it on the disks. */
function collect(packed: Packed, statuses: Int32Array, action: 'write' | 'read'): ShardFailure[] {
  packed.records.forEach(({ record, file }, index) => {
    const errno = statuses[index] ?? 0;
    if (errno === 0) return;
    // Not waited for: that is no failure of the disk's.
    if (errno === constants.errno.ETIME) {
      packed.failures.push({ shard: record.shard, error: nativeError(-errno, `${action} in time`, file.directory.directory, file.path) });
      return;
    }
    const error = file.directory.stripeFailure(errno, action, file.path);
    packed.failures.push({ shard: record.shard, error });
  });
  return packed.failures;
}

/** Names stripe calls to native code, in this process. */
let lastToken = 0;

/** Sets of shards as native code has them: a bit each. */
function bitsOf(shards: readonly number[]): number {
  return shards.reduce((bits, shard) => bits | (1 << shard), 0) >>> 0;
}

function shardsOf(bits: number): number[] {
  return Array.from({ length: BLOB_SHARDS_MAX }, (_, shard) => shard).filter((shard) => ((bits >>> shard) & 1) === 1);
}

function tooFew({ k, m }: StripeGeometry, records: readonly ShardRecord[], failures: readonly ShardFailure[]): OperatingError {
  const reasons = failures.map(({ shard, error }) => `shard ${shard}: ${error.message}`);
  return new OperatingError(
    'EIO',
    `${k} good shards are needed, ${records.length - failures.length} of ${k + m} were there; ${reasons.join('; ')}`,
    {
      hint: 'Bring the missing disks of the pool back ("ostraka status" names them).',
      cause: failures[0]?.error,
    },
  );
}

export class NativeStripeIo implements StripeIo {
  readonly #io: NativeIo = nativeIo();

  async store(geometry: StripeGeometry, data: Uint8Array, records: readonly ShardRecord[], watch?: StoreWatch): Promise<ShardFailure[]> {
    const packed = pack(records, true);
    if (packed.records.length === 0) return packed.failures;
    const { k, m, shardBytes } = geometry;
    const token = ++lastToken;
    const storing = this.#io.store(k, m, shardBytes, packed.table, packed.prefixes, data, token);
    const ended = watch?.({
      late: () => shardsOf(this.#io.lateShards(token)),
      giveUp: (shards) => {
        this.#io.giveUp(token, bitsOf(shards));
      },
    });
    const statuses = await storing;
    ended?.();
    return collect(packed, statuses, 'write');
  }

  fetch(
    geometry: StripeGeometry,
    records: readonly ShardRecord[],
    offset: number,
    out: Uint8Array,
    patience?: Patience,
  ): Promise<ShardFailure[]> {
    const packed = pack(records, false);
    const { k, m, shardBytes } = geometry;
    const token = ++lastToken;
    const fetching = this.#io.fetch(k, m, shardBytes, packed.table, packed.prefixes, offset, out, token);
    const ended = patience?.(() => {
      this.#io.hurry(token);
    });
    return fetching.then((statuses) => {
      ended?.();
      const failures = collect(packed, statuses, 'read');
      if (statuses[packed.records.length] === 0) return failures;
      throw tooFew(geometry, records, failures);
    });
  }

  async remake(geometry: StripeGeometry, sources: readonly ShardRecord[], targets: readonly ShardRecord[]): Promise<Remade> {
    const read = pack(sources, false);
    const written = pack(targets, true);
    const { k, m, shardBytes } = geometry;
    const statuses = await this.#io.remake(k, m, shardBytes, read.table, read.prefixes, written.table, written.prefixes);
    const targetsAt = read.records.length;
    return {
      sources: collect(read, statuses.subarray(0, targetsAt), 'read'),
      targets: collect(written, statuses.subarray(targetsAt), 'write'),
      enough: statuses[targetsAt + written.records.length] === 0,
    };
  }

  async scan(file: DiskFile, offset: number, bytes: number, identity: Uint8Array): Promise<Stretch> {
    assert(file instanceof NativeFile, 'a segment on a native disk');
    const found = await this.#io.scan(file.usableHandle(), offset, bytes, identity);
    if (typeof found === 'number') throw nativeError(found, 'scan', file.directory.directory, file.path);
    return { bytes: found.readUInt32LE(0), prefixes: found.subarray(8) };
  }

  async verify(geometry: StripeGeometry, records: readonly ShardRecord[]): Promise<ShardFailure[]> {
    const packed = pack(records, false);
    if (packed.records.length === 0) return packed.failures;
    const { k, m, shardBytes } = geometry;
    return collect(packed, await this.#io.verify(k, m, shardBytes, packed.table, packed.prefixes), 'read');
  }
}
