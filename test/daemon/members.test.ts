/** Members of an open pool change: disks added, replaced, removed, on real directories, without a mount; and what is finished after a daemon that died. */
import t from 'tap';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { must } from '../../src/base/assert.js';
import { createPool } from '../../src/daemon/create-pool.js';
import { nativeEnvironment } from '../../src/daemon/environment.js';
import type { Folders } from '../../src/daemon/folders.js';
import type { MembershipChanger } from '../../src/daemon/membership-changer.js';
import { openPool, type Pool } from '../../src/daemon/pool.js';
import { followMembership, readDefinition } from '../../src/daemon/pool-definition.js';
import { inspectDisk } from '../../src/daemon/inspect.js';
import { nextVoterStep } from '../../src/daemon/voter-placement.js';
import type { Member, Membership } from '../../src/disk/membership.js';
import { until, type Teardown } from '../support/pool.js';
import { readFile, writeFile } from './pool-rig.js';

const content = Buffer.alloc(2 << 20, 'ostraka ');

class Rig {
  readonly folders: Folders;
  #pool: Pool | undefined;

  private constructor(readonly root: string) {
    this.folders = { config: join(root, 'config'), state: join(root, 'state'), run: join(root, 'run') };
  }

  static async create(t: Teardown, disks = 6): Promise<Rig> {
    const rig = new Rig(await mkdtemp(join(tmpdir(), 'ostraka-members-')));
    t.teardown(async () => {
      await rig.close().catch(() => undefined);
      await rm(rig.root, { recursive: true, force: true });
    });
    for (let number = 1; number <= disks; number++) await mkdir(rig.disk(number));
    const directories = Array.from({ length: disks }, (_, index) => rig.disk(index + 1));
    await createPool({ folders: rig.folders, name: 'p', disks: directories, code: undefined, witnesses: [], zones: [] });
    return rig;
  }

  disk(number: number): string {
    return join(this.root, `disk${number}`);
  }

  async open(): Promise<{ pool: Pool; members: MembershipChanger }> {
    const definition = await readDefinition(this.folders, 'p');
    const log = (): void => undefined;
    const pool = await openPool({
      environment: nativeEnvironment(this.folders, definition, log),
      definition,
      readOnly: false,
      log,
      progress: () => undefined,
      onInvalidate: () => undefined,
      membershipChanged: (membership) => followMembership(this.folders, 'p', membership),
    });
    this.#pool = pool;
    return { pool, members: must(pool.members, 'it can be written') };
  }

  async close(): Promise<void> {
    const pool = this.#pool;
    this.#pool = undefined;
    await pool?.close();
  }
}

async function write(pool: Pool, name: string): Promise<void> {
  await writeFile(pool, name, content);
}

async function reads(pool: Pool, name: string): Promise<boolean> {
  return (await readFile(pool, name)).equals(content);
}

const voters = (pool: Pool): number[] => pool.log.voters().map(({ number }) => number);
const membersOf = (pool: Pool): string[] => pool.diskSet.membership.members.map(({ number, state }) => `${number} ${state}`);

t.test('a disk is added to an open pool, and is there after the next start', async (t) => {
  const rig = await Rig.create(t);
  let { pool, members } = await rig.open();
  await write(pool, 'before');
  await mkdir(rig.disk(7));
  const member = await members.add({ directory: rig.disk(7), zone: undefined });
  t.match(member, { number: 7, state: 'active', voter: false, role: 'data' }, 'five voters are enough for 4+2');
  t.ok(pool.diskSet.disk(7));
  await t.rejects(members.add({ directory: rig.disk(7), zone: undefined }), { code: 'EEXIST' });
  await write(pool, 'after');
  const definition = await readDefinition(rig.folders, 'p');
  t.equal(definition.members.length, 7, 'the definition follows');
  for (const number of [1, 6, 7]) {
    const { superblock } = await inspectDisk(rig.disk(number));
    t.equal(superblock.membership.members.length, 7, `disk ${number} knows it`);
    t.equal(superblock.membership.epoch, pool.log.epoch);
  }
  await rig.close();
  ({ pool, members } = await rig.open());
  t.equal(membersOf(pool).length, 7);
  t.ok((await reads(pool, 'before')) && (await reads(pool, 'after')));
});

t.test('directories that cannot be added change nothing', async (t) => {
  const rig = await Rig.create(t);
  const { pool, members } = await rig.open();
  await t.rejects(members.add({ directory: join(rig.root, 'nowhere'), zone: undefined }), { code: 'ENOENT' });
  await mkdir(join(rig.root, 'full', 'of'), { recursive: true });
  await t.rejects(members.add({ directory: join(rig.root, 'full'), zone: undefined }), { code: 'ENOTEMPTY' });
  await t.rejects(members.setDraining(1, true), { code: 'EINVAL' }, 'six disks are needed for 4+2');
  await t.rejects(members.remove(1, false), { code: 'EBUSY' });
  await t.rejects(members.remove(1, true), { code: 'EBUSY' }, 'it is alive');
  await t.rejects(members.remove(9, false), { code: 'ENOENT' });
  t.equal(membersOf(pool).length, 6);
  t.same(voters(pool), [1, 2, 3, 4, 5]);
});

