/**
 * Operations on directories. Nobody opens one: OPENDIR is answered ENOSYS, as what nobody serves, which tells the kernel to do without and to keep what was
 * listed until something in the folder changes (`fs/fuse/readdir.c`).
 */
import { lastly, when, type Awaitable } from '../../base/awaitable.js';
import { FUSE_READDIR_BYTES_MAX } from '../../base/limits.js';
import type { DirectoryEntry } from '../../namespace/namespace.js';
import type { Context, Operation } from './context.js';
import { decodeFsync, decodeRead } from './decode.js';
import { direntBytes, encodeDirent } from './encode.js';
import { Opcode } from './protocol.js';
import type { Request } from './request.js';

/** Buffers kept for the next listing. */
const SPARE_BUFFERS_MAX = 4;

export function directoryOperations(context: Context): Map<number, Operation> {
  const { namespace, outbox, validity } = context;
  const spare: Buffer[] = [];

  function list(request: Request, plus: boolean): Awaitable<void> {
    const { offset, bytes } = decodeRead(request);
    const buffer = spare.pop() ?? Buffer.allocUnsafe(FUSE_READDIR_BYTES_MAX);
    const limit = Math.min(bytes, buffer.length);
    let at = 0;
    const room = (entry: DirectoryEntry): boolean => {
      if (at + direntBytes(entry.name.length, plus) > limit) return false;
      at = encodeDirent(buffer, at, entry, plus, validity);
      return true;
    };
    return lastly(
      () =>
        when(namespace.readdir(request.ino, offset, plus, room), () => {
          outbox.pieces(request, [buffer.subarray(0, at)]);
        }),
      () => {
        if (spare.length < SPARE_BUFFERS_MAX) spare.push(buffer);
      },
    );
  }

  async function fsyncdir(request: Request): Promise<void> {
    decodeFsync(request);
    await namespace.fsyncdir(request.ino);
    outbox.done(request);
  }

  return new Map<number, Operation>([
    [Opcode.READDIR, (request) => list(request, false)],
    [Opcode.READDIRPLUS, (request) => list(request, true)],
    [Opcode.FSYNCDIR, fsyncdir],
  ]);
}
