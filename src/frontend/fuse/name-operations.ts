/** Operations on names: looking up, making, removing, renaming, linking. */
import { OperatingError } from '../../base/errors.js';
import { NAME_BYTES_MAX, SYMLINK_BYTES_MAX } from '../../base/limits.js';
import type { Attributes } from '../../namespace/namespace.js';
import type { Context, Operation } from './context.js';
import { decodeLink, decodeMkdir, decodeMknod, decodeName, decodeRename, decodeRename2, decodeSymlink, type RenameIn } from './decode.js';
import { encodeEntry, encodeNoEntry } from './encode.js';
import { ENTRY_OUT_BYTES, Opcode, RenameBit } from './protocol.js';
import type { Request } from './request.js';

/** The kernel takes names of up to 1024 bytes from its callers. */
function checked(name: string): string {
  if (name.length > NAME_BYTES_MAX) throw new OperatingError('ENAMETOOLONG', `name of ${name.length} bytes`);
  return name;
}

export function nameOperations(context: Context): Map<number, Operation> {
  const { namespace, outbox, validity, retries } = context;

  function entry(request: Request, attributes: Attributes): void {
    encodeEntry(outbox.memory, outbox.reserve(request, ENTRY_OUT_BYTES), attributes, validity);
  }

  async function lookup(request: Request): Promise<void> {
    const name = checked(decodeName(request));
    const found = await (retries.isExpected(request.pid)
      ? retries.found(request.pid, () => namespace.lookup(request.ino, name, request))
      : namespace.lookup(request.ino, name, request));
    if (request.abandoned) {
      // Interrupted and answered meanwhile: the kernel does not know of this lookup.
      if (found !== undefined) namespace.forget(found.ino, 1);
    } else if (found !== undefined) entry(request, found);
    else encodeNoEntry(outbox.memory, outbox.reserve(request, ENTRY_OUT_BYTES), validity);
  }

  async function symlink(request: Request): Promise<void> {
    const { name, target } = decodeSymlink(request);
    if (target.length > SYMLINK_BYTES_MAX) throw new OperatingError('ENAMETOOLONG', `link target of ${target.length} bytes`);
    entry(request, await namespace.symlink(request.ino, checked(name), target, request));
  }

  async function mknod(request: Request): Promise<void> {
    const { name, mode, rdev } = decodeMknod(request);
    entry(request, await namespace.mknod(request.ino, checked(name), mode, rdev, request));
  }

  async function mkdir(request: Request): Promise<void> {
    const { name, mode } = decodeMkdir(request);
    entry(request, await namespace.mkdir(request.ino, checked(name), mode, request));
  }

  async function unlink(request: Request): Promise<void> {
    await namespace.unlink(request.ino, checked(decodeName(request)), request);
    outbox.done(request);
  }

  async function rmdir(request: Request): Promise<void> {
    await namespace.rmdir(request.ino, checked(decodeName(request)), request);
    outbox.done(request);
  }

  async function renameAs(request: Request, { newParent, name, newName, flags }: RenameIn): Promise<void> {
    const known = RenameBit.NOREPLACE | RenameBit.EXCHANGE;
    if ((flags & ~known) !== 0 || flags === known) throw new OperatingError('EINVAL', `rename with flags ${flags}`);
    const renameFlags = { noReplace: flags === RenameBit.NOREPLACE, exchange: flags === RenameBit.EXCHANGE };
    await namespace.rename(request.ino, checked(name), newParent, checked(newName), renameFlags, request);
    outbox.done(request);
  }

  async function link(request: Request): Promise<void> {
    const { ino, newName } = decodeLink(request);
    entry(request, await namespace.link(ino, request.ino, checked(newName), request));
  }

  return new Map<number, Operation>([
    [Opcode.LOOKUP, lookup],
    [Opcode.SYMLINK, symlink],
    [Opcode.MKNOD, mknod],
    [Opcode.MKDIR, mkdir],
    [Opcode.UNLINK, unlink],
    [Opcode.RMDIR, rmdir],
    [Opcode.RENAME, async (request) => renameAs(request, decodeRename(request))],
    [Opcode.RENAME2, async (request) => renameAs(request, decodeRename2(request))],
    [Opcode.LINK, link],
  ]);
}
