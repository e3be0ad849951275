/**
 * A quota's row: limits on everything below a directory, and what is there. Its number is the directory's inode. Immutable, as an inode's row is. What is
 * counted changes in the same transaction as what it counts.
 */
import { ByteReader, ByteWriter, DecodeError } from '../../base/bytes.js';
import { checkVersion } from './inode-row.js';

const VERSION = 1;
const writer = new ByteWriter(64);

/**
 * counting: what was below the directory before is being counted, in steps; active: everything is counted; clearing: it was taken away, what counted
 * in it counts in the enclosing one as far as anybody can see, and the rows follow in steps.
 */
export const QUOTA_STATES = ['counting', 'active', 'clearing'] as const;
export type QuotaState = (typeof QUOTA_STATES)[number];

export interface QuotaRow {
  readonly state: QuotaState;
  /** The quota that the directory is below, which everything here counts in as well; 0: none. */
  readonly parent: number;
  /** Inodes, the directory included. */
  readonly usedInodes: number;
  /** Sum of `allocatedBytes`. */
  readonly usedBytes: number;
  /** undefined: no limit. */
  readonly inodesMax: number | undefined;
  readonly bytesMax: number | undefined;
}

export function encodeQuota(row: QuotaRow): Buffer {
  writer.reset().u8(VERSION).u8(QUOTA_STATES.indexOf(row.state)).varint(row.parent).varint(row.usedInodes).varint(row.usedBytes);
  // One more than the limit, so that there is room for none.
  const limit = (max: number | undefined): number => (max === undefined ? 0 : max + 1);
  return writer.varint(limit(row.inodesMax)).varint(limit(row.bytesMax)).copy();
}

/** @throws DecodeError */
export function decodeQuota(value: Uint8Array): QuotaRow {
  const reader = new ByteReader(value);
  checkVersion(reader, VERSION, 'quota');
  const state = QUOTA_STATES[reader.u8()];
  if (state === undefined) throw new DecodeError('a quota in a state that is not known');
  const limit = (): number | undefined => {
    const max = reader.varint();
    return max === 0 ? undefined : max - 1;
  };
  const row: QuotaRow = {
    state,
    parent: reader.varint(),
    usedInodes: reader.varint(),
    usedBytes: reader.varint(),
    inodesMax: limit(),
    bytesMax: limit(),
  };
  reader.end();
  return row;
}
