/** Entries in a file, as a voter's log has them: what durable replicas are given. */
import { rmSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { must } from '../../src/base/assert.js';
import type { Disk } from '../../src/disk/disk.js';
import { emptyPoint } from '../../src/index/point.js';
import { encodeRecord } from '../../src/quorum/record.js';
import type { DurableReplica, LogEntry, LogPoint, LogRun } from '../../src/quorum/state-machine.js';
import { BLOCK_BYTES } from '../../src/quorum/voter-format.js';

let files = 0;

/** Each write of a log ends with zeros up to a whole block; the sizes of these are mixed. */
const WRITES = [1, 3, 40, 7];

/** The entries behind `from` in a new file, which begins with something else. */
export function writtenRun(disk: Disk, from: LogPoint, entries: readonly LogEntry[]): LogRun {
  const path = `entries-${++files}`;
  const parts: Buffer[] = [Buffer.alloc(BLOCK_BYTES, 0xee)];
  let at = from;
  let bytes = 0;
  let writes = 0;
  let inWrite = 0;
  for (const [index, { point, kind, payload }] of entries.entries()) {
    const record = encodeRecord(at, point.epoch, kind, kind === 'data' ? 0 : at.position, payload);
    at = record.entry.point;
    parts.push(record.bytes);
    bytes += record.bytes.length;
    if (++inWrite < must(WRITES[writes % WRITES.length], 'one of them') || index === entries.length - 1) continue;
    const unused = (BLOCK_BYTES - (bytes % BLOCK_BYTES)) % BLOCK_BYTES;
    parts.push(Buffer.alloc(unused));
    bytes += unused;
    inWrite = 0;
    writes++;
  }
  mkdirSync(disk.directory, { recursive: true });
  writeFileSync(join(disk.directory, path), Buffer.concat(parts));
  return { from, to: at, disk, pieces: [{ path, offset: BLOCK_BYTES, bytes }] };
}

/** Gives a replica these entries, from a log on `disk`. */
export async function applyFrom(disk: Disk, replica: DurableReplica, entries: readonly LogEntry[]): Promise<void> {
  const first = must(entries[0], 'some entries').point.position;
  const from = replica.point?.position === first - 1 ? replica.point : { ...emptyPoint, position: first - 1 };
  const run = writtenRun(disk, from, entries);
  await replica.apply(run);
  // Where it failed it may yet be read, by a thread that hangs.
  for (const { path } of run.pieces) rmSync(join(disk.directory, path));
}
