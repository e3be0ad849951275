/**
 * Pools for the tests of storage/: simulated disks (all faults, power cuts) or real directories (the same calls natively), behind a disk set that
 * a test drives by hand, and an index that is a Map.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { must } from '../../src/base/assert.js';
import { seededRandom, type Clock, type Random } from '../../src/base/clock.js';
import { OperatingError } from '../../src/base/errors.js';
import { newUuid, type BlobId, type DiskNumber, type Uuid } from '../../src/base/ids.js';
import { KiB, MiB } from '../../src/base/limits.js';
import type { Location } from '../../src/base/location.js';
import type { Disk } from '../../src/disk/disk.js';
import type { DiskChange, DiskSet, DiskState, SetMember } from '../../src/disk/disk-set.js';
import type { Membership } from '../../src/disk/membership.js';
import { openNativeDisk } from '../../src/disk/native-disk.js';
import { NativeStripeIo } from '../../src/disk/native-stripe.js';
import type { Survival } from '../../src/disk/simulated-file.js';
import { SimulatedMachine } from '../../src/disk/simulated-machine.js';
import type { SimulatedMedium } from '../../src/disk/simulated-medium.js';
import { SimulatedStripeIo } from '../../src/disk/simulated-stripe.js';
import type { StripeIo } from '../../src/disk/stripe.js';
import { createStorage } from '../../src/storage/create-storage.js';
import type { DamageReport, Storage, StoredBlob } from '../../src/storage/storage.js';
import { ManualClock } from '../disk/manual-clock.js';

/** Ways to get at the disks of a pool. */
export interface Backend {
  readonly stripeIo: StripeIo;
  readonly directories: readonly string[];
  open(directory: string): Promise<Disk>;
  cleanUp(): Promise<void>;
}

export interface PoolShape {
  readonly disks: number;
  readonly k: number;
  readonly m: number;
  readonly seed?: number;
  /** Of each disk. */
  readonly capacityBytes?: readonly number[] | number;
  readonly zones?: readonly (string | undefined)[];
  /** Small by default, so that every test rolls over. */
  readonly segmentBytesMax?: number;
}

/** Disks that go and come as the test says; a reported failure takes one out at once. */
export class ManualDiskSet implements DiskSet {
  membership: Membership;
  readonly counts = new Map<string, number>();
  readonly failures: string[] = [];
  readonly #backend: Backend;
  readonly #leaving = new Map<DiskNumber, Promise<void>>();
  readonly #disks = new Map<DiskNumber, Disk>();
  readonly #reasons = new Map<DiskNumber, OperatingError>();
  readonly #listeners: DiskChange[] = [];

  constructor(backend: Backend, membership: Membership) {
    this.#backend = backend;
    this.membership = membership;
  }

  members(): readonly SetMember[] {
    return this.membership.members.map((member) => {
      const disk = this.#disks.get(member.number);
      const errors = this.count(member.number);
      return {
        member,
        state: disk ? 'online' : 'offline',
        disk,
        reason: this.#reasons.get(member.number),
        errors,
        returned: false,
        reservedBytes: 0,
      };
    });
  }

  disk(number: DiskNumber): Disk | undefined {
    return this.#disks.get(number);
  }

  state(number: DiskNumber): DiskState {
    return this.#disks.has(number) ? 'online' : 'offline';
  }

  reportFailure(number: DiskNumber, error: OperatingError): void {
    this.failures.push(`${number} ${error.code}`);
    // The directory may be gone: a probe would tell.
    if (error.code === 'ENOENT') return;
    this.takeOut(number, error);
  }

  countError(number: DiskNumber, kind: string): void {
    this.counts.set(`${number} ${kind}`, (this.counts.get(`${number} ${kind}`) ?? 0) + 1);
  }

  readonly slow = new Map<DiskNumber, number>();

  reportSlow(number: DiskNumber, ms: number): void {
    if (ms > 0) this.slow.set(number, ms);
    else this.slow.delete(number);
  }

