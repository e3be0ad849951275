/**
 * A pool for tests of the durability services: the real data plane on simulated disks (test/storage/rig.ts), a real namespace, an index in memory. Disks
 * go, come, fail, drain and join as the test says.
 */
import { must } from '../../src/base/assert.js';
import { seededRandom, systemClock } from '../../src/base/clock.js';
import type { BlobId, DiskNumber } from '../../src/base/ids.js';
import { KiB } from '../../src/base/limits.js';
import type { Location } from '../../src/base/location.js';
import type { MemberState } from '../../src/disk/membership.js';
import { Collector } from '../../src/durability/collector.js';
import { Heal } from '../../src/durability/heal.js';
import { surveyBlobs } from '../../src/durability/survey.js';
import type { Usage } from '../../src/durability/pace.js';
import type { IndexStore } from '../../src/index/index-store.js';
import { createNamespace, type PoolNamespace } from '../../src/namespace/pool-namespace.js';
import type { Namespace } from '../../src/namespace/namespace.js';
import { contentOf, indexAfter, pattern, root, ROOT, writeFile, type Test } from '../namespace/fixture.js';
import { Rig, simulatedBackend, type PoolShape, type SimulatedBackend } from '../storage/rig.js';
import { unused } from './job-context.js';

export class DurabilityRig {
  readonly warnings: string[] = [];
  readonly files = new Map<string, Buffer>();
  usage: Usage = unused;

  private constructor(
    readonly pool: Rig & { readonly backend: SimulatedBackend },
    readonly index: IndexStore,
    readonly namespace: PoolNamespace & Namespace,
  ) {}

  /** @param members disks that belong to the pool from the start; the others can join */
  static async create(test: Test, shape: PoolShape, members = shape.disks): Promise<DurabilityRig> {
    const backend = simulatedBackend(shape);
    const pool = Object.assign(new Rig(backend, shape), { backend });
    await pool.start(systemClock);
    const { diskSet } = pool;
    diskSet.membership = { ...diskSet.membership, members: diskSet.membership.members.slice(0, members) };
    for (let number = members + 1; number <= shape.disks; number++) diskSet.takeOut(number);
    const { index } = indexAfter([]);
    const namespace = await createNamespace({
      index,
      storage: pool.storage,
      clock: systemClock,
      random: seededRandom(1),
      log: () => undefined,
      settings: { commitIntervalMs: 3_600_000, durability: 'interval', uploadBytesMax: 4 << 20, readCacheBytesMax: 1 },
      epoch: 1,
      readOnly: false,
    });
    test.teardown(async () => {
      await namespace.close();
      await pool.stop();
    });
    return new DurabilityRig(pool, index, namespace);
  }

  get storage(): Rig['storage'] {
    return this.pool.storage;
  }

  get disks(): Rig['diskSet'] {
    return this.pool.diskSet;
  }

  /** What services are made of. */
  get options(): ConstructorParameters<typeof Heal>[0] & { index: IndexStore } {
    const log = (level: string, message: string): void => {
      if (level !== 'info') this.warnings.push(message);
    };
    return {
      namespace: this.namespace,
      index: this.index,
      storage: this.storage,
      disks: this.disks,
      usage: this.usage,
      clock: systemClock,
      log,
    };
  }

  heal(): Heal {
    return new Heal(this.options);
  }

  async write(name: string, bytes: number, seed = this.files.size + 1): Promise<void> {
    const data = pattern(bytes, seed);
    await writeFile(this.namespace, ROOT, name, data);
    this.files.set(name, data);
  }

  /** Files of one blob each. */
  async writeMany(prefix: string, count: number): Promise<void> {
    for (let file = 0; file < count; file++) await this.write(`${prefix}${file}`, 100 * KiB);
  }

  async remove(name: string): Promise<void> {
    await this.namespace.unlink(ROOT, name, root);
    this.files.delete(name);
  }

  /** Files whose content is not what was written. */
  async differing(): Promise<string[]> {
    const wrong: string[] = [];
    for (const [name, data] of this.files) {
      const { ino } = must(await this.namespace.lookup(ROOT, name, root), 'the name is there');
      const found = await contentOf(this.namespace, ino).catch(() => undefined);
      if (found?.equals(data) !== true) wrong.push(name);
    }
    return wrong;
  }

  async locations(): Promise<Map<BlobId, Location>> {
    const found = new Map<BlobId, Location>();
    for await (const { blobs } of surveyBlobs(this.index)) for (const { location } of blobs) found.set(location.blob, location);
    return found;
  }

  /** How many shards of all blobs each disk has; 0: nowhere. */
  async shardsByDisk(): Promise<Map<DiskNumber, number>> {
    const counts = new Map<DiskNumber, number>();
    for (const { shards } of (await this.locations()).values())
      for (const { disk } of shards) counts.set(disk, (counts.get(disk) ?? 0) + 1);
    return counts;
  }

  setState(disk: DiskNumber, state: MemberState): void {
    const { membership } = this.disks;
    const members = membership.members.map((member) => (member.number === disk ? { ...member, state } : member));
    this.disks.membership = { ...membership, version: membership.version + 1, members };
  }

  /** A disk that the pool did not have joins it, empty. */
  async join(disk: DiskNumber): Promise<void> {
    const { membership } = this.disks;
    const first = must(membership.members[0], 'a member');
    const member = { ...first, number: disk, directory: `/disk${disk}` };
    this.disks.membership = { ...membership, version: membership.version + 1, members: [...membership.members, member] };
    await this.disks.bringBack(disk);
  }

  removeMember(disk: DiskNumber): void {
    const { membership } = this.disks;
    const members = membership.members.filter(({ number }) => number !== disk);
    this.disks.membership = { ...membership, version: membership.version + 1, members };
  }

  /** Gives back what can be given back. */
  async collect(): Promise<void> {
    await this.storage.sync();
    const collector = new Collector({ namespace: this.namespace, storage: this.storage, clock: systemClock, log: () => undefined });
    await collector.collect();
    await collector.collect();
  }
}
