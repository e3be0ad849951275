/** The engines on which the conformance suite runs: each makes a machine with a state directory and disks, in memory or in a folder. */
import { mkdtemp, rm } from 'node:fs/promises';
import { mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../src/base/clock.js';
import type { Disk } from '../../src/disk/disk.js';
import { MemoryReplicaStore, MemoryWorkingReplica } from '../../src/index/memory-replica.js';
import type { ReadableReplica } from '../../src/index/readable-replica.js';
import { SqliteReplicaStore } from '../../src/index/sqlite-durable.js';
import { openWorkingReplica } from '../../src/index/sqlite-working.js';
import type { ReplicaStore } from '../../src/quorum/state-machine.js';
import { FolderDisk } from './folder-disk.js';

export interface Engine {
  readonly replicas: ReplicaStore;
  /** Another disk, empty. */
  disk(): Disk;
  /** The working replica of a process that starts now, in this boot. */
  working(): Promise<ReadableReplica>;
  remove(): Promise<void>;
}

export const silent = (): void => undefined;

export async function temporaryFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'ostraka-index-'));
}

async function memory(): Promise<Engine> {
  const folder = await temporaryFolder();
  let disks = 0;
  return {
    replicas: new MemoryReplicaStore(),
    disk: () => new FolderDisk(join(folder, String(++disks))),
    working: async () => new MemoryWorkingReplica(),
    remove: () => rm(folder, { recursive: true }),
  };
}

async function sqlite(): Promise<Engine> {
  const folder = await temporaryFolder();
  let disks = 0;
  return {
    replicas: new SqliteReplicaStore({ clock: systemClock, log: silent }),
    disk() {
      const directory = join(folder, String(++disks));
      mkdirSync(directory);
      return new FolderDisk(directory);
    },
    working: () => openWorkingReplica({ directory: join(folder, 'state'), bootId: 'boot-1', clock: systemClock, log: silent }),
    remove: () => rm(folder, { recursive: true }),
  };
}

export const engines: readonly { name: string; make: () => Promise<Engine> }[] = [
  { name: 'memory', make: memory },
  { name: 'sqlite', make: sqlite },
];
