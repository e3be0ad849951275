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
export const JOURNAL_BYTES = 4 * MiB;
/** A voter's log file is closed and the next one opened past this. What is kept of the logs is mostly two or three, and costs 48 bytes of memory an entry and voter. */
export const LOG_FILE_BYTES_MAX = 16 * MiB;
/** What an entry that is kept takes in memory beside its bytes, about. */
export const LOG_ENTRY_MEMORY_BYTES = 600;
/** Entries in memory, with what they take there, before appends wait: those that are not replicated, and up to half of it for voters that follow a little later. */
export const LOG_AHEAD_BYTES_MAX = 7 * MiB;
/** Durable replicas follow in stretches of the log of this size: large, so that rows that come and go cancel out. */
export const LOG_STRETCH_BYTES = 16 * MiB;
/** … in which each entry counts for so much more: for its rows, in the memory of the thread that writes them. */
export const LOG_STRETCH_ENTRY_BYTES = 2_000;
/** Appends wait while a majority of them lacks more whole stretches. What they lack is in the logs, and a start after a crash catches up with it. */
export const LOG_STRETCHES_BEHIND_MAX = 2;
/** Data that may be written but unsynced before a flush is forced, unless someone asks earlier. */
export const UNSYNCED_BYTES_MAX = 256 * MiB;

/**
 * Data held in memory for uploads (dirty bytes that are not yet in a blob or a row). Three windows: write-back comes out of order, so that a file has two that
 * are not full for a moment, while a third is being stored.
 */
export const UPLOAD_BYTES_MAX = 24 * MiB;
/** Whoever brings at most this much at one time does not wait for memory behind those who bring more … */
export const BUDGET_SMALL_BYTES_MAX = 64 * KiB;
/** … but may overdraw it by this, at most by a quarter, beside what those who wait brought. */
export const BUDGET_SMALL_OVERDRAFT_BYTES_MAX = 4 * MiB;
/** Blobs that are being encoded and written at one time. Each pins its data and 1/2 as much parity (4+2). */
export const STORES_IN_FLIGHT_MAX = 2;
/** Blob contents kept for readers: all units of one sequential reader. */
export const READ_CACHE_BYTES_MAX = 16 * MiB;
/** Rows of the index cached as objects (inodes, names). */
export const INODE_CACHE_MAX = 8_192;
/** Names of new directories that are known, two slots of 4 bytes or more for each; and of how many directories. */
export const KNOWN_NAMES_SLOTS_MAX = 1_048_576;
export const KNOWN_DIRECTORIES_MAX = 8_192;

/** FUSE: bytes of one READ or WRITE. The kernel's own limit by default (max_pages 256). */
export const FUSE_IO_BYTES_MAX = 1 * MiB;
/** FUSE: requests in one batch. */
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
/** All extended attributes of one inode together, each counted with XATTR_ROW_BYTES besides: what listing and removing them may take at a time. */
export const XATTRS_BYTES_MAX = 2 * MiB;
export const XATTR_ROW_BYTES = 1 * KiB;
/** Attributes that are looked at in one go, and inodes of which it is known what theirs take. */
export const XATTR_PAGE_ROWS = 32;
export const XATTR_TOTALS_MAX = 1024;
/** Disks of one pool. */
export const POOL_DISKS_MAX = 256;

/** A key of the index: two names of NAME_BYTES_MAX with every byte escaped would still fit. */
export const INDEX_KEY_BYTES_MAX = 1 * KiB;
/** What a log entry's own header may take; the rest of LOG_ENTRY_BYTES_MAX is a transaction's write set. */
export const LOG_ENTRY_OVERHEAD_BYTES = 4 * KiB;
/** Rows that one scan may ask for; a caller that wants more goes on behind the last key. */
export const INDEX_SCAN_ROWS_MAX = 16_384;
/** Transactions that wait for their turn; far above the requests that a kernel keeps in flight. More are refused with EAGAIN. */
export const INDEX_WAITERS_MAX = 4096;

