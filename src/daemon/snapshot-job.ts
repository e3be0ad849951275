/**
 * Snapshots and exports of an open pool's index, as jobs. A snapshot is taken by itself when the newest one is old enough, when the operator asks for one, and
 * before what might go wrong. Both read a view of the index at one position; commits go on meanwhile.
 */
import { open, rename, rm } from 'node:fs/promises';
import { dirname, isAbsolute } from 'node:path';
import type { Cancel, Clock } from '../base/clock.js';
import { asOperatingError, OperatingError } from '../base/errors.js';
import { SNAPSHOT_LOOK_MS } from '../base/limits.js';
import type { Disk } from '../disk/disk.js';
import type { DiskSet } from '../disk/disk-set.js';
import type { JobContext, JobKind, JobOptions } from '../durability/job.js';
import { expireSnapshots, listSnapshots, snapshotName, writeSnapshot } from '../durability/snapshots.js';
import type { ExportAbout } from '../index/export-format.js';
import { exportRows } from '../index/export.js';
import type { IndexStore, IndexView } from '../index/index-store.js';
import { formatCode } from './code.js';
import type { JobRunner } from './jobs.js';
import type { Log } from './logger.js';
import type { Settings } from './settings.js';

export interface SnapshotJobsOptions {
  readonly index: IndexStore;
  readonly diskSet: DiskSet;
  readonly clock: Clock;
  readonly log: Log;
  readonly settings: () => Pick<Settings, 'snapshotIntervalMs' | 'snapshotKeep'>;
}

/** What a run leaves: an object of the job's own. */
export interface SnapshotResult {
  readonly name: string;
  readonly position: number;
  readonly rows: number;
  readonly bytes: number;
  /** Directories of the disks that have it. */
  readonly disks: readonly string[];
}

export interface ExportResult {
  readonly path: string;
  readonly position: number;
  readonly rows: number;
  readonly bytes: number;
}

/** How an export describes this pool at this position. */
export function aboutView(view: IndexView, { membership }: DiskSet, clock: Pick<Clock, 'now'>): ExportAbout {
  const { poolId, poolName } = membership;
  const created = new Date(clock.now().seconds * 1000).toISOString();
  return { poolId, poolName, code: formatCode(membership), position: view.position, epoch: view.epoch, created };
}

export class SnapshotJobs {
  readonly #options: SnapshotJobsOptions;
  #timer: Cancel | undefined;
  #stopped = false;

  constructor(options: SnapshotJobsOptions) {
    this.#options = options;
  }

  get kinds(): readonly JobKind[] {
    return [
      { kind: 'snapshot', turn: undefined, readsOnly: true, run: (context) => this.take(context) },
      {
        kind: 'export',
        turn: undefined,
        readsOnly: true,
        check: (options) => void exportPath(options),
        run: (context) => this.#export(context),
      },
    ];
  }

