/** Index exports: golden bytes, back and forth, and that nothing damaged, cut off, reordered or put together is ever taken for whole. */
import t from 'tap';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { seededRandom, systemClock } from '../../src/base/clock.js';
import { packageRoot } from '../../src/base/package-root.js';
import { exportRows, ExportReader } from '../../src/index/export.js';
import { encodeChunk, encodeHeader, encodeTrailer, chain, type ExportAbout } from '../../src/index/export-format.js';
import type { Range, Row } from '../../src/index/index-store.js';
import { compareKeys, keyOf } from '../../src/index/keys.js';

const about: ExportAbout = {
  poolId: '00112233445566778899aabbccddeeff',
  poolName: 'photos',
  code: '4+2',
  position: 1234,
  epoch: 7,
  created: '2026-01-02T03:04:05.000Z',
};

async function* pieces(bytes: Buffer, size = 1000): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** A view of plain rows. */
const viewOf = (rows: readonly Row[]) => ({
  scan: async ({ start, end, limit }: Range): Promise<Row[]> =>
    rows.filter(({ key }) => compareKeys(key, start) >= 0 && compareKeys(key, end) < 0).slice(0, limit),
});

async function exported(rows: readonly Row[]): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const piece of exportRows(viewOf(rows), about, async () => undefined)) parts.push(piece);
  return Buffer.concat(parts);
}

async function imported(bytes: Buffer, size?: number): Promise<{ about: ExportAbout; rows: Row[] }> {
  const reader = await ExportReader.open(pieces(bytes, size), 'the export');
  const rows: Row[] = [];
  for await (const some of reader.rows()) rows.push(...some);
  return { about: reader.about, rows };
}

function randomRows(count: number): Row[] {
  const random = seededRandom(5);
  return Array.from({ length: count }, (_, index) => ({
    key: keyOf(index < count / 2 ? 9 : 10)
      .number(index)
      .end(),
    value: Buffer.alloc(random.below(40) === 0 ? random.below(60_000) : random.below(90), Buffer.from(random.bytes(7))),
  }));
}

t.test('back and forth, over many chunks', async (t) => {
  const rows = randomRows(3000);
  const bytes = await exported(rows);
  for (const size of [7, 1000, 1 << 20]) {
    const back = await imported(bytes, size);
    t.same(back.about, about);
    t.equal(back.rows.length, rows.length);
    t.ok(back.rows.every(({ key, value }, i) => key.equals(rows[i]?.key ?? value) && value.equals(rows[i]?.value ?? key)));
  }
  t.equal(await (await ExportReader.open(pieces(bytes), 'x')).verify(systemClock), rows.length);
  t.same((await imported(await exported([]))).rows, [], 'an empty index');
});

t.test('golden export', async (t) => {
  const rows = [
    { key: Buffer.from('0301', 'hex'), value: Buffer.from('one') },
    { key: Buffer.from('0302', 'hex'), value: Buffer.alloc(0) },
    { key: Buffer.from('ab', 'hex'), value: Buffer.alloc(300, 'x') },
  ];
  const [first, second] = [encodeChunk(rows.slice(0, 2), false), encodeChunk(rows.slice(2), false)];
  const chained = chain(chain(Buffer.alloc(16), first.checksum), second.checksum);
  const bytes = Buffer.concat([encodeHeader(about), first.bytes, second.bytes, encodeTrailer(2, 3, chained)]);
  const golden = readFileSync(join(packageRoot, 'test/golden/index-export.hex'), 'utf8').replace(/\s/g, '');
  t.equal(bytes.toString('hex'), golden);
  t.same((await imported(Buffer.from(golden, 'hex'))).rows, rows);
});

t.test('damage is found wherever it is', async (t) => {
  const bytes = await exported(randomRows(60));
  const random = seededRandom(9);
  const bad = { code: 'EBADMSG' };
  for (let i = 0; i < 300; i++) {
    const broken = Buffer.from(bytes);
    const at = i < 150 ? i : random.below(bytes.length);
    broken[at] = (broken[at] ?? 0) ^ (1 << random.below(8));
    await t.rejects(imported(broken), bad, `a bit of byte ${at}`);
  }
  for (const length of [0, 5, 100, bytes.length - 33, bytes.length - 1])
    await t.rejects(imported(bytes.subarray(0, length)), bad, `cut at ${length}`);
  await t.rejects(imported(Buffer.concat([bytes, Buffer.from([0])])), bad, 'something follows');
  // Whole chunks, each good for itself.
  const all = await exported(randomRows(3000));
  const header = encodeHeader(about).length;
  const chunk = 32 + all.readUInt32LE(header + 12);
  await t.rejects(imported(Buffer.concat([all.subarray(0, header), all.subarray(header + chunk)])), bad, 'the first chunk is missing');
  await t.rejects(imported(Buffer.concat([all.subarray(0, header + chunk), all.subarray(-32)])), bad, 'the others are missing');
});