/** Segments are allocated ahead in steps of this, so that appends change no allocation metadata; smaller on small disks (1/64). */
export const SEGMENT_PREALLOCATE_BYTES = 64 * MiB;
/** Space of a disk that no new blob takes: log, replica and heal need it. Large disks: 2 %, but no more than this. */
export const DISK_RESERVE_BYTES_MAX = 1 * GiB;
/** … and small disks: this much, but no more than an eighth. Two log files. */
export const DISK_RESERVE_BYTES_MIN = 64 * MiB;
/** Of that, what is kept allocated in a file, against other programs: two log files. A sixty-fourth of a small disk. */
export const RESERVE_FILE_BYTES_MAX = 64 * MiB;
/** How old a disk's free space may be before it is asked again. */
export const CAPACITY_AGE_MS = 1000;
/** One read of a scan over segments; freed holes are crossed in steps of this. */
export const SCAN_READ_BYTES_MAX = 1 * MiB;
/** Small records are read and verified by stretches of this, one ahead of the reader: larger ones one by one. A stretch is one step of scrub's pace. */
export const SCAN_STRETCH_BYTES = 2 * MiB;
/** Records that a scan verifies at one time on its disk: enough that the next is queued when one is done. */
export const SCAN_VERIFIES_IN_FLIGHT_MAX = 4;
/** A read waits for a disk at least so long before it is made of others: above what a disk that seeks takes, below what one notices. */
export const READ_PATIENCE_MS_MIN = 30;
/** The same for a write: caches of disks and of the kernel are emptied now and then, which holds one up for longer. */
export const WRITE_PATIENCE_MS_MIN = 250;
/** A sync waits for one disk so many times as long as the others took, and at least so long, before it is on that disk's account. */
export const SYNC_PATIENCE_FACTOR = 4;
export const SYNC_PATIENCE_MS_MIN = 1_000;
/** Somebody who waits for several disks looks so often which are late. */
export const LATE_TICK_MS = 50;
/** A disk that the pool has waited so long for, alone, is put out: as long as a sleeping disk needs to spin up. */
export const LATE_BUDGET_MS = 10_000;
/** … and so long where other disks hold whole blobs without it, so that no redundancy is lost. */
export const LATE_SPARE_BUDGET_MS = 2_000;
/** What it is waited for at most this share of the time is forgiven: a disk that is merely busy now and then stays in. */
export const LATE_LEAK = 0.1;
/** A disk that was put out for being late shall write this much, synced, within so long before it is in again: a megabyte a second. */
export const TRIAL_BYTES = 1 * MiB;
export const TRIAL_MS = 1_000;
/** It is tried again after 1 s, 2 s, 4 s … up to this, and only after so long without lateness from 1 s on again: one that stays slow does not flap. */
export const LATE_RETRY_MS_MAX = 300_000;
export const LATE_STEADY_MS = 600_000;
/** How long statfs waits for figures of disks, before it answers with what is known. */
export const CAPACITY_PATIENCE_MS = 500;
/** A disk that was slow is asked so often whether it still is. */
export const SLOW_PROBE_INTERVAL_MS = 2_000;
/** So many reads that fail with EIO within this time take a disk out; fewer are bad sectors, of which healthy disks have some. */
export const BAD_SECTORS_MAX = 8;
export const BAD_SECTORS_MS = 10_000;
/** A segment with less in it is small: each life of the daemon leaves one on each disk. */
export const SMALL_SEGMENT_BYTES = 16 * MiB;
/** Small segments on a disk beyond which some are made one; half of them stay. Bounds what a start has to open. */
export const SMALL_SEGMENTS_MAX = 64;
/** How often a look is taken for segments that are nearly empty, how many of them are looked into on each disk, and what is moved then at most. */
export const COMPACT_INTERVAL_MS = 10_000;
export const COMPACT_SURVEYS_MAX = 16;
export const COMPACT_BYTES_MAX = 64 * MiB;
/** A segment of which less than this part is live, and that is not shorter than so much, is nearly empty: moving costs a third of what it frees. */
export const COMPACT_LIVE_SHARE = 0.25;
export const COMPACT_SEGMENT_BYTES_MIN = 1 * MiB;
/** Corrupt records kept for inspection on each disk; beyond either the oldest go. Some hundred frames are more than anybody looks at. */
export const DAMAGED_RECORDS_MAX = 256;
export const DAMAGED_BYTES_MAX = 64 * MiB;
/** Blobs that were given up and whose space a disk did not give back, to be tried again. More are found by the next start. */
export const DISCARDED_BLOBS_MAX = 1024;
/** (blob, shard) pairs whose damage was reported and is not reported again. A repeated report does no harm. */
export const DAMAGE_REPORTS_MAX = 16_384;
/** Blobs whose moves after failed syncs are remembered. UNSYNCED_BYTES_MAX of the smallest coded blobs is a quarter of this. */
export const MOVED_BLOBS_MAX = 16_384;
/** Blobs that are rebuilt at one time after a failed sync, each with its content in memory. */
export const MOVES_IN_FLIGHT_MAX = 2;
/** A call on a disk that takes longer takes the disk out. As long as a slow disk may need to sync UNSYNCED_BYTES_MAX. */
export const DISK_STALL_MS = 30_000;
/** How often the age of running calls is looked at. */
export const DISK_STALL_CHECK_MS = 1_000;