  /** Takes one when it is time, from now on. */
  start(jobs: JobRunner): void {
    if (this.#stopped) return;
    this.#timer = this.#options.clock.after(SNAPSHOT_LOOK_MS, () => {
      void this.#look(jobs).finally(() => {
        this.start(jobs);
      });
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.();
  }

  async #look(jobs: JobRunner): Promise<void> {
    const { clock, log, settings } = this.#options;
    try {
      let newest = -Infinity;
      for (const disk of this.#candidates()) newest = Math.max(newest, (await listSnapshots(disk))[0]?.seconds ?? -Infinity);
      if (this.#stopped || (clock.now().seconds - newest) * 1000 < settings().snapshotIntervalMs) return;
      await jobs.start('snapshot');
    } catch (error) {
      log('warn', `no snapshot of the index was taken: ${asOperatingError(error).message}`);
    }
  }

  /** Data disks that are in and stay; those that do not vote first, so that a snapshot survives where the log was lost. */
  #candidates(): Disk[] {
    const there = this.#options.diskSet.members().filter(({ member }) => member.role === 'data' && member.state === 'active');
    return there.sort((a, b) => Number(a.member.voter) - Number(b.member.voter)).flatMap(({ disk }) => disk ?? []);
  }

  /** Puts one on the disks now. @throws OperatingError when not one disk could take it */
  async take(context?: JobContext): Promise<SnapshotResult> {
    const { index, diskSet, clock, log, settings } = this.#options;
    const view = index.view();
    try {
      const about = aboutView(view, diskSet, clock);
      // It must not tell of what a power cut may undo.
      await index.durable(view.position);
      const name = snapshotName(clock.now().seconds, view.position);
      const counted = new Counted(context, clock);
      const disks = await writeSnapshot({
        disks: this.#candidates(),
        copies: diskSet.membership.m + 1,
        name,
        pieces: counted.pieces(exportRows(view, about, (rows) => counted.pause(rows))),
        onFailure: (disk, error) => {
          log('warn', `the snapshot of the index could not be put on a disk: ${error.message}`, { disk: disk.directory });
        },
      });
      if (disks.length <= diskSet.membership.m)
        log('warn', `the snapshot of the index is on ${disks.length} disks, ${diskSet.membership.m + 1} should have it`);
      await this.#expire(settings().snapshotKeep);
      log('info', 'took a snapshot of the index', { name, rows: counted.rows, bytes: counted.bytes });
      return { name, position: view.position, rows: counted.rows, bytes: counted.bytes, disks: disks.map(({ directory }) => directory) };
    } finally {
      view.close();
    }
  }

  async #expire(keep: number): Promise<void> {
    for (const disk of this.#candidates())
      try {
        await expireSnapshots(disk, keep);
      } catch (error) {
        this.#options.log('warn', `old snapshots of the index stay: ${asOperatingError(error).message}`, { disk: disk.directory });
      }
  }

  async #export(context: JobContext): Promise<ExportResult> {
    const { index, diskSet, clock } = this.#options;
    const path = exportPath(context.options);
    const view = index.view();
    try {
      const about = aboutView(view, diskSet, clock);
      await index.durable(view.position);
      const counted = new Counted(context, clock);
      await writeFileDurably(path, counted.pieces(exportRows(view, about, (rows) => counted.pause(rows))));
      return { path, position: view.position, rows: counted.rows, bytes: counted.bytes };
    } finally {
      view.close();
    }
  }
}

function exportPath({ path }: JobOptions): string {
  if (typeof path === 'string' && isAbsolute(path)) return path;
  throw new OperatingError('EINVAL', 'an export needs the absolute path of a file');
}

/** Counts what goes by, and gives others their turn. */
class Counted {
  rows = 0;
  bytes = 0;
  readonly #context: JobContext | undefined;
  readonly #clock: Pick<Clock, 'yield'>;

  constructor(context: JobContext | undefined, clock: Pick<Clock, 'yield'>) {
    this.#context = context;
    this.#clock = clock;
  }

  async pause(rows: number): Promise<void> {
    this.rows = rows;
    if (this.#context !== undefined) {
      this.#context.progress.doneItems = rows;
      this.#context.progress.message = 'rows of the index';
      await this.#context.checkpoint();
    }
    await this.#clock.yield();
  }

  async *pieces(pieces: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, undefined> {
    for await (const piece of pieces) {
      this.bytes += piece.length;
      yield piece;
    }
  }
}

/** The file is there whole, and durable, or not at all; it is for its owner alone, since names and small files stand in it. */
export async function writeFileDurably(path: string, pieces: AsyncIterable<Uint8Array>): Promise<void> {
  const temporary = `${path}.${process.pid}.new`;
  try {
    const file = await open(temporary, 'w', 0o600);
    try {
      for await (const piece of pieces) await file.writeFile(piece);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    const folder = await open(dirname(path), 'r');
    await folder.sync().finally(() => folder.close());
  } catch (error) {
    await rm(temporary, { force: true });
    throw asOperatingError(error, { path });
  }
}
