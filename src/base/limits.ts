/**
 * Every bound of the system, with the reason for its size. Memory figures add up to well below the 300 MiB that the
 * daemon may take; see the note at each.
 */
export const KiB = 1024;
export const MiB = 1024 * KiB;
export const GiB = 1024 * MiB;

/** Bytes that one CRC covers; the smallest unit of a verified read. 16 KiB: four pages, one CRC per 0.025 % of space. */
export const FRAME_BYTES = 16 * KiB;
/** Shards are padded to this: the block of common file systems, so that records can be punched out whole. */
export const SHARD_ALIGN_BYTES = 4 * KiB;
/** A shard record's header takes one block: identity, lengths, the frames' CRC table. */
export const RECORD_HEADER_BYTES = 4 * KiB;
/** The part of the header that is a pure function of the record's identity; the rest is the CRC table. */
export const RECORD_PREFIX_BYTES = 256;
/** Frames that the CRC table of one header can hold: (4096 - 256 - 4) / 4, rounded down. */
export const RECORD_FRAMES_MAX = 512;
/** A blob's bytes at most. 8 MiB: with 4 data disks 2 MiB a disk, where disks reach their sequential rate. */
export const BLOB_BYTES_MAX = 8 * MiB;
/** Disks that one blob may span. */
export const BLOB_SHARDS_MAX = 32;
/** A segment file is closed once it has grown past this; bounds what a scan of one file reads. */
export const SEGMENT_BYTES_MAX = 1 * GiB;
/** Segment files kept open for reading on each disk. */
export const OPEN_SEGMENTS_MAX = 64;

/** One entry of the log. */
export const LOG_ENTRY_BYTES_MAX = 1 * MiB;
/** The journal in shared memory. Twice the largest burst that one flush takes; counts as resident memory. */
export const JOURNAL_BYTES = 16 * MiB;
/** A voter's log file is closed and the next one opened past this. */
export const LOG_FILE_BYTES_MAX = 32 * MiB;
/** The log may be this much ahead of the durable replicas before they must follow. */
export const LOG_AHEAD_BYTES_MAX = 32 * MiB;
/** Data that may be written but unsynced before a flush is forced, unless someone asks earlier. */
export const UNSYNCED_BYTES_MAX = 256 * MiB;

/** Data held in memory for uploads (dirty bytes that are not yet in a blob or a row). */
export const UPLOAD_BYTES_MAX = 64 * MiB;
/** Blobs that are being encoded and written at one time. Each pins its data and 1/2 as much parity (4+2). */
export const STORES_IN_FLIGHT_MAX = 4;
/** Blob contents kept for readers (read-ahead). */
export const READ_CACHE_BYTES_MAX = 48 * MiB;
/** Rows of the index cached as objects (inodes, names). */
export const INODE_CACHE_MAX = 16_384;

/** FUSE: bytes of one READ or WRITE. The kernel's own limit by default (max_pages 256). */
export const FUSE_IO_BYTES_MAX = 1 * MiB;
/** FUSE: request buffers; each FUSE_IO_BYTES_MAX plus a page. */
export const FUSE_SLOTS = 16;

/** Length of a file name, bytes (NAME_MAX). */
export const NAME_BYTES_MAX = 255;
/** Length of a symbolic link's target, bytes (PATH_MAX - 1). */
export const SYMLINK_BYTES_MAX = 4095;
/** Hard links of one file, as in ext4. */
export const LINKS_MAX = 65_000;
/** Value of one extended attribute (XATTR_SIZE_MAX). */
export const XATTR_VALUE_BYTES_MAX = 64 * KiB;
/** Names of all extended attributes of one inode together (XATTR_LIST_MAX). */
export const XATTR_LIST_BYTES_MAX = 64 * KiB;
/** Disks of one pool. */
export const POOL_DISKS_MAX = 256;