/**
 * SQLite pages of the index (src/index/README.md). Small, since a new name falls anywhere among those of its table, and the page where it does is written; and since what a
 * small file's content leaves behind, once it is packed, are whole pages.
 */
export const INDEX_PAGE_BYTES = 4 * KiB;
/** Pages without rows that a replica keeps for the rows to come: so much, or an eighth of all, whichever is more. */
export const INDEX_FREE_BYTES_MIN = 1 * MiB;
export const INDEX_FREE_SHARE = 8;
/** What is more than that is given back to the file system, so much behind each batch, about what a batch can empty … */
export const REPLICA_SHRINK_BYTES = 16 * MiB;
/** … and with each commit of the working replica. */
export const WORKING_SHRINK_BYTES = 4 * MiB;
/** Page cache of the working replica. */
export const WORKING_CACHE_BYTES = 4 * MiB;
/**
 * The working replica has its rows written to its file by a thread, after so many rows, bytes of entries or milliseconds: what a kill -9 makes us replay. Once so much
 * waits while the thread is still writing, commits wait.
 */
export const WORKING_WRITE_ROWS = 4096;
export const WORKING_WRITE_BYTES = 2 * MiB;
export const WORKING_WRITE_MS = 500;
/** Its write-ahead file is copied into the database after so many of these. */
export const WORKING_CHECKPOINT_COMMITS = 8;
/** It cannot start over while a view is open (check, export). Past this the view is given up, so that the state folder does not fill. */
export const WORKING_VIEW_WAL_BYTES_MAX = 1024 * MiB;
/** Page cache of the durable replica that is being written; one at a time. What does not fit is written before the end of a batch, with a sync more. */
export const REPLICA_CACHE_BYTES = 4 * MiB;
/** A replica up to this size is verified row by row when it is opened (below a second); a larger one when it is copied from. */
export const REPLICA_CHECK_BYTES_MAX = 64 * MiB;
/** A replica with pages of another size, or that cannot shrink, as earlier versions made them, is written anew when it is opened, up to this size. */
export const REPLICA_REWRITE_BYTES_MAX = 64 * MiB;
/** Calls waiting for one replica; the log waits for each, so more is a bug. */
export const REPLICA_CALLS_MAX = 16;
/** A call on a replica that takes longer keeps its thread, and the other replicas get a new one: commits wait for them once LOG_STRETCHES_BEHIND_MAX are reached. */
export const REPLICA_PATIENCE_MS = 2_000;
/** A replica's thread that showed no progress for so long hangs in its disk. A sync of one large batch on a slow disk stays below it. */
export const REPLICA_STALL_MS = 120_000;

