/**
 * The erasure code and the frame checksum, written for clarity: the code of the simulated stripes and the reference that the native one is
 * tested against. Reed-Solomon over GF(2^8), polynomial 0x11d, systematic, with the Cauchy matrix of ISA-L's `gf_gen_cauchy1_matrix`:
 * parity row i = k … k+m-1 has the element 1 / (i XOR j) in column j.
 */
import { assert, must } from '../base/assert.js';

const exponents = new Uint8Array(512);
const logarithms = new Uint8Array(256);
for (let i = 0, x = 1; i < 255; i++) {
  exponents[i] = x;
  exponents[i + 255] = x;
  logarithms[x] = i;
  x <<= 1;
  if (x & 0x100) x ^= 0x11d;
}

const at = (table: Uint8Array, index: number): number => must(table[index], 'index within the table');

function multiply(a: number, b: number): number {
  return a === 0 || b === 0 ? 0 : at(exponents, at(logarithms, a) + at(logarithms, b));
}

function inverse(a: number): number {
  assert(a !== 0, 'zero has no inverse');
  return at(exponents, 255 - at(logarithms, a));
}

/** Row `shard` of the encoding matrix: what each data shard contributes to it. */
function encodingRow(k: number, shard: number): Uint8Array {
  const row = new Uint8Array(k);
  if (shard < k) row[shard] = 1;
  else for (let j = 0; j < k; j++) row[j] = inverse(shard ^ j);
  return row;
}

/** target ^= coefficient × source */
function accumulate(target: Uint8Array, coefficient: number, source: Uint8Array): void {
  if (coefficient === 0) return;
  const product = new Uint8Array(256);
  for (let value = 0; value < 256; value++) product[value] = multiply(coefficient, value);
  for (let i = 0; i < target.length; i++) target[i] = at(target, i) ^ at(product, at(source, i));
}

/** Inverts a k × k matrix by Gauss and Jordan. Every square part of a Cauchy matrix below an identity can be. */
function invert(rows: Uint8Array[]): Uint8Array[] {
  const k = rows.length;
  const left = rows.map((row) => Uint8Array.from(row));
  const right = rows.map((_, i) => Uint8Array.from({ length: k }, (__, j) => (i === j ? 1 : 0)));
  for (let column = 0; column < k; column++) {
    const pivot = left.findIndex((row, i) => i >= column && row[column] !== 0);
    assert(pivot >= 0, 'the matrix has an inverse');
    for (const matrix of [left, right]) {
      const row = must(matrix[pivot], 'pivot row');
      matrix[pivot] = must(matrix[column], 'row');
      matrix[column] = row;
    }
    const scale = inverse(at(must(left[column], 'row'), column));
    for (const matrix of [left, right]) matrix[column] = must(matrix[column], 'row').map((value) => multiply(value, scale));
    for (let i = 0; i < k; i++) {
      const factor = at(must(left[i], 'row'), column);
      if (i === column || factor === 0) continue;
      for (const matrix of [left, right]) accumulate(must(matrix[i], 'row'), factor, must(matrix[column], 'row'));
    }
  }
  return right;
}

/** Parity shard `shard` (k … k+m-1) of k data shards of equal length. */
export function encodeShard(data: readonly Uint8Array[], shard: number): Uint8Array {
  const row = encodingRow(data.length, shard);
  const out = new Uint8Array(must(data[0], 'one data shard at least').length);
  data.forEach((bytes, j) => {
    accumulate(out, at(row, j), bytes);
  });
  return out;
}

/** Shard `wanted` from any k others of equal length, by their numbers. */
export function reconstructShard(k: number, good: ReadonlyMap<number, Uint8Array>, wanted: number): Uint8Array {
  const used = [...good].slice(0, k);
  assert(used.length === k, `${k} shards are needed, ${used.length} given`);
  const decoding = invert(used.map(([shard]) => encodingRow(k, shard)));
  const row = encodingRow(k, wanted);
  const out = new Uint8Array(must(used[0], 'k is at least 1')[1].length);
  used.forEach(([, bytes], i) => {
    // Element i of row × decoding: what the i-th good shard contributes.
    let coefficient = 0;
    for (let j = 0; j < k; j++) coefficient ^= multiply(at(row, j), at(must(decoding[j], 'row'), i));
    accumulate(out, coefficient, bytes);
  });
  return out;
}

const crcTable = Uint32Array.from({ length: 256 }, (_, i) => {
  let crc = i;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

/** CRC32C (Castagnoli) without inversion before or after, as ISA-L's crc32_iscsi; chainable: crc(ab, s) = crc(b, crc(a, s)). */
export function crc32c(bytes: Uint8Array, seed = 0): number {
  let crc = seed;
  for (const byte of bytes) crc = must(crcTable[(crc ^ byte) & 0xff], 'index is a byte') ^ (crc >>> 8);
  return crc >>> 0;
}
