/** INIT: what the kernel offers, what we take, and why. A pure function. */
import { FUSE_BACKGROUND_MAX, FUSE_IO_BYTES_MAX } from '../../base/limits.js';
import type { InitIn } from './decode.js';
import type { InitOut } from './encode.js';
import { FUSE_MAJOR, FUSE_MINOR_MAX, FUSE_MINOR_MIN, InitFlag } from './protocol.js';

const PAGE_BYTES = 4096;

/** What both sides agreed on. */
export interface Negotiated {
  readonly major: number;
  readonly minor: number;
  /** INIT flags of the reply. */
  readonly flags: number;
  readonly names: readonly string[];
  /** SETXATTR carries eight bytes more. */
  readonly setxattrExtended: boolean;
}

/** Taken where the kernel offers them; the reasons are in README.md. Everything else is left alone, POSIX and BSD locks too. */
const WANTED =
  InitFlag.ASYNC_READ |
  InitFlag.ATOMIC_O_TRUNC |
  InitFlag.BIG_WRITES |
  InitFlag.DONT_MASK |
  InitFlag.DO_READDIRPLUS |
  InitFlag.READDIRPLUS_AUTO |
  InitFlag.ASYNC_DIO |
  InitFlag.WRITEBACK_CACHE |
  InitFlag.PARALLEL_DIROPS |
  InitFlag.POSIX_ACL |
  InitFlag.ABORT_ERROR |
  InitFlag.MAX_PAGES |
  InitFlag.CACHE_SYMLINKS |
  InitFlag.EXPLICIT_INVAL_DATA |
  InitFlag.HANDLE_KILLPRIV_V2 |
  InitFlag.SETXATTR_EXT;

/** `again`: the kernel speaks a newer major version and will ask once more in ours. `refused`: too old for us. */
export type Negotiation =
  { readonly kind: 'agreed'; readonly negotiated: Negotiated; readonly reply: InitOut } | { readonly kind: 'again' | 'refused' };

export function negotiate(offer: InitIn): Negotiation {
  if (offer.major > FUSE_MAJOR) return { kind: 'again' };
  if (offer.major < FUSE_MAJOR || offer.minor < FUSE_MINOR_MIN) return { kind: 'refused' };
  const flags = (offer.flags & WANTED) >>> 0;
  const minor = Math.min(offer.minor, FUSE_MINOR_MAX);
  const names = Object.entries(InitFlag)
    .filter(([, bit]) => (flags & bit) !== 0)
    .map(([name]) => name);
  return {
    kind: 'agreed',
    negotiated: { major: FUSE_MAJOR, minor, flags, names, setxattrExtended: (flags & InitFlag.SETXATTR_EXT) !== 0 },
    reply: {
      major: FUSE_MAJOR,
      minor,
      maxReadaheadBytes: FUSE_IO_BYTES_MAX,
      flags,
      maxBackground: FUSE_BACKGROUND_MAX,
      congestionThreshold: Math.floor((FUSE_BACKGROUND_MAX * 3) / 4),
      maxWriteBytes: FUSE_IO_BYTES_MAX,
      maxPages: FUSE_IO_BYTES_MAX / PAGE_BYTES,
    },
  };
}
