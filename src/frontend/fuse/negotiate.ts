/** INIT: what the kernel offers, what we take, and why. A pure function. */
import { FUSE_BACKGROUND_MAX, FUSE_IO_BYTES_MAX } from '../../base/limits.js';
import type { InitIn } from './decode.js';
import type { InitOut } from './encode.js';
import { FUSE_MAJOR, FUSE_MINOR_EXTENSIONS, FUSE_MINOR_MAX, FUSE_MINOR_MIN, InitFlag, type InitFlagName } from './protocol.js';

const PAGE_BYTES = 4096;

/** What both sides agreed on. */
export interface Negotiated {
  readonly major: number;
  readonly minor: number;
  /** The kernel's own newest minor version. */
  readonly kernelMinor: number;
  /** Flags taken. */
  readonly names: readonly InitFlagName[];
  /** Flags that the kernel offered and that were left alone. */
  readonly left: readonly InitFlagName[];
  /** SETXATTR carries eight bytes more. */
  readonly setxattrExtended: boolean;
}

/** Taken where the kernel offers them; the reasons are in README.md. Everything else is left alone, POSIX and BSD locks too. */
const WANTED: ReadonlySet<InitFlagName> = new Set<InitFlagName>([
  'ASYNC_READ',
  'EXPORT_SUPPORT',
  'BIG_WRITES',
  'DONT_MASK',
  'DO_READDIRPLUS',
  'READDIRPLUS_AUTO',
  'ASYNC_DIO',
  'WRITEBACK_CACHE',
  'PARALLEL_DIROPS',
  'POSIX_ACL',
  'ABORT_ERROR',
  'MAX_PAGES',
  'CACHE_SYMLINKS',
  'EXPLICIT_INVAL_DATA',
  'HANDLE_KILLPRIV_V2',
  'SETXATTR_EXT',
  'INIT_EXT',
  'SECURITY_CTX',
]);

/** `again`: the kernel speaks a newer major version and will ask once more in ours. `refused`: too old for us. */
export type Negotiation =
  { readonly kind: 'agreed'; readonly negotiated: Negotiated; readonly reply: InitOut } | { readonly kind: 'again' | 'refused' };

const flagNames = Object.keys(InitFlag) as InitFlagName[];

/** Names of the flags in INIT's two words. */
function named(flags: number, flags2: number): InitFlagName[] {
  return flagNames.filter((name) => {
    const bit = InitFlag[name];
    return bit < 32 ? ((flags >>> bit) & 1) === 1 : ((flags2 >>> (bit - 32)) & 1) === 1;
  });
}

/** The two words again. */
function words(names: readonly InitFlagName[]): { flags: number; flags2: number } {
  let [flags, flags2] = [0, 0];
  for (const name of names) {
    const bit = InitFlag[name];
    if (bit < 32) flags |= 1 << bit;
    else flags2 |= 1 << (bit - 32);
  }
  return { flags: flags >>> 0, flags2: flags2 >>> 0 };
}

export function negotiate(offer: InitIn): Negotiation {
  if (offer.major > FUSE_MAJOR) return { kind: 'again' };
  if (offer.major < FUSE_MAJOR || offer.minor < FUSE_MINOR_MIN) return { kind: 'refused' };
  const minor = Math.min(offer.minor, FUSE_MINOR_MAX);
  // The second word counts only if the first one says that it is there.
  const extended = ((offer.flags >>> InitFlag.INIT_EXT) & 1) === 1;
  const offered = named(offer.flags, extended ? offer.flags2 : 0);
  const taken = (name: InitFlagName): boolean => WANTED.has(name) && (name !== 'SECURITY_CTX' || minor >= FUSE_MINOR_EXTENSIONS);
  const names = offered.filter(taken);
  const left = offered.filter((name) => !taken(name));
  return {
    kind: 'agreed',
    negotiated: { major: FUSE_MAJOR, minor, kernelMinor: offer.minor, names, left, setxattrExtended: names.includes('SETXATTR_EXT') },
    reply: {
      major: FUSE_MAJOR,
      minor,
      maxReadaheadBytes: FUSE_IO_BYTES_MAX,
      ...words(names),
      maxBackground: FUSE_BACKGROUND_MAX,
      congestionThreshold: Math.floor((FUSE_BACKGROUND_MAX * 3) / 4),
      maxWriteBytes: FUSE_IO_BYTES_MAX,
      maxPages: FUSE_IO_BYTES_MAX / PAGE_BYTES,
    },
  };
}