/** Files of `/.ostraka` that are open at one time; each keeps its text. */
export const CONTROL_HANDLES_MAX = 256;
/** Quotas of a pool: their rows are all in memory, some 200 bytes each, and looked through when one is set or taken away. */
export const QUOTAS_MAX = 10_000;
/** Inodes that a rename takes from one quota to another: about as many rows as other transactions have. */
export const QUOTA_MOVE_INODES_MAX = 256;
/** A transaction of the namespace is cut into steps past this: far below LOG_ENTRY_BYTES_MAX, and applied within a few milliseconds. */
export const CHANGE_STEP_BYTES = 256 * KiB;
/** Extents that one transaction drops, and parts or rows that one background step handles: a millisecond or two of the event loop. */
export const CHANGE_STEP_ROWS = 256;
/** Extents that SEEK_DATA and SEEK_HOLE look at first. */
export const SEEK_ROWS = 4;
/** Small pieces of one commit that ride in its transaction, together; more are gathered into blobs first. */
export const COMMIT_INLINE_BYTES_MAX = 128 * KiB;
/** Separate dirty ranges of one upload before it is committed early: bounds the map and the rows of one commit. */
export const UPLOAD_RANGES_MAX = 4096;
/** Dirty bytes of one window that are kept as separate pieces; more, and the window gets one buffer for all of it. */
export const WINDOW_PIECES_BYTES_MAX = 1 * MiB;
/** … and so many pieces. */
export const WINDOW_PIECES_MAX = 64;
/** Uploads that are committed at one time because of memory or time; each may hold a buffer for gathering. */
export const COMMITS_IN_FLIGHT_MAX = 4;
/** Length of a file: offsets and lengths stay exact in a double, with room for sums. */
export const FILE_BYTES_MAX = 2 ** 52;
/** The kernel's clock for files is at most a tick ahead of ours; what is further ahead is no clock. */
export const FILE_CLOCK_AHEAD_SECONDS = 1;
/** Files whose ctime the kernel told last. What it flushes late it has read milliseconds before. */
export const TOLD_CTIMES_MAX = 1024;
/** A sequential reader is served in halves of blobs: of a full one under 4+2 that is all of two disks' parts. */
export const READ_UNITS_A_BLOB = 2;
/** Units that a sequential reader has: the one that it is in, and those that are fetched ahead of it, which keep all disks busy. */
export const READ_AHEAD_UNITS = 4;
/** Reads up to this that lie in one shard ask its disk alone at first. */
export const READ_ALONE_BYTES_MAX = 64 * KiB;
/** Large buffers that nobody took for so long are given back … */
export const BUFFERS_REST_MS = 1_000;
/** … and what was read for readers who did not come for it. One who takes 1 MiB each second asks every four seconds: the kernel reads so far ahead. */
export const READ_CACHE_REST_MS = 10_000;
/** A pack is read in pieces of this when several files of it are wanted: one disk's part of it. */
export const READ_GRANULE_BYTES = 256 * KiB;
/** A read this far from where the last one ended still counts as sequential: the kernel's read-ahead comes out of order. */
export const READ_SEQUENTIAL_SLACK_BYTES = 2 * MiB;
/** Manifests (stretches of them) kept for readers; inline data counts in full. */
export const EXTENT_CACHE_BYTES_MAX = 4 * MiB;
/** Extents fetched at once for a reader: 512 MiB ahead in a file of whole blobs. */
export const EXTENT_STRETCH_ROWS = 64;
/** Locations kept decoded, about 500 bytes each. */
export const LOCATION_CACHE_MAX = 4096;
/** Inline extents up to this stay rows for good: their place in a pack would cost as much. */
export const PACK_EXTENT_BYTES_MIN = 512;
/** A pack's content: enough for the disks' sequential rate, small enough to be read whole. */
export const PACK_BYTES_MAX = 1 * MiB;
/** Extents that go into one pack. */
export const PACK_EXTENTS_MAX = 2048;
/** Then the packer looks at what else there is to do. */
export const PACKS_AT_A_TIME_MAX = 256;
/** One file is not packed beyond this many extents at a time. */
export const PACK_FILE_EXTENTS_MAX = 256;
/** Small extents of large files whose places are known without looking, some 50 bytes each. */
export const SMALL_EXTENTS_MAX = 65_536;
export const SMALL_EXTENTS_PER_FILE_MAX = 16_384;
/** The packer begins when so much waits, or when nothing was written for PACK_IDLE_MS. */
export const PACK_WAITING_BYTES_MIN = 2 * MiB;
export const PACK_IDLE_MS = 2000;
/**
 * While disks are out a new blob has fewer shards than it should: small data, of which every voter has all, stays in the index until they are back, or until
 * so much of it waits.
 */
