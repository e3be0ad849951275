/** Operations on open directories. */
import { FUSE_READDIR_BYTES_MAX } from '../../base/limits.js';
import type { DirectoryEntry } from '../../namespace/namespace.js';
import type { Context, Operation } from './context.js';
import { decodeClose, decodeFsync, decodeOpen, decodeRead } from './decode.js';
import { direntBytes, encodeDirent, encodeOpen } from './encode.js';
import { OPEN_OUT_BYTES, Opcode } from './protocol.js';
import type { Request } from './request.js';

/** Buffers kept for the next listing. */
const SPARE_BUFFERS_MAX = 4;

export function directoryOperations(context: Context): Map<number, Operation> {
  const { namespace, outbox, validity, directories } = context;
  const spare: Buffer[] = [];

  async function opendir(request: Request): Promise<void> {
    decodeOpen(request);
    const handle = await namespace.opendir(request.ino, request);
    directories.set(handle, request.ino);
    encodeOpen(outbox.memory, outbox.reserve(request, OPEN_OUT_BYTES), handle, 0);
  }

  async function list(request: Request, plus: boolean): Promise<void> {
    const { handle, offset, bytes } = decodeRead(request);
    const buffer = spare.pop() ?? Buffer.allocUnsafe(FUSE_READDIR_BYTES_MAX);
    try {
      const limit = Math.min(bytes, buffer.length);
      let at = 0;
      const room = (entry: DirectoryEntry): boolean => {
        if (at + direntBytes(entry.name.length, plus) > limit) return false;
        at = encodeDirent(buffer, at, entry, plus, validity);
        return true;
      };
      await namespace.readdir(request.ino, handle, offset, plus, room);
      outbox.pieces(request, [buffer.subarray(0, at)]);
    } finally {
      if (spare.length < SPARE_BUFFERS_MAX) spare.push(buffer);
    }
  }

  async function releasedir(request: Request): Promise<void> {
    const handle = decodeClose(request);
    directories.delete(handle);
    await namespace.releasedir(request.ino, handle);
    outbox.done(request);
  }

  async function fsyncdir(request: Request): Promise<void> {
    const { handle } = decodeFsync(request);
    await namespace.fsyncdir(request.ino, handle);
    outbox.done(request);
  }

  return new Map<number, Operation>([
    [Opcode.OPENDIR, opendir],
    [Opcode.READDIR, (request) => list(request, false)],
    [Opcode.READDIRPLUS, (request) => list(request, true)],
    [Opcode.RELEASEDIR, releasedir],
    [Opcode.FSYNCDIR, fsyncdir],
  ]);
}
