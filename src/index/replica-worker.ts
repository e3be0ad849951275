/**
 * The thread behind the replicas: SQLite calls that may wait for a disk. Started by replica-thread.ts; serves one request at a time, for whichever replica it
 * is. Says that it is alive while it works, so that a slow disk is told from a dead one. It has one file open at a time: where it hangs, it holds no
 * other disk, and another thread can take the next request for any other replica.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { parentPort } from 'node:worker_threads';
import { AssertionError, must } from '../base/assert.js';
import { DecodeError } from '../base/bytes.js';
import {
  REPLICA_CHECK_BYTES_MAX,
  REPLICA_NET_ROWS_MAX,
  REPLICA_REWRITE_BYTES_MAX,
  REPLICA_SHRINK_BYTES,
  WORKING_CHECKPOINT_COMMITS,
  WORKING_SHRINK_BYTES,
} from '../base/limits.js';
import { nativeIo } from '../base/native-io.js';
import { samePoint } from '../quorum/point.js';
import type { LogPoint } from '../quorum/state-machine.js';
import { DamagedLogError, LogEntries } from './log-entries.js';
import { RowWriter } from './row-writer.js';
import type { SortedRows } from './sorted-rows.js';
import { DamagedFileError, DamagedSourceError, errnoOf, isDamage } from './sqlite-error.js';
import { rowChecksum, SqliteFile, type Contents } from './sqlite-file.js';
import { netEffects, netRows, type NetWrite } from './unwritten-rows.js';
import { packedEntries, type Job, type Reply, type Request, type RunFiles } from './worker-jobs.js';

// Nobody waits for its batches as for an answer.
nativeIo().stayBehind();

/** The file that is open: a durable replica, or the working one for writing. */
let open: SqliteFile | undefined;

function close(): void {
  const file = open;
  open = undefined;
  file?.close();
}

/** The file at `path`, which the last request has left open, or which is opened now. */
function opened(path: string, use: 'working' | 'durable'): SqliteFile {
  if (open?.path === path) return open;
  close();
  open = new SqliteFile(path, use, false);
  return open;
}

/** Opens and verifies; undefined when the file is damaged. Other errors are thrown: they say nothing about the file. */
function openVerified(path: string, use: 'working' | 'durable', create: boolean, alive: () => void): SqliteFile | undefined {
  let file: SqliteFile | undefined;
  try {
    file = new SqliteFile(path, use, create);
    file.meta();
    if (file.bytes() <= REPLICA_CHECK_BYTES_MAX) file.verify(alive);
    return file;
  } catch (error) {
    try {
      file?.close();
    } catch (closing) {
      if (!isDamage(closing)) throw closing;
    }
    if (isDamage(error)) return undefined;
    throw error;
  }
}

function openDurable(path: string, create: boolean, alive: () => void): LogPoint | undefined {
  close();
  open = openVerified(path, 'durable', create, alive);
  if (open === undefined) return undefined;
  if (open.meta().contents === undefined) {
    close();
    return undefined;
  }
  const file = open;
  if (!file.isCurrent && file.bytes() <= REPLICA_REWRITE_BYTES_MAX) whereRoom(() => file.rewrite());
  return file.meta().point;
}

/** Does what is good to have done, on a disk that may be too full for it. */
function whereRoom(action: () => void): void {
  try {
    action();
  } catch (error) {
    if (isDamage(error)) throw error;
  }
}

const entries = new LogEntries();

/** The last batch: voters that follow in step are given the same one after the other. Its net effect is kept once it is known to be of one part. */
let last: { readonly from: LogPoint; readonly to: LogPoint; net?: SortedRows<NetWrite> } | undefined;

/** The chain says that it is the same history, whoever's log it was read from. */
function* netOf(run: RunFiles, alive: () => void): Generator<SortedRows<NetWrite>> {
  const { from, to } = run;
  if (last?.net !== undefined && samePoint(last.from, from) && samePoint(last.to, to)) {
    yield last.net;
    return;
  }
  if (last !== undefined) letGo();
  const own: NonNullable<typeof last> = (last = { from, to });
  let parts = 0;
  let part: SortedRows<NetWrite> | undefined;
  for (part of netEffects(packedEntries(entries.read(run, alive)), REPLICA_NET_ROWS_MAX)) {
    parts++;
    yield part;
  }
  if (parts === 1 && part !== undefined) own.net = part;
}

function writeRows(file: SqliteFile, net: SortedRows<NetWrite>, contents: Contents, alive: () => void): void {
  const writer = new RowWriter(file, contents);
  let written = 0;
  net.forEach((key, row) => {
    const { position, value } = row;
    if (value === undefined) writer.delete(key);
    else {
      // Once for all voters.
      const checksum = (row.checksum ??= rowChecksum(key, position, value));
      writer.write({ key, position, checksum, value });
    }
    if (++written % 256 === 0) alive();
  });
  writer.flush();
}

