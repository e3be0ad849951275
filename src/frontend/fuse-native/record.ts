/**
 * utimens passes the access time twice (fuse-native.c 2.2.6, FUSE_METHOD_VOID(utimens …)), so that every `cp -p` would give files a wrong mtime. The right one stands in
 * the record of the call, behind the access time: fuse_thread_locals_t, where pointers have 64 bits.
 */
import { OperatingError } from '../../base/errors.js';

const ATIME_AT = 104;
const MTIME_AT = 112;

/** Milliseconds since 1970. @throws OperatingError EIO: the record is not laid out as that version's is; nothing is set then. */
export function modifiedMs(record: Buffer, atimeMs: bigint): bigint {
  if (record.length < MTIME_AT + 8 || record.readBigInt64LE(ATIME_AT) !== atimeMs)
    throw new OperatingError('EIO', 'fuse-native is not laid out as its version 2.2.6 is');
  return record.readBigInt64LE(MTIME_AT);
}