export const PACK_LACKING_BYTES_MIN = 256 * MiB;
/** Content of small files that is kept from its commit until it is packed, so that it need not be read again. */
export const FRESH_BYTES_MAX = 4 * MiB;
/** Packs of which less than this is referred to are packed anew. */
export const REPACK_LIVE_SHARE = 0.5;
/** Packs that are counted at one time, about 200 bytes each; more than lie between two neighbours of one pack. */
export const REPACK_BLOBS_MAX = 4096;
/** A look over all extents for such packs is worth it when so many extents, or one in a hundred files, went from blobs that others still refer to. */
export const REPACK_DROPS_MIN = 256;
export const REPACK_DROPS_SHARE = 0.01;
/** … and not more often than this; nor sooner after a start, where nobody knows what went before. */
export const REPACK_INTERVAL_MS = 300_000;
/** … and while small writes come in all the time, a database's say. */
export const REPACK_BUSY_INTERVAL_MS = 1_800_000;
/** A stretch of a file in so many extents or more, small ones on average, is put together; it must come to so many times fewer pieces by that. */
export const FRAGMENTS_MIN = 16;
export const FRAGMENTS_PER_RUN_MIN = 4;
/** Bytes that one such look puts together, at most; and of the free space, since what was there before goes only when nothing refers to it any more. */
export const DEFRAGMENTED_BYTES_MAX = 1024 * MiB;
export const DEFRAGMENTED_FREE_SHARE = 0.25;
/** Blobs of one file that are counted at a time, about 150 bytes each. */
export const FRAGMENTED_BLOBS_MAX = 32_768;
/** What shares more than this with copies of the file is left alone. */
export const SHARED_BYTES_SHARE = 0.25;
/** Extents that are read at a time. */
export const REPACK_READS_MAX = 16;
/** Pause between two steps of that look: a few milliseconds of work each. */
export const REPACK_PAUSE_MS = 5;
/** Pause between looks of the background services for work. */
export const BACKGROUND_INTERVAL_MS = 500;
/** Background work that failed is tried again after its interval, twice that … up to this. */
export const REPEAT_PAUSE_MS_MAX = 60_000;
/** Space that a disk did not give back is asked for again after so long, then twice that … up to the other: a call for each shard. */
export const COLLECT_RETRY_MS_MIN = 1_000;
export const COLLECT_RETRY_MS_MAX = 300_000;
/** Blobs that wait for that. More stop the collector's round, which tries again by itself. */
export const COLLECT_WAITING_MAX = 4096;
/** A pool counts as used so long after the last request ended: longer than the pauses within one program's work. */
export const PACE_IDLE_MS = 200;
/** A background job that gives way looks this often whether the pool is idle again. */
export const PACE_SLEEP_MS = 50;
/** The part of the time that scrub, drain and rebalance take while the pool is used: p99 of everybody else stays what it is (durability/pace.ts). */
export const PACE_SHARE = 0.01;
/** … and heal, which closes a gap in the protection. Blobs with no redundancy left at all are rebuilt at full speed. */
export const HEAL_SHARE = 0.2;
/** Blobs that are rebuilt or moved at one time while nobody uses the pool: small ones need so many to keep disks busy. Memory has a bound of its own. */
export const REBUILDS_IN_FLIGHT_MAX = 16;
/** … and what they hold in memory together, outside of JavaScript's: four of 4+2 and 8 MiB, so that disks read for some while others write. */
export const REBUILD_BYTES_MAX = 48 * MiB;
/** A flush begins past this, while rebuilding goes on; past this once more it waits. So a crash costs little, and disks never stand still. */
export const REBUILT_UNSYNCED_BYTES_MAX = 64 * MiB;
/** Walks of one drain over all blobs: the second finds what was on its way to the index in the first; more only where moves failed. */
export const DRAIN_PASSES_MAX = 8;
/** A drain that has moved everything waits so long for the collector: readers may hold on to old places. */
export const DRAIN_SETTLE_MS = 60_000;
/** Levels of disks that differ by no more are even: less is not worth moving data for. */
export const REBALANCE_TOLERANCE = 0.05;
/** Walks of one rebalance over all blobs. The first does nearly all of it. */
export const REBALANCE_PASSES_MAX = 4;
/** Disks that scrub reads at one time: disks are independent, and verification keeps up with about so many. */
export const SCRUB_DISKS_IN_FLIGHT_MAX = 4;
/** Scrub remembers which blobs it saw on a disk in bitmaps of so many bytes (2,048 blobs made one after the other) … */
export const SCRUB_PAGE_BYTES = 256;
/** … and so many of them for each disk under way: 8 million blobs in 2 MiB. Beyond that it looks at records once more instead. */
export const SCRUB_PAGES_MAX = 4096;
/** Records without a row that wait for a second look: they may be of blobs that are being written. More are counted at once. */
export const SCRUB_DOUBTS_MAX = 1024;
/** … after so long, by which a blob that was being written has its row. */
export const SCRUB_SETTLE_MS = 5000;
/** What scrub takes a record to cost its disk at least, when it gives way: reads ahead hide it. */
export const SCRUB_BYTES_PER_MS = 200 * KiB;
/** Rows of blobs that one step of a walk over all of them reads: a millisecond or two of the event loop. */
export const SURVEY_ROWS = 256;
/** Heal looks at all blobs and rebuilds so often in one run: each time something new was found. */
export const HEAL_ROUNDS_MAX = 16;
/** Kinds of long-running jobs that rows may speak of; there are half as many. */
export const JOB_KINDS_MAX = 16;
/** Runs of each kind of job that are remembered: most of a year of monthly scrubs. */
export const JOB_RUNS_KEPT = 10;
/** A job's place is written down so often: what a crash makes it do again. One small row each time. */
export const JOB_SAVE_INTERVAL_MS = 5000;
/** Rows or records of blobs that are looked at in one step. */
export const COLLECT_BLOBS_MAX = 64;
/** Blobs whose space the collector gives back before it looks for more: 4 GiB of large ones … */
export const COLLECT_FOUND_MAX = 1024;
/** … and of those at one time. */
export const COLLECT_FREES_MAX = 16;