function apply(path: string, run: RunFiles, alive: () => void): void {
  const file = opened(path, 'durable');
  try {
    file.begin();
    const { point, contents } = file.meta();
    if (contents === undefined) throw new DamagedFileError(`${file.path} does not say what it holds`);
    // The file was opened anew perhaps, and may be an older one.
    if (!samePoint(point, run.from)) throw new DamagedFileError(`${file.path} is not where it was`);
    for (const net of netOf(run, alive)) writeRows(file, net, contents, alive);
    file.setMeta(run.to, contents);
    alive();
    file.commit();
    // Apart from the batch: on a full disk the batch must not fail for what only tidies up.
    whereRoom(() => file.shrink(REPLICA_SHRINK_BYTES));
  } catch (error) {
    // After a failed write or sync there is nothing to go back to: the file is given up as it is.
    if (isDamage(error)) close();
    else file.rollback();
    throw error;
  }
}

async function copy(from: string, to: string, alive: () => void): Promise<LogPoint> {
  try {
    return await copyVerified(from, to, alive);
  } catch (error) {
    // Which of the two is it? Damage is copied faithfully; a disk that cannot be read or written shows itself here too.
    if (isDamage(error) && isDamaged(from, alive)) throw new DamagedSourceError(error instanceof Error ? error.message : String(error));
    throw error;
  }
}

function isDamaged(path: string, alive: () => void): boolean {
  let file: SqliteFile | undefined;
  try {
    file = new SqliteFile(path, 'reading', false);
    file.verify(alive);
    return false;
  } catch (error) {
    return isDamage(error);
  } finally {
    file?.close();
  }
}

async function copyVerified(from: string, to: string, alive: () => void): Promise<LogPoint> {
  const source = new SqliteFile(from, 'reading', false);
  try {
    await source.copyTo(to, alive);
  } finally {
    source.close();
  }
  const made = new SqliteFile(to, 'reading', false);
  try {
    made.verify(alive);
    const { point, contents } = made.meta();
    if (contents === undefined) throw new DamagedFileError(`${from} does not say what it holds`);
    return point;
  } finally {
    made.close();
  }
}

function check(path: string, alive: () => void): LogPoint | undefined {
  const file = openVerified(path, 'working', false, alive);
  const point = file?.meta().point;
  file?.close();
  return point;
}

function stand(path: string, create: boolean): LogPoint {
  close();
  const file = new SqliteFile(path, 'working', create);
  open = file;
  const { point } = file.meta();
  // It does not keep count of its rows.
  file.setMeta(point, undefined);
  return point;
}

/** Commits since the last checkpoint. */
let commits = 0;

function write({ path, rows, point }: Extract<Job, { kind: 'write' }>, alive: () => void): number {
  const file = opened(path, 'working');
  try {
    file.begin();
    // It does not keep count of its rows.
    writeRows(file, netRows(rows), { rows: 0, sum: 0 }, alive);
    file.setMeta(point, undefined);
    file.shrink(WORKING_SHRINK_BYTES);
    file.commit();
  } catch (error) {
    if (isDamage(error)) close();
    else file.rollback();
    throw error;
  }
  if (++commits < WORKING_CHECKPOINT_COMMITS) return 0;
  alive();
  let walBytes = 0;
  // The rows are in the write-ahead file. Where a view or a full disk stands in the way, the next commit tries again.
  whereRoom(() => {
    const done = file.checkpoint();
    if (done.complete) commits = 0;
    walBytes = done.walBytes;
  });
  return walBytes;
}

// The rows of a batch are many small objects, of which V8 would gather those of several.
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as (options?: { type: 'minor' | 'major' }) => void;

/** Lets go of the batch that was applied last. */
function letGo(): void {
  last = undefined;
  collect({ type: 'major' });
}

function run(job: Job, alive: () => void): unknown {
  switch (job.kind) {
    case 'open':
      return openDurable(job.path, job.create, alive);
    case 'apply':
      apply(job.path, job.run, alive);
      return undefined;
    case 'close':
      if (job.path === undefined || open?.path === job.path) close();
      return undefined;
    case 'rest':
      entries.rest();
      if (last !== undefined) letGo();
      return undefined;
    case 'copy':
      return copy(job.from, job.to, alive);
    case 'check':
      return check(job.path, alive);
    case 'stand':
      return stand(job.path, job.create);
    case 'write':
      return write(job, alive);
  }
}

const port = must(parentPort, 'replica-worker.ts runs as a thread');

async function serve({ id, job }: Request): Promise<void> {
  const reply = (message: Reply): void => {
    port.postMessage(message);
  };
  try {
    const answer = await run(job, () => {
      reply({ id, type: 'alive' });
    });
    reply({ id, type: 'done', answer });
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    // The log verified its entries' checksums: one that cannot be read was made by a program that we are not.
    const bug = error instanceof AssertionError || error instanceof DecodeError;
    const damaged =
      error instanceof DamagedLogError ? 'log' : error instanceof DamagedSourceError ? 'source' : isDamage(error) ? 'own' : 'none';
    reply({ id, type: 'failed', failure: { code: errnoOf(error), message, damaged, bug } });
  }
}

port.on('message', (request: Request) => {
  void serve(request);
});
