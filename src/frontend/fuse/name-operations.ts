/** Operations on names: looking up, making, removing, renaming, linking. */
import { when, type Awaitable } from '../../base/awaitable.js';
import { OperatingError } from '../../base/errors.js';
import { NAME_BYTES_MAX, SYMLINK_BYTES_MAX } from '../../base/limits.js';
import type { Attributes, Ino, RenameFlags } from '../../namespace/namespace.js';
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

function renameFlags(flags: number): RenameFlags {
  const known = RenameBit.NOREPLACE | RenameBit.EXCHANGE;
  if ((flags & ~known) !== 0 || flags === known) throw new OperatingError('EINVAL', `rename with flags ${flags}`);
  return { noReplace: flags === RenameBit.NOREPLACE, exchange: flags === RenameBit.EXCHANGE };
}

/** Of directories that have another parent: what the kernel keeps of their listings names the old one. */
function dropListings(context: Context, moved: readonly Ino[]): Awaitable<void> {
  return moved.length === 0 ? undefined : Promise.all(moved.map((ino) => context.dropPages(ino))).then(() => undefined);
}

export function nameOperations(context: Context): Map<number, Operation> {
  const { namespace, outbox, validity, retries } = context;

  function entry(request: Request, attributes: Attributes): void {
    encodeEntry(outbox.memory, outbox.reserve(request, ENTRY_OUT_BYTES), attributes, validity);
  }

  function lookup(request: Request): Awaitable<void> {
    const name = checked(decodeName(request));
    const found = retries.isExpected(request.pid)
      ? retries.found(request.pid, () => namespace.lookup(request.ino, name, request))
      : namespace.lookup(request.ino, name, request);
    return when(found, (attributes) => {
      lookedUp(request, attributes);
    });
  }

  function lookedUp(request: Request, found: Attributes | undefined): void {
    if (request.abandoned) {
      // Interrupted and answered meanwhile: the kernel does not know of this lookup.
      if (found !== undefined) namespace.forget(found.ino, 1);
    } else if (found !== undefined) entry(request, found);
    else encodeNoEntry(outbox.memory, outbox.reserve(request, ENTRY_OUT_BYTES), validity);
  }

  /** Answers with what was made. */
  function made(request: Request, attributes: Awaitable<Attributes>): Awaitable<void> {
    return when(attributes, (there) => {
      entry(request, there);
    });
  }

  /** Answers that it is done. */
  function done(request: Request, change: Awaitable<void>): Awaitable<void> {
    return when(change, () => {
      outbox.done(request);
    });
  }

  function symlink(request: Request): Awaitable<void> {
    const { name, target } = decodeSymlink(request);
    if (target.length > SYMLINK_BYTES_MAX) throw new OperatingError('ENAMETOOLONG', `link target of ${target.length} bytes`);
    return made(request, namespace.symlink(request.ino, checked(name), target, request));
  }

  function mknod(request: Request): Awaitable<void> {
    const { name, mode, rdev } = decodeMknod(request);
    return made(request, namespace.mknod(request.ino, checked(name), mode, rdev, request));
  }

  function mkdir(request: Request): Awaitable<void> {
    const { name, mode } = decodeMkdir(request);
    return made(request, namespace.mkdir(request.ino, checked(name), mode, request));
  }

  function unlink(request: Request): Awaitable<void> {
    return done(request, namespace.unlink(request.ino, checked(decodeName(request)), request));
  }

  function rmdir(request: Request): Awaitable<void> {
    return done(request, namespace.rmdir(request.ino, checked(decodeName(request)), request));
  }

  function renameAs(request: Request, { newParent, name, newName, flags }: RenameIn): Awaitable<void> {
    const renamed = namespace.rename(request.ino, checked(name), newParent, checked(newName), renameFlags(flags), request);
    const told = when(renamed, (moved) => dropListings(context, moved));
    return done(request, told);
  }

  function link(request: Request): Awaitable<void> {
    const { ino, newName } = decodeLink(request);
    return made(request, namespace.link(ino, request.ino, checked(newName), request));
  }

  return new Map<number, Operation>([
    [Opcode.LOOKUP, lookup],
    [Opcode.SYMLINK, symlink],
    [Opcode.MKNOD, mknod],
    [Opcode.MKDIR, mkdir],
    [Opcode.UNLINK, unlink],
    [Opcode.RMDIR, rmdir],
    [Opcode.RENAME, (request) => renameAs(request, decodeRename(request))],
    [Opcode.RENAME2, (request) => renameAs(request, decodeRename2(request))],
    [Opcode.LINK, link],
  ]);
}
