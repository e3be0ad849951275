/** A request as plain values, for golden files and comparisons. */
import * as decode from '../../src/frontend/fuse/decode.js';
import { Opcode, opcodeName } from '../../src/frontend/fuse/protocol.js';
import { Request } from '../../src/frontend/fuse/request.js';

type Decoder = (request: Request) => unknown;

const nothing: Decoder = (request) => {
  request.exactly(0);
  return {};
};

const decoders = new Map<number, Decoder>([
  [Opcode.LOOKUP, decode.decodeName],
  [Opcode.FORGET, decode.decodeForget],
  [Opcode.GETATTR, decode.decodeGetattr],
  [Opcode.SETATTR, decode.decodeSetattr],
  [Opcode.READLINK, nothing],
  [Opcode.SYMLINK, decode.decodeSymlink],
  [Opcode.MKNOD, decode.decodeMknod],
  [Opcode.MKDIR, decode.decodeMkdir],
  [Opcode.UNLINK, decode.decodeName],
  [Opcode.RMDIR, decode.decodeName],
  [Opcode.RENAME, decode.decodeRename],
  [Opcode.LINK, decode.decodeLink],
  [Opcode.OPEN, decode.decodeOpen],
  [Opcode.READ, decode.decodeRead],
  [Opcode.WRITE, decode.decodeWrite],
  [Opcode.STATFS, nothing],
  [Opcode.RELEASE, decode.decodeClose],
  [Opcode.FSYNC, decode.decodeFsync],
  [Opcode.SETXATTR, (request) => decode.decodeSetxattr(request, true)],
  [Opcode.GETXATTR, decode.decodeGetxattr],
  [Opcode.LISTXATTR, decode.decodeListxattr],
  [Opcode.REMOVEXATTR, decode.decodeXattrName],
  [Opcode.FLUSH, decode.decodeClose],
  [Opcode.INIT, decode.decodeInit],
  [Opcode.OPENDIR, decode.decodeOpen],
  [Opcode.READDIR, decode.decodeRead],
  [Opcode.FSYNCDIR, decode.decodeFsync],
  [Opcode.CREATE, decode.decodeCreate],
  [Opcode.INTERRUPT, decode.decodeInterrupt],
  [Opcode.DESTROY, nothing],
  [
    Opcode.BATCH_FORGET,
    (request) => {
      const out: [number, number][] = [];
      decode.decodeBatchForget(request, (ino, count) => out.push([ino, count]));
      return out;
    },
  ],
  [Opcode.READDIRPLUS, decode.decodeRead],
  [Opcode.RENAME2, decode.decodeRename2],
  [Opcode.FALLOCATE, decode.decodeFallocate],
  [Opcode.LSEEK, decode.decodeLseek],
  [Opcode.COPY_FILE_RANGE, decode.decodeCopyRange],
  [Opcode.COPY_FILE_RANGE_64, decode.decodeCopyRange],
  [Opcode.TMPFILE, decode.decodeTmpfile],
  [Opcode.STATX, decode.decodeStatx],
  [Opcode.IOCTL, decode.decodeIoctl],
]);

/** Operations that a golden message is wanted of. */
export const describedOpcodes: readonly number[] = [...decoders.keys()];

/** @throws DecodeError */
export function describeRequest(memory: Buffer, start: number, length: number): Record<string, unknown> {
  const request = new Request(memory, start, length);
  const { ino, uid, gid, pid } = request;
  const decoder = decoders.get(request.opcode);
  const body: unknown = decoder === undefined ? undefined : decoder(request);
  const plain: unknown =
    body === undefined ? null : JSON.parse(JSON.stringify(body, (_, value: unknown) => (isBytes(value) ? bytesOf(value) : value)));
  return { operation: opcodeName(request.opcode), ino, uid, gid, pid, body: plain };
}

/** What Buffer.toJSON made. */
function isBytes(value: unknown): value is { data: number[] } {
  return typeof value === 'object' && value !== null && (value as { type?: unknown }).type === 'Buffer';
}

function bytesOf(value: { data: number[] }): string {
  return Buffer.from(value.data).toString('hex');
}