/** What is on each disk is counted anew for status when the last count is older than this … */
export const DISK_CONTENTS_AGE_MS = 2_000;
/** … and took no more than this part of the time since: a walk over all blobs of a large pool takes seconds … */
export const DISK_CONTENTS_SHARE = 0.02;
/** … for which nobody waits longer than this. */
export const DISK_CONTENTS_WAIT_MS = 3_000;
/** How often each disk is probed, and an absent one looked for: a moved or unmounted disk is noticed within this. */
export const DISK_PROBE_INTERVAL_MS = 1_000;
/** A disk that failed is tried again after 1 s, 2 s, 4 s … up to this, so that a dying one does not flap. */
export const DISK_RETRY_MS_MAX = 30_000;
/** A disk that stayed in for so long starts again with the shortest wait when it fails. */
export const DISK_STEADY_MS = 60_000;
/** A probe that takes longer makes its disk suspect: a disk that is merely busy answers within this. */
export const DISK_SUSPECT_MS = 2_000;
/** … and so does a call that failed, for so long after it. */
export const DISK_SUSPICION_MS = 10_000;
/** Memberships that a start takes over, each newer than the last, before it gives up: another process is at work on the disks. */
export const MEMBERSHIP_TRIES_MAX = 4;
/** A change of members that could not be made now (too few voters, a failed disk that blobs still name) is tried again so often. */
export const MEMBERS_RETRY_MS = 30_000;
/** How often absent disks are looked for in the other known directories. */
export const DISK_SEARCH_INTERVAL_MS = 5_000;
/** Directories that are looked into at one time; each takes threads while it is open. */
export const DISK_INSPECTIONS_MAX = 16;