  count(number: DiskNumber, kind?: string): number {
    let sum = 0;
    for (const [key, count] of this.counts) if (kind ? key === `${number} ${kind}` : key.startsWith(`${number} `)) sum += count;
    return sum;
  }

  changeMembership(): Promise<Membership> {
    return Promise.reject(new Error('these members stay'));
  }

  membershipStands(): Promise<boolean> {
    return Promise.resolve(true);
  }

  onChange(listener: DiskChange): void {
    this.#listeners.push(listener);
  }

  async probeNow(): Promise<void> {
    for (const [number, disk] of [...this.#disks])
      await disk.probe().catch((error: unknown) => {
        this.takeOut(number, error as OperatingError);
      });
  }

  takeOut(number: DiskNumber, reason = new OperatingError('ENODEV', 'taken out by the test')): void {
    const disk = this.#disks.get(number);
    if (!disk) return;
    this.#disks.delete(number);
    this.#reasons.set(number, reason);
    for (const listener of this.#listeners) listener(number, undefined, reason);
    this.#leaving.set(
      number,
      disk.close().catch(() => undefined),
    );
  }

  async bringBack(number: DiskNumber): Promise<void> {
    if (this.#disks.has(number)) return;
    // The lock is given back at the end of its last life.
    await this.#leaving.get(number);
    const disk = await this.#backend.open(must(this.#backend.directories[number - 1], 'directory of the disk'));
    this.#disks.set(number, disk);
    this.#reasons.delete(number);
    for (const listener of this.#listeners) listener(number, disk, undefined);
  }

  async close(): Promise<void> {
    for (const disk of this.#disks.values()) await disk.close();
    this.#disks.clear();
  }
}

/** A pool with its storage, as a daemon would have it. */
export class Rig {
  readonly random: Random;
  readonly clock = new ManualClock();
  readonly backend: Backend;
  readonly shape: PoolShape;
  readonly poolId: Uuid;
  diskSet: ManualDiskSet;
  storage!: Storage;
  epoch = 0;
  /** The index: where each committed blob is. */
  readonly locations = new Map<BlobId, Location>();
  readonly declaredOut: DiskNumber[] = [];
  readonly moved: { old: Location; now: StoredBlob }[] = [];
  readonly damage: DamageReport[] = [];
  /** Replaces what happens when a disk is to be declared out. */
  onDiskOut: (disk: DiskNumber) => Promise<void> = async (disk) => {
    this.declaredOut.push(disk);
  };

  constructor(backend: Backend, shape: PoolShape) {
    this.random = seededRandom(shape.seed ?? 1);
    this.backend = backend;
    this.shape = shape;
    this.poolId = newUuid(this.random);
    this.diskSet = this.#makeDiskSet();
  }

  #makeDiskSet(): ManualDiskSet {
    const members = this.backend.directories.map((directory, index) => ({
      number: index + 1,
      id: newUuid(seededRandom(index + 1)),
      role: 'data' as const,
      state: 'active' as const,
      voter: true,
      zone: this.shape.zones?.[index],
      directory,
    }));
    const { k, m } = this.shape;
    return new ManualDiskSet(this.backend, {
      epoch: 0,
      version: 1,
      poolId: this.poolId,
      poolName: 'test',
      k,
      m,
      lastNumber: members.length,
      members,
    });
  }

  /** Opens the disks that are there and starts a new leadership. */
  async start(clock: Clock = this.clock): Promise<this> {
    this.diskSet = this.#makeDiskSet();
    for (const { member } of this.diskSet.members()) await this.diskSet.bringBack(member.number).catch(() => undefined);
    const epoch = ++this.epoch;
    this.storage = await createStorage({
      poolId: this.poolId,
      epoch,
      k: this.shape.k,
      m: this.shape.m,
      diskSet: this.diskSet,
      stripeIo: this.backend.stripeIo,
      segmentBytesMax: this.shape.segmentBytesMax ?? 256 * KiB,
      clock,
      random: this.random,
      log: () => undefined,
      onDiskOut: (disk) => this.onDiskOut(disk),
      onMoved: async (old, now) => {
        // A daemon that died tells nobody.
        if (epoch !== this.epoch) throw new OperatingError('EROFS', 'another one leads');
        this.moved.push({ old, now });
        const known = this.locations.get(old.blob);
        if (known) this.locations.set(old.blob, this.storage.current(known));
      },
      onDamage: (report) => this.damage.push(report),
    });
    return this;
  }

  content(bytes: number): Uint8Array {
    return this.random.bytes(bytes);
  }

  /** Stores and commits. */
  async put(data: Uint8Array): Promise<Location> {
    const { location } = await this.storage.store(data);
    this.locations.set(location.blob, location);
    return location;
  }

  async get(location: Location, offset = 0, bytes = location.bytes - offset): Promise<Buffer> {
    const out = Buffer.alloc(bytes, 0xee);
    await this.storage.read(location, offset, out);
    return out;
  }

  /** Syncs until all is durable. */
  async syncAll(): Promise<number> {
    for (let rounds = 1; rounds <= 10; rounds++) if (await this.storage.sync()) return rounds;
    throw new Error('sync does not come to an end');
  }

  async stop(): Promise<void> {
    await this.storage.close();
    await this.diskSet.close();
  }

  async cleanUp(): Promise<void> {
    await this.backend.cleanUp();
  }
}

export interface SimulatedBackend extends Backend {
  readonly machine: SimulatedMachine;
  medium(number: DiskNumber): SimulatedMedium;
  /** Power is cut; what of the unsynced survives is by default the adversary's choice. */
  powerCut(survival?: Survival): void;
}

export function simulatedBackend(shape: PoolShape): SimulatedBackend {
  const machine = new SimulatedMachine(seededRandom((shape.seed ?? 1) ^ 0x5eed));
  const directories = Array.from({ length: shape.disks }, (_, index) => `/disk${index + 1}`);
  directories.forEach((directory, index) => {
    const { capacityBytes = 128 * MiB } = shape;
    machine.addDisk(directory, { capacityBytes: typeof capacityBytes === 'number' ? capacityBytes : must(capacityBytes[index], 'size') });
  });
  return {
    machine,
    directories,
    stripeIo: new SimulatedStripeIo(),
    open: async (directory) => machine.open(directory),
    medium: (number) => machine.medium(`/disk${number}`),
    powerCut: (survival) => {
      machine.crash(survival ? { power: true, survival } : { power: true });
    },
    cleanUp: async () => undefined,
  };
}

/** The simulated pool, started. */
export async function simulatedRig(shape: PoolShape): Promise<Rig & { readonly backend: SimulatedBackend }> {
  const rig = new Rig(simulatedBackend(shape), shape);
  await rig.start();
  return rig as Rig & { readonly backend: SimulatedBackend };
}

/** The same on directories of the machine. */
export async function nativeRig(shape: PoolShape): Promise<Rig> {
  const root = await mkdtemp(join(tmpdir(), 'ostraka-storage-'));
  const directories: string[] = [];
  for (let index = 0; index < shape.disks; index++) directories.push(await mkdtemp(join(root, 'disk')));
  const ids = new Map(directories.map((directory, index) => [directory, newUuid(seededRandom(index + 1))]));
  const rig = new Rig(
    {
      stripeIo: new NativeStripeIo(),
      directories,
      open: (directory) => openNativeDisk(directory, async () => must(ids.get(directory), 'id')),
      cleanUp: () => rm(root, { recursive: true, force: true }),
    },
    shape,
  );
  return rig.start();
}

/** The code that a call rejects with. */
export async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'resolved';
  } catch (error) {
    return error instanceof OperatingError ? error.code : String(error);
  }
}
