/**
 * Encoding speed: what a call from TypeScript reaches of what ISA-L's own call does in the same process (4+2, shards of 1 MiB). The two take turns and
 * medians are compared, so that a busy machine slows both. Prints figures and writes ./bench-results/encode.json.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemRandom } from '../../src/base/clock.js';
import { MiB } from '../../src/base/limits.js';
import { nativeIo } from '../../src/base/native-io.js';

const k = 4;
const m = 2;
const shardBytes = MiB;
const rounds = 60;
const callsEach = 10;

const io = nativeIo();
const data = Array.from({ length: k }, () => systemRandom.bytes(shardBytes));
const parity = Array.from({ length: m }, () => new Uint8Array(shardBytes));
const none = (count: number): undefined[] => Array.from({ length: count }, () => undefined);
const sources = [...data, ...none(m)];
const targets = [...none(k), ...parity];

function oursMs(): number {
  const start = performance.now();
  for (let call = 0; call < callsEach; call++) io.rebuild(k, m, sources, targets);
  return performance.now() - start;
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1] ?? NaN;
}

const ours: number[] = [];
const theirs: number[] = [];
oursMs();
for (let round = 0; round < rounds; round++) {
  theirs.push(io.encodeBaselineMs(k, m, data, parity, callsEach));
  ours.push(oursMs());
}
// Bytes of content, without the parity.
const megabytesPerSecond = (ms: number): number => Math.round((k * shardBytes * callsEach) / 1e6 / (ms / 1000));
const result = {
  code: `${k}+${m}`,
  shard_bytes: shardBytes,
  ours_mb_s: megabytesPerSecond(median(ours)),
  isal_mb_s: megabytesPerSecond(median(theirs)),
  ratio: Number((median(theirs) / median(ours)).toFixed(3)),
  target: 0.8,
};
mkdirSync('bench-results', { recursive: true });
writeFileSync(join('bench-results', 'encode.json'), JSON.stringify(result, null, 2) + '\n');
process.stdout.write(
  `encode ${result.code}, ${shardBytes} B shards: ${result.ours_mb_s} MB/s through the module, ${result.isal_mb_s} MB/s by ISA-L itself, ratio ${result.ratio} (target ≥ ${result.target})\n`,
);