/** One write to a voter's log file. A batch up to this is one write; a voter that catches up gets several before each sync. */
export const LOG_WRITE_BYTES_MAX = 1 * MiB;
/** What a voter gets at most between two syncs; bounds what one that catches up holds in memory. */
export const LOG_BATCH_BYTES_MAX = 2 * MiB;
/** Logs keep what a voter needs that is being brought up, until so much has come meanwhile: a few log files, less than new blobs leave free on a disk. */
export const LOG_KEPT_BYTES_MAX = 128 * MiB;
/** Log files are allocated ahead in steps of this, so that most syncs change no allocation metadata. */
export const LOG_PREALLOCATE_BYTES = 1 * MiB;
/** … and where appends are small, written with zeros in steps of this: some hundred appends, each of which then syncs nothing but its data. */
export const LOG_BLANK_BYTES = 1 * MiB;
/** After so many small appends in a row: a pool that is at rest writes none. */
export const LOG_BLANK_APPENDS_MIN = 8;
/** Above this the zeros cost more than the metadata. */
export const LOG_BLANK_APPEND_BYTES_MAX = 64 * KiB;
/** Voters write their zeros at so many different times. */
export const LOG_BLANK_STAGGER = 5;
/** A voter's mark is brought up so often while it is written to: with each append it would cost as much as the append. */
export const MARK_INTERVAL_MS = 1_000;
/** Voters that a flush does not wait for get what it wrote so much later, many flushes together. */
export const VOTER_FOLLOW_MS = 25;
/** A flush waits at least so long for the quickest voters alone, and four times as long as it usually takes; then all are asked. */
export const VOTER_PATIENCE_MS_MIN = 5;
/** Of one durable step of a voter's replica so many rows are in the memory of the thread that writes them, some 300 bytes each and the longest entry's in addition. */
export const REPLICA_NET_ROWS_MAX = 49_152;
/** Durable replicas follow the barrier so late when nothing presses: what comes and goes within it is never written to them. */
export const REPLICA_INTERVAL_MS = 5_000;
/** A voter that failed while its disk stayed (a full disk, a damaged file) is tried again so often. */
export const VOTER_RETRY_MS = 5_000;
/** Recovery begins anew without a voter that fails in the midst of it, so many times. */
export const RECOVERY_ATTEMPTS_MAX = 4;
/** Room in the journal that only barriers may take, so that a flush can always end. Some hundred barriers; one is used a flush. */
export const JOURNAL_HEADROOM_BYTES = 64 * KiB;
/** Rounds of one flush in which synced data had to be moved and asked for again. Each takes a disk out, so it ends long before. */
export const FLUSH_ROUNDS_MAX = 1_000;

/** FUSE: a batch of requests ends with the one that reaches this, so that a large write is copied on while the processor's cache still has it. */
export const FUSE_BATCH_BYTES = 128 * KiB;
/** FUSE: small replies that wait for the end of their batch. */
export const FUSE_OUTBOX_BYTES = 64 * KiB;
/** FUSE: requests that the kernel sends without anyone waiting (read-ahead, write-back): with 1 MiB each, what may be under way at one time. */
export const FUSE_BACKGROUND_MAX = 16;
/**
 * FUSE: pages of one mount that programs may have written and the kernel not yet handed to us. All of it fits into the requests above, so that what a `close`
 * writes, or somebody reads, is never behind more than that in the kernel's one queue. By itself the kernel allows 1 % of what it has for dirty pages.
 */
