/** The rules of contents: extents lie side by side within their file, belong to somebody, and sum up to what the inode says. One walk along inodes and extents. */
import type { InodeRow } from '../../index/schema/inode-row.js';
import { garbageKey, inodeKey } from '../../index/schema/tables.js';
import { decodeNumber, encodeNumber } from '../../index/schema/work-rows.js';
import { S_IFREG } from '../../namespace/modes.js';
import type { Findings } from './finding.js';
import { adopt, changeInode } from './mend.js';
import { attempt, extents, inodes, Peeked, type ContentExtent, type FoundInode, type Reading } from './rows.js';

/** One content: what its extents are together. */
interface Content {
  readonly ino: number;
  readonly generation: number;
  bytes: number;
  end: number;
}

export async function checkContents(reading: Reading, findings: Findings): Promise<void> {
  const rows = await Peeked.of(extents(reading));
  const found = await Peeked.of(inodes(reading));
  while (rows.current !== undefined || found.current !== undefined) {
    const ino = Math.min(rows.current?.ino ?? Infinity, found.current?.ino ?? Infinity);
    const inode = found.current?.ino === ino ? found.current : undefined;
    if (inode !== undefined) await found.advance();
    await checkInode(reading, findings, ino, inode, rows);
  }
}

/** All contents of one inode. */
async function checkInode(
  reading: Reading,
  findings: Findings,
  ino: number,
  inode: FoundInode | undefined,
  rows: Peeked<ContentExtent>,
): Promise<void> {
  const row = inode?.row;
  let allocatedBytes = 0;
  while (rows.current?.ino === ino) {
    const content = await nextContent(findings, rows, ino, rows.current.generation);
    // Whose row cannot be read, of that nobody knows which content is its own.
    if (inode !== undefined && row === undefined) continue;
    const value = await reading.view.get(garbageKey(ino, content.generation));
    const garbage = value === undefined ? undefined : attempt(() => decodeNumber(value));
    if (row?.generation === content.generation) {
      allocatedBytes = content.bytes;
      // A cut that is under way leaves extents behind the end.
      if (value === undefined && content.end > row.size) beyond(findings, row, content);
    } else if (value === undefined || (garbage !== undefined && garbage !== 0)) nobodys(findings, row, content);
  }
  if (row === undefined || row.allocatedBytes === allocatedBytes) return;
  findings.add(
    'allocated',
    { ino },
    `file ${ino} says that ${row.allocatedBytes} bytes of it are stored, ${allocatedBytes} are`,
    'the number is set right',
    changeInode(row, { allocatedBytes }),
  );
}

async function nextContent(findings: Findings, rows: Peeked<ContentExtent>, ino: number, generation: number): Promise<Content> {
  const content: Content = { ino, generation, bytes: 0, end: 0 };
  for (; rows.current?.ino === ino && rows.current.generation === generation; await rows.advance()) {
    const { offset, bytes } = rows.current.extent;
    if (offset < content.end)
      findings.add(
        'extent-overlap',
        { ino },
        `two stretches of file ${ino} overlap at offset ${offset}: which one is right cannot be known`,
      );
    content.bytes += bytes;
    content.end = Math.max(content.end, offset + bytes);
  }
  return content;
}

function beyond(findings: Findings, row: InodeRow, { end }: Content): void {
  const message = `file ${row.ino} has ${row.size} bytes, and data up to ${end}`;
  findings.add('extent-beyond', { ino: row.ino }, message, `its length is set to ${end}`, changeInode(row, { size: end }));
}

/** Data that no file shows: of a content that was replaced, or of a file whose inode is lost. */
function nobodys(findings: Findings, row: InodeRow | undefined, { ino, generation, bytes, end }: Content): void {
  if (row !== undefined) {
    const message = `file ${ino} still has ${bytes} bytes of an earlier content (generation ${generation}), which nothing is about to drop`;
    findings.add('content-stray', { ino }, message, 'they are given to the collector', async (change) => {
      const now = await change.inode(ino);
      if (now === undefined || now.generation === generation) return false;
      change.tx.put(garbageKey(ino, generation), encodeNumber(0));
      return true;
    });
    return;
  }
  const message = `${bytes} bytes of file ${ino} are there, and the file is not`;
  findings.add('content-lost', { ino }, message, `the file is made again as /lost+found/#${ino}, for root alone`, async (change) => {
    if ((await change.tx.get(inodeKey(ino))) !== undefined) return false;
    const root = await change.inode(1);
    if (root === undefined) return false;
    const made: InodeRow = {
      ...root,
      ino,
      mode: S_IFREG | 0o600,
      links: 1,
      uid: 0,
      gid: 0,
      size: end,
      allocatedBytes: bytes,
      generation,
      flags: 0,
      parent: 0,
      nextCookie: 0,
      btime: undefined,
    };
    return adopt(ino, made)(change);
  });
}
