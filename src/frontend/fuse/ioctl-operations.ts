/**
 * IOCTL: what the tools of local file systems ask. Inodes have no flags here (immutable, append-only, no-dump …), extent sizes or projects: they are
 * all none, may be set to that, and anything else is refused in a way that chattr(1) and its kin can explain.
 */
import { OperatingError } from '../../base/errors.js';
import type { Context, Operation } from './context.js';
import { decodeIoctl } from './decode.js';
import { encodeIoctl } from './encode.js';
import { FSXATTR_BYTES, Ioctl, IOCTL_OUT_BYTES, Opcode } from './protocol.js';
import type { Request } from './request.js';

/** An int, although its command says long: a longer answer would be written behind its caller's variable. */
const INT_BYTES = 4;
const NOTHING = Buffer.alloc(0);

/** Nothing but zeros: as it is. */
function unchanged(data: Buffer): Buffer {
  if (data.some((byte) => byte !== 0)) throw new OperatingError('ENOTSUP', 'inodes have no such flags here');
  return NOTHING;
}

function answer(command: number, data: Buffer): Buffer {
  switch (command) {
    case Ioctl.GETFLAGS:
    case Ioctl.GETVERSION: // of an inode number, which is never given twice
      return Buffer.alloc(INT_BYTES);
    case Ioctl.FSGETXATTR:
      return Buffer.alloc(FSXATTR_BYTES);
    case Ioctl.SETFLAGS:
      return unchanged(data.subarray(0, INT_BYTES));
    case Ioctl.FSSETXATTR:
      return unchanged(data.subarray(0, FSXATTR_BYTES));
    case Ioctl.FITRIM:
      throw new OperatingError('ENOTSUP', 'space is given back at once, there is nothing to trim');
    default:
      throw new OperatingError('ENOTTY', `unknown ioctl ${command}`);
  }
}

export function ioctlOperations({ outbox }: Context): Map<number, Operation> {
  async function ioctl(request: Request): Promise<void> {
    const { command, data, answerBytes } = decodeIoctl(request);
    const bytes = answer(command, data).subarray(0, answerBytes);
    encodeIoctl(outbox.memory, outbox.reserve(request, IOCTL_OUT_BYTES + bytes.length), bytes);
  }
  return new Map<number, Operation>([[Opcode.IOCTL, ioctl]]);
}
