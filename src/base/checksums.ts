/**
 * Checksums of small records (log entries, superblocks, content digests): XXH3-128 by hash-wasm, synchronous after the module has
 * loaded. Frames of data use CRC32C instead, natively, fused with their I/O.
 */
import xxHash128 from 'hash-wasm/dist/xxhash128.umd.min.js';

const hasher = await xxHash128.createXXHash128();

/** Length of a checksum, bytes. */
export const CHECKSUM_BYTES = 16;

/** XXH3-128 over the parts one after the other, in canonical (big-endian) byte order. */
export function checksum(...parts: readonly Uint8Array[]): Buffer {
  hasher.init();
  for (const part of parts) hasher.update(part);
  return Buffer.from(hasher.digest('binary'));
}

/** True when both are the same bytes. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0;
}
