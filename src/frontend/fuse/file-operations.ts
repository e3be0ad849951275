/** Operations on open files. */
import { when, type Awaitable } from '../../base/awaitable.js';
import { OperatingError, isErrno } from '../../base/errors.js';
import { FUSE_IO_BYTES_MAX, NAME_BYTES_MAX } from '../../base/limits.js';
import type { Attributes, Handle } from '../../namespace/namespace.js';
import { modeWithoutPrivileges } from './attribute-operations.js';
import type { Context, Operation } from './context.js';
import { isControlInode } from './control-directory.js';
import { decodeClose, decodeCreate, decodeFsync, decodeOpen, decodeRead, decodeTmpfile, decodeWrite, type WriteIn } from './decode.js';
import { encodeEntry, encodeOpen, encodeSize } from './encode.js';
import {
  ENTRY_OUT_BYTES,
  FSYNC_DATA_ONLY,
  OPEN_KILL_SUIDGID,
  OPEN_OUT_BYTES,
  Opcode,
  OpenReplyFlag,
  WRITE_OUT_BYTES,
  WriteFlag,
} from './protocol.js';
import type { Request } from './request.js';

async function clearPrivileges({ namespace }: Context, request: Request): Promise<void> {
  const mode = await modeWithoutPrivileges(namespace, request.ino, request);
  if (mode !== undefined) await namespace.setattr(request.ino, { mode }, request);
}

/** Where handles come from, and where they go. */
export function openOperations(context: Context): Map<number, Operation> {
  const { namespace, outbox, validity, files } = context;

  function open(request: Request): Awaitable<void> {
    const { flags, openFlags } = decodeOpen(request);
    const cleared = (openFlags & OPEN_KILL_SUIDGID) === 0 ? undefined : clearPrivileges(context, request);
    return when(cleared, () =>
      when(namespace.open(request.ino, flags, request), (handle) => {
        files.set(handle, request.ino);
        // Nobody writes behind the kernel's back: what it has cached stays good.
        const caching = isControlInode(request.ino) ? OpenReplyFlag.DIRECT_IO : OpenReplyFlag.KEEP_CACHE;
        encodeOpen(outbox.memory, outbox.reserve(request, OPEN_OUT_BYTES), handle, caching);
      }),
    );
  }

  function create(request: Request): Awaitable<void> {
    const { name, mode, flags } = decodeCreate(request);
    if (name.length > NAME_BYTES_MAX) throw new OperatingError('ENAMETOOLONG', `name of ${name.length} bytes`);
    return made(request, namespace.create(request.ino, name, mode, flags, request));
  }

  /** O_TMPFILE. */
  function createUnnamed(request: Request): Awaitable<void> {
    const { mode, flags } = decodeTmpfile(request);
    return made(request, namespace.createUnnamed(request.ino, mode, flags, request));
  }

  function made(request: Request, file: Awaitable<{ attributes: Attributes; handle: Handle }>): Awaitable<void> {
    return when(file, ({ attributes, handle }) => {
      files.set(handle, attributes.ino);
      const at = outbox.reserve(request, ENTRY_OUT_BYTES + OPEN_OUT_BYTES);
      encodeOpen(outbox.memory, encodeEntry(outbox.memory, at, attributes, validity), handle, OpenReplyFlag.KEEP_CACHE);
    });
  }

  function release(request: Request): Awaitable<void> {
    const handle = decodeClose(request);
    files.delete(handle);
    return when(namespace.release(request.ino, handle), () => {
      outbox.done(request);
    });
  }

  return new Map<number, Operation>([
    [Opcode.OPEN, open],
    [Opcode.CREATE, create],
    [Opcode.TMPFILE, createUnnamed],
    [Opcode.RELEASE, release],
  ]);
}

export function fileOperations(context: Context): Map<number, Operation> {
  const { namespace, outbox } = context;

  function read(request: Request): Awaitable<void> {
    const { handle, offset, bytes } = decodeRead(request);
    return when(namespace.read(request.ino, handle, offset, Math.min(bytes, FUSE_IO_BYTES_MAX)), (content) => {
      try {
        let total = 0;
        for (const piece of content.pieces) total += piece.length;
        if (total > bytes) throw new Error(`read of ${bytes} bytes gave ${total}`);
        outbox.pieces(request, content.pieces);
      } finally {
        content.release();
      }
    });
  }

  function write(request: Request): Awaitable<void> {
    const asked = decodeWrite(request);
    if ((asked.flags & WriteFlag.KILL_SUIDGID) === 0) return writeNow(request, asked);
    const data = Buffer.from(asked.data); // the batch's memory does not outlive an await
    return clearPrivileges(context, request).then(() => writeNow(request, { ...asked, data }));
  }

  function writeNow(request: Request, { handle, offset, flags, data }: WriteIn): Awaitable<void> {
    let written: Awaitable<number>;
    try {
      written = namespace.write(request.ino, handle, offset, data, request);
    } catch (thrown) {
      refused(request, flags, data.length, thrown);
      return;
    }
    if (written instanceof Promise) return writeLater(request, flags, written, data.length);
    encodeSize(outbox.memory, outbox.reserve(request, WRITE_OUT_BYTES), written);
  }

  async function writeLater(request: Request, flags: number, writing: Promise<number>, length: number): Promise<void> {
    context.writing(length);
    try {
      const written = await writing;
      encodeSize(outbox.memory, outbox.reserve(request, WRITE_OUT_BYTES), written);
    } catch (thrown) {
      refused(request, flags, length, thrown);
    } finally {
      context.writing(-length);
    }
  }

  /** @throws what came of the write, where the kernel is to hear of it */
  function refused(request: Request, flags: number, length: number, thrown: unknown): void {
    const cached = (flags & WriteFlag.CACHE) !== 0;
    if (cached) context.writebackFailed(request.ino);
    // The kernel makes EIO of every failure of write-back but ENOSPC. Who has the file open hears of this one from GETATTR, FSYNC or FLUSH.
    if (!cached || !isErrno(thrown, 'EDQUOT')) throw thrown;
    encodeSize(outbox.memory, outbox.reserve(request, WRITE_OUT_BYTES), length);
  }

  function flush(request: Request): Awaitable<void> {
    return when(namespace.flush(request.ino, decodeClose(request)), () => {
      outbox.done(request);
    });
  }

  async function fsync(request: Request): Promise<void> {
    const { handle, flags } = decodeFsync(request);
    await namespace.fsync(request.ino, handle, (flags & FSYNC_DATA_ONLY) !== 0);
    outbox.done(request);
  }

  return new Map<number, Operation>([
    [Opcode.READ, read],
    [Opcode.WRITE, write],
    [Opcode.FLUSH, flush],
    [Opcode.FSYNC, fsync],
  ]);
}
