/** `ostraka where FILE`: which blobs a file consists of, and which disk has which of their shards. */
import type { Command } from 'commander';
import type { ControlClient } from '../daemon/control-client.js';
import type { BlobPlace, WhereAnswer } from '../daemon/where.js';
import type { Context } from './context.js';
import { formatBytes, type Output } from './output.js';
import { withPath } from './path-on-pool.js';

/** Blobs shown to people; --json has them all. */
const SHOWN_MAX = 40;

interface Found extends Omit<WhereAnswer, 'next'> {
  readonly file: string;
  readonly pool: string;
}

export function addWhere(program: Command, { folders, output }: Context): void {
  program
    .command('where')
    .description('show which disks a file is on, shard by shard')
    .argument('<FILE>', 'a file on a mounted pool')
    .option('--json', 'as JSON with stable names, all of it')
    .addHelpText('after', '\nExample:\n  ostraka where /mnt/photos/film.mkv\n')
    .action(async (file: string, options: { json?: boolean }) => {
      const found = await withPath(folders, file, async (client, { pool, ino }) => ({ file, pool, ...(await ask(client, ino)) }));
      if (options.json === true) output.json(found);
      else print(output, found);
    });
}

/** All pages as one answer. */
async function ask(client: ControlClient, ino: number): Promise<Omit<WhereAnswer, 'next'>> {
  const blobs = new Map<number, BlobPlace>();
  const disks = new Map<number, string>();
  let whole: WhereAnswer | undefined;
  for (let from: number | null = 0; from !== null;) {
    const page = (await client.request({ verb: 'where', ino, from })) as WhereAnswer;
    for (const each of page.blobs) blobs.set(each.blob, { ...each, file_bytes: each.file_bytes + (blobs.get(each.blob)?.file_bytes ?? 0) });
    for (const { number, path } of page.disks) disks.set(number, path);
    whole = { ...page, extents: page.extents + (whole?.extents ?? 0), inline_bytes: page.inline_bytes + (whole?.inline_bytes ?? 0) };
    from = page.next;
  }
  const { size = 0, pending_bytes = 0, extents = 0, inline_bytes = 0 } = whole ?? {};
  const sorted = [...disks].sort(([a], [b]) => a - b).map(([number, path]) => ({ number, path }));
  return { size, pending_bytes, extents, inline_bytes, blobs: [...blobs.values()], disks: sorted };
}

/** What a disk has of a blob: D0 … are data, P0 … parity. */
function shardText({ shards, code }: BlobPlace, disk: number): string {
  const k = Number(code.split('+')[0]);
  const here = shards.flatMap((each, i) => (each === disk ? [i < k ? `D${i}` : `P${i - k}`] : []));
  return here.length === 0 ? '·' : here.join(' ');
}

function print(output: Output, { file, blobs, disks, ...found }: Found): void {
  const codes = [...new Set(blobs.map(({ code }) => code))].join(', ');
  const parts = [`${formatBytes(found.size)} in ${found.extents} ${found.extents === 1 ? 'extent' : 'extents'}`];
  if (blobs.length > 0) parts.push(`${blobs.length} ${blobs.length === 1 ? 'blob' : 'blobs'} (${codes})`);
  if (found.inline_bytes > 0) parts.push(`${formatBytes(found.inline_bytes)} in the index itself, on every voter`);
  if (found.pending_bytes > 0) parts.push(`${formatBytes(found.pending_bytes)} not committed yet`);
  output.line(`${output.colours.bold(file)}: ${parts.join('; ')}`);
  if (blobs.length === 0) return;
  const missing = blobs.reduce((sum, { shards }) => sum + shards.filter((disk) => disk === null).length, 0);
  output.line();
  output.table(
    ['BLOB', 'OF THE FILE', ...disks.map(({ number }) => `DISK ${number}`)],
    blobs
      .slice(0, SHOWN_MAX)
      .map((each) => [String(each.blob), formatBytes(each.file_bytes), ...disks.map(({ number }) => shardText(each, number))]),
    [0, 1],
  );
  if (blobs.length > SHOWN_MAX) output.line(`… and ${blobs.length - SHOWN_MAX} more; --json has them all`);
  output.line();
  for (const { number, path } of disks) output.line(`disk ${number}: ${path}`);
  if (missing > 0) output.line(output.colours.red(`${missing} shards are missing and wait to be rebuilt`));
}
