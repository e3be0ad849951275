/**
 * What goes wrong with disks. Faults are dealt to so many disks at most as the pool promises to survive the loss of; a disk counts as impaired from its
 * first fault until everything was seen whole again (`Driver.calm`), so that many faults of one disk are one loss.
 */
import { must } from '../../src/base/assert.js';
import type { Random } from '../../src/base/clock.js';
import { seededRandom } from '../../src/base/clock.js';
import type { DiskNumber } from '../../src/base/ids.js';
import { DISK_STALL_MS, MiB, RECORD_HEADER_BYTES } from '../../src/base/limits.js';
import type { OperationKind } from '../../src/disk/simulated-disk.js';
import { SECTOR_BYTES } from '../../src/disk/simulated-file.js';
import type { SimulatedMedium } from '../../src/disk/simulated-medium.js';
import { SHARD_BYTES_MAX, type World } from './world.js';

export type Fault =
  | 'callFails'
  | 'syncFails'
  | 'noSpace'
  | 'full'
  | 'stalls'
  | 'leaves'
  | 'dies'
  | 'comesBackOld'
  | 'comesBackEmpty'
  | 'rot'
  | 'voterRot'
  | 'markRot'
  | 'replicaRot'
  | 'lostWrite'
  | 'misdirectedWrite'
  // For histories that aim at something (profiles.ts).
  | 'recordsFindNoSpace'
  | 'segmentSyncFails'
  | 'recordMisplaced';

/** Of the largest blobs that a world makes, whatever its code. */
const RECORD_BYTES = RECORD_HEADER_BYTES + SHARD_BYTES_MAX;

export const faultWeights: readonly (readonly [Fault, number])[] = [
  ['callFails', 6],
  ['syncFails', 6],
  ['noSpace', 3],
  ['full', 2],
  ['stalls', 4],
  ['leaves', 5],
  ['dies', 1],
  ['comesBackOld', 2],
  ['comesBackEmpty', 2],
  ['rot', 6],
  ['voterRot', 2],
  ['markRot', 2],
  ['replicaRot', 2],
  ['lostWrite', 4],
  ['misdirectedWrite', 4],
];

const failing: readonly OperationKind[] = [
  'open',
  'read',
  'write',
  'sync',
  'size',
  'preallocate',
  'punch',
  'list',
  'makeDirectory',
  'syncDirectory',
  'unlink',
  'rename',
  'capacity',
  'syncAll',
  'probe',
];

export class Faults {
  /** Disks that may lack something. */
  readonly impaired = new Set<DiskNumber>();
  /** … of which nobody can know without reading everything. */
  readonly silent = new Set<DiskNumber>();
  /** … ever in this history. */
  readonly damaged = new Set<DiskNumber>();
  /** … and which will not come back: somebody has to replace them. */
  readonly dead = new Set<DiskNumber>();
  readonly #world: World;
  /** Empty disks in the place of others. */
  readonly #empty = new Map<SimulatedMedium, DiskNumber>();
  /** Of disks that are or were nearly full, bytes. */
  readonly #sizes = new WeakMap<SimulatedMedium, number>();
  /** What ends by itself, or when everything is put right. */
  readonly #ending = new Map<DiskNumber, (() => void)[]>();
  /** Of disks that come back old. */
  readonly #returning: (() => void)[] = [];

  constructor(world: World) {
    this.#world = world;
  }

  /** Something may be wrong with it that nobody can know of. */
  isSilent(disk: DiskNumber): boolean {
    return this.#hasPlaceOf(this.silent, disk);
  }

  /** Something of the kind was wrong with it in this history. */
  wasDamaged(disk: DiskNumber): boolean {
    return this.#hasPlaceOf(this.damaged, disk);
  }

  /** What is wrong with an empty disk is still wrong with the one of the pool that it becomes, whose number is another. */
  #hasPlaceOf(disks: ReadonlySet<DiskNumber>, disk: DiskNumber): boolean {
    const place = this.#world.directory(disk);
    return [...disks].some((each) => this.#world.directory(each) === place);
  }