t.test('a vote moves before its disk is drained, and back into use when that is cancelled', async (t) => {
  const rig = await Rig.create(t, 7);
  const { pool, members } = await rig.open();
  await write(pool, 'file');
  await members.setDraining(2, true);
  t.same(voters(pool).includes(2), false);
  t.equal(voters(pool).length, 5);
  t.ok(pool.log.voters().every(({ state }) => state === 'online'));
  await members.setDraining(2, false);
  t.equal(membersOf(pool)[1], '2 active');
});

t.test('a dead disk is replaced: its vote moves, it leaves when nothing names it, and its return changes nothing', async (t) => {
  const rig = await Rig.create(t);
  let { pool, members } = await rig.open();
  await write(pool, 'file');
  await pool.namespace.syncAll();
  await rename(rig.disk(2), join(rig.root, 'gone'));
  await pool.diskSet.probeNow();
  await mkdir(rig.disk(7));
  const member = await members.replace(2, { directory: rig.disk(7), zone: undefined }, false);
  t.equal(member.number, 7);
  t.same(voters(pool).includes(2), false);
  t.equal(voters(pool).length, 5);
  t.same(await members.replace(2, { directory: rig.disk(7), zone: undefined }, false), member, 'asked again, it is done');
  t.ok(await reads(pool, 'file'));
  await rig.close();
  // It comes back: the others know better.
  await rename(join(rig.root, 'gone'), rig.disk(2));
  ({ pool, members } = await rig.open());
  t.notOk(voters(pool).includes(2));
  t.equal(pool.diskSet.disk(2), undefined, 'what was given up is not used again');
  await until('it is rebuilt elsewhere', async () => {
    await members.remove(2, true).catch(() => undefined);
    return Promise.resolve(!membersOf(pool).some((text) => text.startsWith('2 ')));
  });
  t.ok(await reads(pool, 'file'));
});

t.test('what a process that died left is finished by the next one', async (t) => {
  const rig = await Rig.create(t);
  let { pool } = await rig.open();
  // As after a crash between the change that gives a disk up and the move of its vote.
  const { membership } = pool.diskSet;
  const failed = membership.members.map((member): Member => (member.number === 3 ? { ...member, state: 'failed' } : member));
  await pool.diskSet.changeMembership({ ...membership, epoch: pool.log.epoch, members: failed }, () => Promise.resolve());
  await rig.close();
  ({ pool } = await rig.open());
  await until('the vote has moved, and the disk has left', () =>
    Promise.resolve(!voters(pool).includes(3) && !membersOf(pool).some((text) => text.startsWith('3 '))),
  );
  t.equal(voters(pool).length, 5);
  await rig.close();
  ({ pool } = await rig.open());
  t.equal(membersOf(pool).length, 5);
  const { superblock } = await inspectDisk(rig.disk(3));
  t.equal(superblock.membership.members.length, 6, 'what was given up is left alone');
});

t.test('who votes next', async (t) => {
  const member = (number: number, more: Partial<Member> = {}): Member => ({
    number,
    id: String(number).padStart(32, '0') as Member['id'],
    role: 'data',
    state: 'active',
    voter: true,
    zone: undefined,
    directory: `/d${number}`,
    ...more,
  });
  const pool = (m: number, members: readonly Member[]): Membership => ({
    epoch: 1,
    version: 1,
    poolId: member(1).id,
    poolName: 'p',
    k: 2,
    m,
    lastNumber: members.length,
    members,
  });
  const all = (): boolean => true;
  const spare = { voter: false };
  t.same(nextVoterStep(pool(1, [member(1), member(2), member(3), member(4, spare)]), all), undefined, 'three are enough');
  t.same(nextVoterStep(pool(1, [member(1), member(2), member(4, spare)]), all), { add: 4 });
  t.same(nextVoterStep(pool(1, [member(1), member(2, { state: 'draining' }), member(3), member(4, spare)]), all), { add: 4 }, 'add first');
  const added = [member(1), member(2, { state: 'draining' }), member(3), member(4)];
  t.same(nextVoterStep(pool(1, added), all), { remove: 2 });
  t.same(nextVoterStep(pool(1, [member(1), member(2, { state: 'failed' }), member(3)]), all), { remove: 2 }, 'the dead need no successor');
  t.same(
    nextVoterStep(pool(1, [member(1), member(2, { state: 'draining' }), member(3)]), all),
    undefined,
    'the living stay until there is one',
  );
  t.same(nextVoterStep(pool(1, [member(1), member(2)]), all), { witness: true });
  const out = (number: number): boolean => number !== 4;
  t.same(nextVoterStep(pool(1, [member(1), member(2), member(4, spare), member(5, spare)]), out), { add: 5 }, 'one that is in');
  const zones = [
    member(1, { zone: 'a' }),
    member(2, { zone: 'b' }),
    member(3, { zone: 'a', voter: false }),
    member(4, { zone: 'c', voter: false }),
  ];
  t.same(nextVoterStep(pool(1, zones), all), { add: 4 }, 'zones take turns');
});
