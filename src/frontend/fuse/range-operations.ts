/** Operations on ranges of open files: LSEEK, FALLOCATE, COPY_FILE_RANGE. */
import { OperatingError } from '../../base/errors.js';
import type { Context, Operation } from './context.js';
import { decodeCopyRange, decodeFallocate, decodeLseek } from './decode.js';
import { encodeLong, encodeSize } from './encode.js';
import { FallocateBit, LSEEK_OUT_BYTES, Opcode, WRITE_OUT_BYTES, Whence } from './protocol.js';
import type { Request } from './request.js';

/** What a reply of COPY_FILE_RANGE can say; a whole number of pages. */
const COPY_BYTES_MAX = 2 ** 32 - 4096;
const FALLOCATE_BITS = FallocateBit.KEEP_SIZE | FallocateBit.PUNCH_HOLE | FallocateBit.ZERO_RANGE;

export function rangeOperations(context: Context): Map<number, Operation> {
  const { namespace, outbox } = context;

  async function lseek(request: Request): Promise<void> {
    const { handle, offset, whence } = decodeLseek(request);
    if (whence !== Whence.DATA && whence !== Whence.HOLE) throw new OperatingError('EINVAL', `lseek with whence ${whence}`);
    // Only the kernel knows how long a file is that is being written: it asks without having told.
    if (namespace.openForWriting(request.ino)) await context.dropPages(request.ino);
    const found = await namespace.seek(request.ino, handle, offset, whence === Whence.DATA ? 'data' : 'hole');
    encodeLong(outbox.memory, outbox.reserve(request, LSEEK_OUT_BYTES), found);
  }

  async function fallocate(request: Request): Promise<void> {
    const { handle, offset, bytes, mode } = decodeFallocate(request);
    // Collapsing and inserting ranges: the kernel does not even ask.
    if ((mode & ~FALLOCATE_BITS) !== 0) throw new OperatingError('EOPNOTSUPP', `fallocate with mode ${mode}`);
    const how = {
      keepSize: (mode & FallocateBit.KEEP_SIZE) !== 0,
      punch: (mode & FallocateBit.PUNCH_HOLE) !== 0,
      zero: (mode & FallocateBit.ZERO_RANGE) !== 0,
    };
    await namespace.allocate(request.ino, handle, offset, bytes, how, request);
    outbox.done(request);
  }

  async function copy(request: Request, bytesMax: number): Promise<number> {
    const { handle, offset, targetIno, targetHandle, targetOffset, bytes } = decodeCopyRange(request);
    const source = { ino: request.ino, handle, offset };
    const target = { ino: targetIno, handle: targetHandle, offset: targetOffset };
    return namespace.copyRange(source, target, Math.min(bytes, bytesMax), request);
  }

  async function copyFileRange(request: Request): Promise<void> {
    const copied = await copy(request, COPY_BYTES_MAX);
    encodeSize(outbox.memory, outbox.reserve(request, WRITE_OUT_BYTES), copied);
  }

  async function copyFileRange64(request: Request): Promise<void> {
    const copied = await copy(request, Number.MAX_SAFE_INTEGER);
    encodeLong(outbox.memory, outbox.reserve(request, LSEEK_OUT_BYTES), copied);
  }

  return new Map<number, Operation>([
    [Opcode.LSEEK, lseek],
    [Opcode.FALLOCATE, fallocate],
    [Opcode.COPY_FILE_RANGE, copyFileRange],
    [Opcode.COPY_FILE_RANGE_64, copyFileRange64],
  ]);
}