  /** Losses of disks that the pool promises to survive. */
  get #tolerated(): number {
    const { members, m } = this.#world.membership;
    const voters = members.filter(({ voter }) => voter).length;
    return Math.min(m, Math.floor((voters - 1) / 2));
  }

  /** A disk that a fault may be dealt to. */
  #victim(random: Random): DiskNumber | undefined {
    const members = this.#world.membership.members.filter(({ state }) => state !== 'failed').map(({ number }) => number);
    const free = this.impaired.size < this.#tolerated ? members : [...this.impaired];
    return free[random.below(free.length)];
  }

  /** @returns what was done; undefined when nothing more may go wrong now */
  deal(fault: Fault, seed: number): string | undefined {
    const random = seededRandom(seed);
    const disk = this.#victim(random);
    if (disk === undefined || this.#world.thin) return undefined;
    const medium = this.#world.medium(disk);
    if (medium.gone) return undefined;
    const done = this.#deal(fault, disk, medium, random);
    if (done === undefined) return undefined;
    this.impaired.add(disk);
    if (this.isSilent(disk)) this.damaged.add(disk);
    this.#world.counts.faults++;
    this.#world.count(`fault: ${fault}`);
    if (this.impaired.size > 1) this.#world.count('fault: on a second disk');
    this.#world.trace.note(`fault ${disk} ${done}`);
    return `disk ${disk}: ${done}`;
  }

  #deal(fault: Fault, disk: DiskNumber, medium: SimulatedMedium, random: Random): string | undefined {
    const places = ['', 'segments', 'quorum'];
    const place = must(places[random.below(places.length)], 'there are some');
    const count = 1 + random.below(3);
    switch (fault) {
      case 'callFails': {
        const kind = must(failing[random.below(failing.length)], 'there are some');
        medium.failNext(kind, 'EIO', count, place);
        this.#world.count(`EIO of a call: ${kind}`);
        return `the next ${count} of ${kind} on "${place}" fail`;
      }
      case 'recordsFindNoSpace':
        medium.failNext('write', 'ENOSPC', 2, 'segments');
        return 'the next 2 records find no space';
      case 'segmentSyncFails':
        medium.failNext('sync', 'EIO', 1, 'segments');
        return 'the next sync of a segment fails';
      case 'recordMisplaced':
        this.silent.add(disk);
        medium.misdirectNextWrite(-RECORD_BYTES, 'segments');
        return 'the next record lands on the one before it';
      case 'syncFails':
        medium.failNext('sync', 'EIO', 1, place);
        return `the next sync on "${place}" fails`;
      case 'noSpace': {
        const kind = random.below(2) === 0 ? must(failing[random.below(failing.length)], 'there are some') : 'write';
        medium.failNext(kind, 'ENOSPC', count, place);
        this.#world.count(`ENOSPC of a call: ${kind}`);
        return `the next ${count} of ${kind} on "${place}" find no space`;
      }
      case 'full':
        return this.#fill(disk, medium, random);
      case 'stalls':
        return this.#stall(disk, medium, random);
      case 'leaves':
        return this.#leave(disk, medium, random);
      case 'dies':
        return this.#die(disk, medium);
      case 'comesBackOld':
        return this.#comeBackOld(disk, medium, random);
      case 'comesBackEmpty':
        return this.#comeBackEmpty(disk, medium);
      case 'rot':
        return this.#rot(disk, medium, 'segments/', random);
      case 'voterRot':
        return this.#rot(disk, medium, 'quorum/', random);
      case 'markRot':
        return this.#rotBelowMark(disk, medium, random);
      case 'replicaRot':
        return this.#rotReplica(disk);
      case 'lostWrite':
        this.silent.add(disk);
        medium.loseNextWrite(place);
        return `the next write on "${place}" is lost`;
      case 'misdirectedWrite': {
        this.silent.add(disk);
        const shift = (random.below(2) === 0 ? 1 : -1) * (1 + random.below(16)) * (random.below(2) === 0 ? 4096 : 512);
        medium.misdirectNextWrite(shift, place);
        return `the next write on "${place}" lands ${shift} bytes further`;
      }
    }
  }

  #onEnd(disk: DiskNumber, action: () => void): () => void {
    let open = true;
    const once = (): void => {
      if (!open) return;
      open = false;
      action();
    };
    this.#ending.set(disk, [...(this.#ending.get(disk) ?? []), once]);
    return once;
  }

  #fill(disk: DiskNumber, medium: SimulatedMedium, random: Random): string {
    const size = this.#sizeOf(medium);
    this.#sizes.set(medium, size);
    medium.capacityBytes = medium.usedBytes() + random.below(2 * MiB);
    const end = this.#onEnd(disk, () => (medium.capacityBytes = size));
    const ms = 200 + random.below(20_000);
    this.#world.time.after(ms, end);
    return `is nearly full for ${ms} ms`;
  }

  /** What it holds when other programs take nothing of it: a copy of a disk that was full meanwhile is as large as the disk. */
  #sizeOf(medium: SimulatedMedium): number {
    return this.#sizes.get(medium) ?? medium.capacityBytes;
  }

  #stall(disk: DiskNumber, medium: SimulatedMedium, random: Random): string {
    const ms = random.below(4) === 0 ? random.below(90_000) : random.below(3000);
    const { machine, time } = this.#world;
    let stalled = true;
    medium.stalledPath = '';
    const end = this.#onEnd(disk, () => {
      stalled = false;
      machine.release(medium);
    });
    // A real disk gives up on calls that hang for so long.
    const giveUp = (): void => {
      if (!stalled) return;
      machine.timeOut(medium);
      medium.stalledPath = '';
      time.after(DISK_STALL_MS, giveUp);
    };
    time.after(DISK_STALL_MS, giveUp);
    time.after(ms, end);
    return `stalls for ${ms} ms`;
  }

  #leave(disk: DiskNumber, medium: SimulatedMedium, random: Random): string {
    const { machine, time } = this.#world;
    machine.vanish(medium);
    const end = this.#onEnd(disk, () => {
      machine.comeBack(medium);
    });
    const ms = 20 + random.below(random.below(2) === 0 ? 500 : 15_000);
    time.after(ms, end);
    return `leaves for ${ms} ms`;
  }

  /** As when an old image of it is put in its place, or one side of a mirror that was out. */
  #comeBackOld(disk: DiskNumber, medium: SimulatedMedium, random: Random): string {
    const { machine, time, replicas } = this.#world;
    this.silent.add(disk);
    const old = medium.copy();
    old.capacityBytes = this.#sizeOf(medium);
    old.settle(() => () => true, this.#world.directory(disk));
    const id = this.#world.membership.members.find(({ number }) => number === disk)?.id;
    const replica = id === undefined ? undefined : replicas.states.get(id);
    const ms = 500 + random.below(8000);
    const end = this.#onEnd(disk, () => {
      // Whoever is in its place by then, or is away, stays.
      if (medium.gone || machine.mounted(this.#world.directory(disk)) !== medium) return;
      machine.vanish(medium);
      machine.mount(this.#world.directory(disk), old);
      if (id !== undefined && replica !== undefined) replicas.states.set(id, replica);
    });
    this.#returning.push(end);
    time.after(ms, end);
    return `comes back in ${ms} ms as it is now`;
  }

  /** Disks that were to come back as they were some time ago do so now: before a loss behind which nothing more may go wrong. */
  returnOld(): void {
    for (const end of this.#returning.splice(0)) end();
  }

  /** It is gone for good. Witnesses are no loss that a replacement could make good. */
  #die(disk: DiskNumber, medium: SimulatedMedium): string | undefined {
    if (this.#world.membership.members.find(({ number }) => number === disk)?.role !== 'data') return undefined;
    if (this.#empty.has(medium)) return undefined;
    this.#world.machine.vanish(medium);
    this.#forget(disk);
    return 'dies';
  }

  /** Nothing of it comes back by itself any more. */
  #forget(disk: DiskNumber): void {
    this.dead.add(disk);
    this.#ending.delete(disk);
  }

  #comeBackEmpty(disk: DiskNumber, medium: SimulatedMedium): string | undefined {
    const { machine } = this.#world;
    const directory = this.#world.directory(disk);
    if (this.#empty.has(medium)) return undefined;
    machine.vanish(medium);
    this.#empty.set(machine.addDisk(directory, { capacityBytes: this.#sizeOf(medium) }), disk);
    this.#onEnd(disk, () => {
      machine.comeBack(medium);
      machine.mount(directory, medium);
    });
    return 'an empty one is in its place';
  }

  /** The empty disk that is in the place of `disk` becomes another one of the pool. Returns its directory. */
  takeEmptyPlace(disk: DiskNumber): string | undefined {
    const directory = this.#world.directory(disk);
    const medium = this.#world.machine.mounted(directory);
    if (medium === undefined || this.#empty.get(medium) !== disk) return undefined;
    this.#empty.delete(medium);
    this.#forget(disk);
    return directory;
  }

  /** Bits of a log file flip, in what was synced long ago. */
  #rotBelowMark(disk: DiskNumber, medium: SimulatedMedium, random: Random): string | undefined {
    const logs = medium.paths().filter((path) => path.startsWith('quorum/log-') && medium.file(path).durableSize > 0);
    const path = logs[random.below(logs.length)];
    if (path === undefined) return undefined;
    this.silent.add(disk);
    const offset = random.below(Math.ceil(medium.file(path).durableSize / 2));
    medium.flip(path, offset, random.below(8));
    return `a bit of ${path} flips at ${offset}`;
  }

  #rotReplica(disk: DiskNumber): string | undefined {
    const { membership, replicas } = this.#world;
    const id = membership.members.find(({ number }) => number === disk)?.id;
    if (id === undefined || !replicas.states.has(id)) return undefined;
    this.silent.add(disk);
    replicas.states.set(id, 'damaged');
    return 'its durable replica is damaged';
  }

  /** Bits flip where something was written: other places of a segment are empty for the most part. */
  #rot(disk: DiskNumber, medium: SimulatedMedium, place: string, random: Random): string | undefined {
    const filled: { readonly path: string; readonly at: number; readonly bytes: number }[] = [];
    for (const path of medium.paths()) {
      if (!path.startsWith(place)) continue;
      const content = medium.file(path).read(0, medium.file(path).size);
      for (let at = 0; at < content.length; at += SECTOR_BYTES) {
        const sector = content.subarray(at, at + SECTOR_BYTES);
        if (sector.some((byte) => byte !== 0)) filled.push({ path, at, bytes: sector.length });
      }
    }
    if (filled.length === 0) return undefined;
    const flips = 1 + random.below(place === 'segments/' ? 64 : 4);
    for (let flip = 0; flip < flips; flip++) {
      const { path, at, bytes } = must(filled[random.below(filled.length)], 'in range');
      medium.flip(path, at + random.below(bytes), random.below(8));
    }
    this.silent.add(disk);
    return `${flips} bits in ${place} flip`;
  }

  /** Everything comes back and works from now on. What is lost stays lost. */
  end(): void {
    for (const [disk, actions] of [...this.#ending]) {
      for (const end of actions) end();
      this.#world.medium(disk).clearFaults();
    }
    for (const { number } of this.#world.membership.members) this.#world.medium(number).clearFaults();
    this.#ending.clear();
  }

  /** Everything was seen whole. */
  clear(): void {
    this.impaired.clear();
    this.silent.clear();
    this.dead.clear();
  }
}
