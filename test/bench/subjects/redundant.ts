/** Peers that survive the loss of two of six disks: btrfs in the kernel, zfs-fuse, GlusterFS. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sleep, until } from '../../support/pool.js';
import { kill, run } from '../../support/run.js';
import { LoopDisks } from './loop-disks.js';
import { isMounted, lacking, MountedSubject, unmount } from './subject.js';

export class Btrfs extends MountedSubject {
  readonly name = 'btrfs';
  readonly about = 'btrfs RAID-6 over six disks, in the kernel';
  readonly #disks = new LoopDisks(this.site);

  async missing(): Promise<string | undefined> {
    return (await lacking('btrfs-progs', 'mkfs.btrfs', 'btrfs')) ?? (this.site.folders ? 'needs disks, not folders' : undefined);
  }

  async up(): Promise<void> {
    await mkdir(this.folder, { recursive: true });
    await this.#disks.attach(6);
    await run('mkfs.btrfs', ['-qf', '-d', 'raid6', '-m', 'raid1c3', ...this.#disks.present()]);
    await run('btrfs', ['device', 'scan', ...this.#disks.present()]);
    await run('mount', [this.#disks.device(0), this.folder]);
  }

  async down(): Promise<void> {
    await unmount(this.folder);
    await run('btrfs', ['device', 'scan', '--forget'], { mayFail: true });
    await this.#disks.detach();
  }

  async trim(): Promise<void> {
    await run('fstrim', [this.folder], { mayFail: true });
  }

  async loseTwoDisks(): Promise<void> {
    await unmount(this.folder);
    await run('btrfs', ['device', 'scan', '--forget'], { mayFail: true });
    for (const i of [1, 4]) await this.#disks.remove(i);
    await run('btrfs', ['device', 'scan', ...this.#disks.present()]);
    await run('mount', ['-o', 'degraded', this.#disks.device(0), this.folder]);
  }
}

/** One at a time on a machine: its daemon has one socket. */
export class ZfsFuse extends MountedSubject {
  readonly name = 'zfs-fuse';
  readonly about = 'zfs-fuse raidz2 over six disks';
  readonly #disks = new LoopDisks(this.site);
  readonly #pool = `bench${process.pid}`;

  async missing(): Promise<string | undefined> {
    const lacks = (await lacking('zfs-fuse', 'zfs-fuse', 'zpool')) ?? (this.site.folders ? 'needs disks, not folders' : undefined);
    return lacks ?? ((await this.#answers()) ? 'a zfs-fuse runs here already' : undefined);
  }

  async #answers(): Promise<boolean> {
    return (await run('zpool', ['list'], { mayFail: true, limitMs: 10_000 })).code === 0;
  }

  async up(): Promise<void> {
    await this.#disks.attach(6);
    await this.start('zfs-fuse', 'zfs-fuse', ['--no-daemon']);
    await until('zfs-fuse answers', () => this.#answers());
    const options = ['-o', 'cachefile=none', '-m', this.folder];
    await run('zpool', ['create', '-f', ...options, this.#pool, 'raidz2', ...this.#disks.present()]);
    await this.mounted();
  }

  async down(): Promise<void> {
    await unmount(this.folder);
    await run('zpool', ['destroy', '-f', this.#pool], { mayFail: true, limitMs: 30_000 });
    await this.end();
    await this.#disks.detach();
  }

  async trim(): Promise<void> {}

  async loseTwoDisks(): Promise<void> {
    for (const i of [1, 4]) await run('zpool', ['offline', this.#pool, this.#disks.device(i)]);
  }
}

const HOST = 'ostraka-bench-peer';

/** One at a time on a machine: its daemon has one socket and one port. It wants a host's name, which /etc/hosts gets by a mount over it. */
export class Gluster extends MountedSubject {
  readonly name = 'gluster';
  readonly about = 'GlusterFS disperse 4+2 over six ext4 disks, FUSE mount';
  readonly #disks = new LoopDisks(this.site);

  async missing(): Promise<string | undefined> {
    const lacks = await lacking('glusterfs-server', 'glusterd', 'gluster', 'glusterfs');
    return lacks ?? ((await this.#answers()) ? 'a glusterd runs here already' : undefined);
  }

  async #gluster(...args: readonly string[]): Promise<void> {
    await run('gluster', ['--mode=script', ...args], { env: this.environment });
  }

  async #answers(): Promise<boolean> {
    return (await run('gluster', ['--mode=script', 'pool', 'list'], { mayFail: true, limitMs: 20_000 })).code === 0;
  }

  async up(): Promise<void> {
    const { root } = this.site;
    await this.#disks.attachExt4(6);
    await mkdir(join(root, 'state'), { recursive: true });
    await mkdir('/var/log/glusterfs', { recursive: true });
    await writeFile(join(root, 'hosts'), `${await readFile('/etc/hosts', 'utf8')}\n127.0.0.1 ${HOST}\n`);
    await run('mount', ['--bind', join(root, 'hosts'), '/etc/hosts']);
    const options = [
      `working-directory ${root}/state`,
      'transport-type socket',
      'transport.socket.bind-address 127.0.0.1',
      'event-threads 1',
    ];
    const lines = ['volume management', 'type mgmt/glusterd', ...options.map((line) => `option ${line}`), 'end-volume'];
    await writeFile(join(root, 'glusterd.vol'), lines.join('\n') + '\n');
    const pidFile = join(root, 'glusterd.pid');
    await this.start('glusterd', 'glusterd', ['-N', '-f', join(root, 'glusterd.vol'), `--pid-file=${pidFile}`]);
    await until('glusterd answers', () => this.#answers(), 60_000);
    const bricks = this.#disks.folders.map((folder) => join(folder, 'brick'));
    for (const brick of bricks) await mkdir(brick);
    const code = ['disperse', '6', 'redundancy', '2'];
    await this.#gluster('volume', 'create', 'bench', ...code, ...bricks.map((brick) => `${HOST}:${brick}`), 'force');
    await this.#gluster('volume', 'start', 'bench');
    await this.start('glusterfs', 'glusterfs', ['-N', `--volfile-server=${HOST}`, '--volfile-id=bench', this.folder]);
    await this.mounted();
  }

  async down(): Promise<void> {
    await unmount(this.folder);
    for (const args of [
      ['stop', 'bench', 'force'],
      ['delete', 'bench'],
    ])
      await run('gluster', ['--mode=script', 'volume', ...args], { mayFail: true, limitMs: 60_000 });
    await this.end();
    if (await isMounted('/etc/hosts')) await run('umount', ['/etc/hosts'], { mayFail: true });
    await this.#disks.detach();
  }

  trim(): Promise<void> {
    return this.#disks.trim();
  }

  /** Two bricks' processes die. */
  async loseTwoDisks(): Promise<void> {
    for (const pid of await this.pids()) {
      const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
      if ([1, 4].some((i) => command.includes(`${join(this.#disks.folders[i] ?? '', 'brick')}\0`))) kill(pid, 'SIGKILL');
    }
    await sleep(2000);
  }
}
