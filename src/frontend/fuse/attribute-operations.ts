/** Operations on inodes: attributes, link targets, extended attributes, and the file system as a whole. */
import { when, type Awaitable } from '../../base/awaitable.js';
import { errnoNumber, OperatingError } from '../../base/errors.js';
import { ACCESS_ACL } from '../../namespace/acl.js';
import { privilegesLost, S_ISGID } from '../../namespace/modes.js';
import type { Attributes, Caller, Ino, Namespace } from '../../namespace/namespace.js';
import type { Context, Operation } from './context.js';
import { decodeGetattr, decodeGetxattr, decodeListxattr, decodeSetattr, decodeSetxattr, decodeStatx, decodeXattrName } from './decode.js';
import { encodeAttrOut, encodeSize, encodeStatfs, encodeStatx } from './encode.js';
import { ATTR_OUT_BYTES, GetattrFlag, GETXATTR_OUT_BYTES, Opcode, STATFS_OUT_BYTES, STATX_OUT_BYTES } from './protocol.js';
import type { Request } from './request.js';
import { isVirtual, refuseVirtual, virtualValue } from './virtual-attributes.js';

/**
 * The mode of an inode without the bits that a write, truncation or change of owner by this caller takes away (HANDLE_KILLPRIV_V2 makes it our duty);
 * undefined when nothing changes.
 */
export function modeWithoutPrivileges(namespace: Namespace, ino: Ino, caller: Caller): Awaitable<number | undefined> {
  return when(namespace.getattr(ino), (attributes) => {
    const lost = privilegesLost(attributes, caller);
    return lost === 0 ? undefined : attributes.mode & ~lost;
  });
}

export function attributeOperations(context: Context): Map<number, Operation> {
  const { namespace, outbox, validity } = context;

  function getattr(request: Request): Awaitable<void> {
    const { flags, handle } = decodeGetattr(request);
    return when(namespace.getattr(request.ino, (flags & GetattrFlag.HANDLE) === 0 ? undefined : handle), (attributes) => {
      encodeAttrOut(outbox.memory, outbox.reserve(request, ATTR_OUT_BYTES), attributes, validity);
    });
  }

  function statx(request: Request): Awaitable<void> {
    decodeStatx(request);
    return when(namespace.getattr(request.ino), (attributes) => {
      encodeStatx(outbox.memory, outbox.reserve(request, STATX_OUT_BYTES), attributes, validity);
    });
  }

  function setattr(request: Request): Awaitable<void> {
    const { change: asked, handle, killPrivileges } = decodeSetattr(request);
    const kills = (killPrivileges || asked.uid !== undefined || asked.gid !== undefined) && asked.mode === undefined;
    return when(kills ? modeWithoutPrivileges(namespace, request.ino, request) : undefined, (mode) => {
      const change = mode === undefined ? asked : { ...asked, mode };
      return when(namespace.setattr(request.ino, change, request, handle), (attributes) => {
        encodeAttrOut(outbox.memory, outbox.reserve(request, ATTR_OUT_BYTES), attributes, validity);
      });
    });
  }

  function readlink(request: Request): Awaitable<void> {
    request.exactly(0);
    return when(namespace.readlink(request.ino), (target) => {
      outbox.pieces(request, [target]);
    });
  }

  async function statfs(request: Request): Promise<void> {
    request.exactly(0);
    const status = await namespace.statfs(request.ino);
    encodeStatfs(outbox.memory, outbox.reserve(request, STATFS_OUT_BYTES), status);
  }

  async function syncfs(request: Request): Promise<void> {
    request.exactly(8);
    await namespace.syncAll();
    outbox.done(request);
  }

  return new Map<number, Operation>([
    [Opcode.GETATTR, getattr],
    [Opcode.STATX, statx],
    [Opcode.SETATTR, setattr],
    [Opcode.READLINK, readlink],
    [Opcode.STATFS, statfs],
    [Opcode.SYNCFS, syncfs],
  ]);
}

const ENODATA = errnoNumber('ENODATA');

/** Extended attributes. */
export function xattrOperations(context: Context): Map<number, Operation> {
  const { namespace, outbox } = context;

  function setxattr(request: Request): Awaitable<void> {
    const { name, value, flags, killSetGroup } = decodeSetxattr(request, context.setxattrExtended());
    refuseVirtual(name);
    const copy = Buffer.from(value);
    // The kernel says it of default ACLs, too; they take nothing away.
    const cleared = killSetGroup && name === ACCESS_ACL ? clearSetGroup(request) : undefined;
    return when(cleared, () =>
      when(namespace.setxattr(request.ino, name, copy, flags, request), () => {
        outbox.done(request);
      }),
    );
  }

  function clearSetGroup(request: Request): Awaitable<Attributes> {
    return when(namespace.getattr(request.ino), ({ mode }) => namespace.setattr(request.ino, { mode: mode & ~S_ISGID }, request));
  }

  /** A value for a caller with room for `room` bytes; 0: it asks for the length. */
  function sized(request: Request, value: Buffer, room: number): void {
    if (room === 0) encodeSize(outbox.memory, outbox.reserve(request, GETXATTR_OUT_BYTES), value.length);
    else if (value.length > room) throw new OperatingError('ERANGE', `${value.length} bytes where ${room} fit`);
    else outbox.pieces(request, [value]);
  }

  function getxattr(request: Request): Awaitable<void> {
    const { name, bytes } = decodeGetxattr(request);
    const { ino } = request;
    return when(isVirtual(name) ? virtualValue(context.describe, ino, name) : namespace.getxattr(ino, name), (value) => {
      if (value === undefined) outbox.error(request, ENODATA);
      else sized(request, value, bytes);
    });
  }

  function listxattr(request: Request): Awaitable<void> {
    const bytes = decodeListxattr(request);
    // trusted.* is for the superuser's eyes, as in other file systems.
    const hidden = (name: string): boolean => isVirtual(name) || (request.uid !== 0 && name.startsWith('trusted.'));
    return when(namespace.listxattr(request.ino), (names) => {
      const shown = names.filter((name) => !hidden(name));
      sized(request, Buffer.from(shown.map((name) => `${name}\0`).join(''), 'latin1'), bytes);
    });
  }

  function removexattr(request: Request): Awaitable<void> {
    const name = decodeXattrName(request);
    refuseVirtual(name);
    return when(namespace.removexattr(request.ino, name, request), () => {
      outbox.done(request);
    });
  }

  return new Map<number, Operation>([
    [Opcode.SETXATTR, setxattr],
    [Opcode.GETXATTR, getxattr],
    [Opcode.LISTXATTR, listxattr],
    [Opcode.REMOVEXATTR, removexattr],
  ]);
}