export const FUSE_DIRTY_BYTES_MAX = 16 * MiB;
/** FUSE: requests under way; past this no more are taken. Each is a few hundred bytes and a promise. */
export const FUSE_REQUESTS_MAX = 1024;
/** FUSE: bytes of writes that the namespace has copied but not yet accepted; past this no more requests are taken. */
export const FUSE_WRITE_BYTES_MAX = 32 * MiB;
/** FUSE: one reply of directory entries. A getdents(2) buffer is 32 KiB in most programs. */
export const FUSE_READDIR_BYTES_MAX = 64 * KiB;
/**
 * FUSE: after a request was answered, look for the next one this long before sleeping. A sleep and a wake cost about 100 µs, ours and that of the program which
 * waits for the answer: within that time it is back.
 */
export const FUSE_SPIN_MICROSECONDS = 100;
/** FUSE: then let timers and other I/O run, however many requests come. */
export const FUSE_TURN_MICROSECONDS = 1500;
/** FUSE: how long the kernel may remember what it was told, past the next nightly backup. We are the only writer; the bound is for what nobody thought of. */
export const FUSE_VALIDITY_SECONDS = 7 * 86_400;
/** FUSE: how far the kernel reads ahead: four of its largest READs, so that the disks of a blob are busy while the last one is copied. */
export const FUSE_READAHEAD_BYTES = 4 * MiB;
/** fuse-native: names whose inodes are remembered, some 150 bytes each; others are asked of the namespace, which has a cache of its own. */
export const NATIVE_PATHS_MAX = 16_384;
/** fuse-native: its room for libfuse's options. What is longer is cut off. */
export const NATIVE_OPTION_BYTES_MAX = 1023;
/** fuse-native does not tell of the end of a mount: how often to look; and when it is expected. */
export const NATIVE_END_INTERVAL_MS = 500;
export const NATIVE_END_SOON_MS = 10;

/** The daemon looks this often whether buffers that nobody needs any more have piled up. */
export const MEMORY_CHECK_INTERVAL_MS = 250;
/** So much of them may. A collection takes some 20 ms and makes V8 compile much of what runs anew: with 8 MiB it was a third of what making small files cost. */
export const MEMORY_GARBAGE_BYTES_MAX = 10 * MiB;

/** Log entries and rows with content are cut from pieces of this size. */
export const ARENA_PIECE_BYTES = 256 * KiB;

/** The service manager's watchdog gets so many signs of life in the time in which it wants one: three may come late. */
export const SIGNS_OF_LIFE_PER_LIMIT = 4;
/** The line that `systemctl status` shows is brought up to date this often. */
export const SERVICE_STATUS_INTERVAL_MS = 10_000;
/** … and is cut at this length: a screen's width or two. */
export const SERVICE_STATUS_CHARACTERS_MAX = 300;

/** Check: inodes whose links are counted in one pass over all names; nine bytes each. */
export const CHECK_INODES_MAX = 512 * KiB;
/** Check: blobs whose references are counted in one pass over all extents; twenty bytes each. */
export const CHECK_BLOBS_MAX = 128 * KiB;
/** Check: findings that are kept and shown, and repaired in one round; more are counted. */
export const CHECK_FINDINGS_MAX = 2000;
/** Check: rounds of repair. Each looks at everything again; a repair that makes new work needs two or three. */
export const CHECK_ROUNDS_MAX = 16;

/** Index export: rows of one chunk, about; what either side holds at one time. */
export const EXPORT_CHUNK_BYTES = 64 * KiB;
/** … at most: the last rows of it may be the largest there are. */
export const EXPORT_CHUNK_BYTES_MAX = 64 * MiB;
/** Snapshots on disks are read in pieces of this. */
export const SNAPSHOT_READ_BYTES = 1 * MiB;
/** Is it time for a snapshot? Asked this often. */
export const SNAPSHOT_LOOK_MS = 600_000;
/** Recovery: lost blobs whose files are named. More than these is a pool that is lost. */
export const LOST_BLOBS_MAX = 1024 * KiB;

/**
 * How far the thread that answers goes before those that copy and encode (nice(2)): while a big write keeps all processors busy, a small request waits for none
 * of them. Nine times their share, for the moments in which it has something to answer.
 */
export const DAEMON_NICE_STEPS = 10;
