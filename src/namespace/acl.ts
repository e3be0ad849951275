/**
 * POSIX ACLs as acl(5) and linux/posix_acl_xattr.h have them. The kernel enforces them; what the file system owes it is here: the bytes of the two
 * attributes, a file's mode in step with its ACL, and what is made in a directory with a default ACL.
 */
import { ByteReader, ByteWriter, DecodeError } from '../base/bytes.js';
import { OperatingError, type ErrnoName } from '../base/errors.js';
import { PERMISSION_BITS } from './modes.js';

function refuse(code: ErrnoName, message: string): never {
  throw new OperatingError(code, message);
}

export const ACCESS_ACL = 'system.posix_acl_access';
export const DEFAULT_ACL = 'system.posix_acl_default';

const VERSION = 2;
const NO_ID = 0xffffffff;
/** In the order in which they stand. */
const Tag = { USER_OBJ: 0x01, USER: 0x02, GROUP_OBJ: 0x04, GROUP: 0x08, MASK: 0x10, OTHER: 0x20 } as const;
const KNOWN_TAGS: ReadonlySet<number> = new Set(Object.values(Tag));

interface AclEntry {
  readonly tag: number;
  /** rwx as 4, 2, 1. */
  readonly permissions: number;
  /** User or group; NO_ID for the other kinds. */
  readonly id: number;
}

export type Acl = readonly AclEntry[];

export function isAcl(name: string): boolean {
  return name === ACCESS_ACL || name === DEFAULT_ACL;
}

/** @throws OperatingError EINVAL: these bytes are no ACL. EOPNOTSUPP: of another version. */
export function decodeAcl(value: Uint8Array): Acl {
  const entries: AclEntry[] = [];
  try {
    const reader = new ByteReader(value);
    if (reader.u32() !== VERSION) refuse('EOPNOTSUPP', 'an ACL of another version');
    while (reader.remaining > 0) entries.push({ tag: reader.u16(), permissions: reader.u16(), id: reader.u32() });
  } catch (error) {
    if (error instanceof DecodeError) refuse('EINVAL', 'not an ACL');
    throw error;
  }
  const count = (tag: number): number => entries.filter((entry) => entry.tag === tag).length;
  const inOrder = entries.every(({ tag }, at) => at === 0 || tag >= (entries[at - 1]?.tag ?? 0));
  const known = entries.every(({ tag, permissions }) => KNOWN_TAGS.has(tag) && permissions <= 7);
  const once = count(Tag.USER_OBJ) === 1 && count(Tag.GROUP_OBJ) === 1 && count(Tag.OTHER) === 1 && count(Tag.MASK) <= 1;
  const masked = count(Tag.USER) + count(Tag.GROUP) === 0 || count(Tag.MASK) === 1;
  if (!inOrder || !known || !once || !masked) refuse('EINVAL', 'not a valid ACL');
  return entries;
}

export function encodeAcl(acl: Acl): Buffer {
  const writer = new ByteWriter(4 + acl.length * 8).u32(VERSION);
  for (const { tag, permissions, id } of acl)
    writer
      .u16(tag)
      .u16(permissions)
      .u32(tag === Tag.USER || tag === Tag.GROUP ? id : NO_ID);
  return writer.copy();
}

function find(acl: Acl, tag: number): number | undefined {
  return acl.find((entry) => entry.tag === tag)?.permissions;
}

/** Says no more than nine permission bits. */
export function isPlain(acl: Acl): boolean {
  return acl.length === 3;
}

/** `mode` with the permissions that the ACL gives: the group's bits are the mask, where there is one. */
export function modeWithAcl(mode: number, acl: Acl): number {
  const group = find(acl, Tag.MASK) ?? find(acl, Tag.GROUP_OBJ) ?? 0;
  return (mode & ~0o777) | ((find(acl, Tag.USER_OBJ) ?? 0) << 6) | (group << 3) | (find(acl, Tag.OTHER) ?? 0);
}

function changed(acl: Acl, change: (entry: AclEntry, groupTag: number) => number): Acl {
  const groupTag = find(acl, Tag.MASK) === undefined ? Tag.GROUP_OBJ : Tag.MASK;
  return acl.map((entry) => ({ ...entry, permissions: change(entry, groupTag) }));
}

/** Which bits of a mode an entry stands for; undefined: none. */
function modeShift(tag: number, groupTag: number): number | undefined {
  if (tag === Tag.USER_OBJ) return 6;
  if (tag === groupTag) return 3;
  return tag === Tag.OTHER ? 0 : undefined;
}

/** The ACL after chmod. */
export function aclWithMode(acl: Acl, mode: number): Acl {
  return changed(acl, ({ tag, permissions }, groupTag) => {
    const shift = modeShift(tag, groupTag);
    return shift === undefined ? permissions : (mode >> shift) & 7;
  });
}

/** What is made with `mode` in a directory with this default ACL: its access ACL, and its mode. The umask has no say then. */
export function inheritedAcl(defaultAcl: Acl, mode: number): { readonly acl: Acl; readonly mode: number } {
  const acl = changed(defaultAcl, ({ tag, permissions }, groupTag) => {
    const shift = modeShift(tag, groupTag);
    return shift === undefined ? permissions : permissions & (mode >> shift) & 7;
  });
  return { acl, mode: (mode & ~PERMISSION_BITS) | (modeWithAcl(mode, acl) & PERMISSION_BITS) };
}
