/**
 * A pool as a service of a real systemd, booted in a container: start, crash, watchdog, unmount from outside, scrub by its timer, shutdown, boot with a disk
 * missing; and mount(8), umount(8) and fstab. Each disk is an ext4 on a loop device, which the machine mounts from its own fstab.
 */
import t from 'tap';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Container, cannotBoot, type Bind } from '../support/container.js';
import { TestPool, mainProgram, until, type Status, type Teardown } from '../support/pool.js';
import type { RunResult } from '../support/run.js';

const MiB = 1024 ** 2;
const SERVICE = 'ostraka@photos.service';
const MOUNTPOINT = '/srv/photos';
const DISKS = 6;
const diskPath = (i: number): string => `/mnt/disk-${i}`;

interface MachineStatus extends Status {
  readonly health: string;
  readonly jobs: readonly { readonly kind: string; readonly state: string }[];
}

class Machine {
  private constructor(
    readonly container: Container,
    private readonly binds: readonly Bind[],
  ) {}

  static async create(t: Teardown): Promise<Machine> {
    const container = await Container.create(t);
    const { disks } = await TestPool.create(t, { disks: DISKS, loopBytes: 256 * MiB, raw: true });
    const machine = new Machine(
      container,
      disks.map((from, i) => ({ from, to: `/media/${i}` })),
    );
    // In a container systemd leaves devices alone, so the disks come as file systems, each of which is mounted once more where it belongs.
    const lines = disks.map((_, i) => `/media/${i} ${diskPath(i)} none bind,nofail 0 0\n`);
    await container.write('/etc/fstab', lines.join(''));
    for (const path of [MOUNTPOINT, ...disks.map((_, i) => diskPath(i))]) await mkdir(container.file(path), { recursive: true });
    return machine;
  }

  /** @param missing disks that are not connected */
  async boot(missing: readonly number[] = []): Promise<void> {
    for (const [i, { to }] of this.binds.entries()) {
      // systemd would make a directory that is not there. A file is in its way.
      await rm(this.container.file(to), { recursive: true, force: true });
      if (missing.includes(i)) await this.container.write(to, '');
    }
    await this.container.boot(this.binds.filter((_, i) => !missing.includes(i)));
  }

  powerOff(): Promise<void> {
    return this.container.powerOff();
  }

  ostraka(...args: readonly string[]): Promise<RunResult> {
    return this.container.run([process.execPath, mainProgram, ...args]);
  }

  async status(): Promise<MachineStatus> {
    return JSON.parse((await this.ostraka('status', 'photos', '--json')).stdout) as MachineStatus;
  }

  systemctl(...args: readonly string[]): Promise<RunResult> {
    return this.container.run(['systemctl', ...args], { limitMs: 300_000 });
  }

  async dropIn(unit: string, text: string): Promise<void> {
    await this.container.write(`/etc/systemd/system/${unit}.d/test.conf`, text);
    await this.systemctl('daemon-reload');
  }

  /** SHA-256 of each file, read from the disks. */
  async digests(): Promise<string> {
    return (await this.container.run(['sh', '-c', `cd ${MOUNTPOINT} && find . -type f -print0 | sort -z | xargs -0 sha256sum`])).stdout;
  }

  async mainPid(): Promise<number> {
    return Number(await this.container.show(SERVICE, 'MainPID'));
  }

  /** Waits until the service runs again as another process. */
  async untilRestarted(before: number): Promise<void> {
    await until(
      'the service was started again',
      async () => (await this.mainPid()) !== before && (await this.container.show(SERVICE, 'ActiveState')) === 'active',
      120_000,
    );
  }

  /** The scrub's service has started and ended. */
  async hasScrubbed(): Promise<boolean> {
    const unit = 'ostraka-scrub@photos.service';
    return (
      (await this.container.show(unit, 'ExecMainExitTimestampMonotonic')) !== '0' &&
      (await this.container.show(unit, 'ActiveState')) !== 'activating'
    );
  }

  async isAlive(pid: number | null): Promise<boolean> {
    return (await this.container.run(['test', '-e', `/proc/${pid ?? 0}`], { mayFail: true })).code === 0;
  }

  isMounted(): Promise<boolean> {
    return this.container
      .run(['findmnt', '-no', 'FSTYPE', MOUNTPOINT], { mayFail: true })
      .then(({ stdout }) => stdout.includes('fuse.ostraka'));
  }

  write(name: string, bytes: number): Promise<RunResult> {
    return this.container.run([
      'dd',
      'if=/dev/urandom',
      `of=${join(MOUNTPOINT, name)}`,
      'bs=64k',
      `count=${Math.ceil(bytes / 65_536)}`,
      'status=none',
    ]);
  }
}

const skip = (await cannotBoot()) ?? false;

t.test('a pool as a service', { skip }, async (t) => {
  const machine = await Machine.create(t);
  const { container } = machine;
  await machine.boot();
  await machine.ostraka('init', 'photos', ...Array.from({ length: DISKS }, (_, i) => ['--disk', diskPath(i)]).flat());
  const install = await machine.ostraka('systemd', 'install', 'photos', MOUNTPOINT, '--enable');
  t.match(install.stdout, /now and at every boot/);
  t.notMatch(install.stderr, /nofail/);

  t.equal(await container.show(SERVICE, 'ActiveState'), 'active');
  t.ok(await machine.isMounted(), 'seen by everybody');
  const first = await machine.mainPid();
  t.equal((await machine.status()).daemon_pid, first, 'the main process is the daemon');
  t.match(await container.show(SERVICE, 'StatusText'), /Mounted at \/srv\/photos: health good, 6 of 6 disks/);
  const limits = (await container.run(['cat', `/proc/${first}/status`])).stdout;
  t.match(limits, /^NoNewPrivs:\t1$/m);
  t.match(limits, /^Seccomp:\t2$/m);
  t.match(limits, /^CapBnd:\t0000000000200006$|^CapBnd:\t0000000001200006$/m);
  const namespaces = await container.run(['readlink', `/proc/${first}/ns/mnt`, '/proc/1/ns/mnt']);
  const [daemons, hosts] = namespaces.stdout.trim().split('\n');
  t.equal(daemons, hosts, 'no mount namespace of its own');
  t.equal(
    (await container.run(['systemd-analyze', 'verify', SERVICE, 'ostraka-scrub@photos.timer'])).stderr,
    '',
    'systemd understands all of it',
  );

  await container.run(['cp', '-a', '/etc', MOUNTPOINT]);
  await machine.write('large', 40 * MiB);
  const want = await machine.digests();
  t.ok(want.split('\n').length > 100);
  const same = async (what: string): Promise<void> => void t.equal(await machine.digests(), want, what);

  await container.run(['sh', '-c', `kill -KILL ${first}`]);
  await machine.untilRestarted(first);
  t.equal(await container.show(SERVICE, 'NRestarts'), '1');
  await same('after a crash');

  await machine.dropIn(SERVICE, '[Service]\nWatchdogSec=5s\nRestartSec=1s\n');
  await machine.systemctl('restart', SERVICE);
  const second = await machine.mainPid();
  await new Promise((resolve) => setTimeout(resolve, 8000));
  t.equal(await machine.mainPid(), second, 'signs of life come in time');
  await container.run(['sh', '-c', `kill -STOP ${second}`]);
  await machine.untilRestarted(second);
  t.match(await container.journal('-u', SERVICE), /watchdog/i);
  await same('after the watchdog');

  await container.run(['umount', MOUNTPOINT]);
  t.notOk(await machine.isMounted());
  await until('the service ends', async () => (await container.show(SERVICE, 'ActiveState')) === 'inactive');
  t.equal(await container.show(SERVICE, 'Result'), 'success', 'an unmount by somebody else is no failure');
  await machine.systemctl('start', SERVICE);
  await same('after an unmount from outside');

  // While a program holds a file open.
  const holder = container.start(['sh', '-c', `exec 3>${MOUNTPOINT}/held; echo content >&3; echo ready; sleep 100`]);
  await new Promise((resolve) => holder.stdout?.once('data', resolve));
  await machine.systemctl('stop', SERVICE);
  t.equal(await container.show(SERVICE, 'ActiveState'), 'inactive');
  t.match(await container.journal('-u', SERVICE, '-n', '20'), /everything is durable/);
  await machine.systemctl('start', SERVICE);
  t.equal((await container.run(['cat', join(MOUNTPOINT, 'held')])).stdout, 'content\n');
  await container.run(['rm', join(MOUNTPOINT, 'held')]);

  await machine.dropIn('ostraka-scrub@photos.timer', '[Timer]\nOnActiveSec=1s\nRandomizedDelaySec=0\nAccuracySec=100ms\n');
  await machine.systemctl('restart', 'ostraka-scrub@photos.timer');
  await until('the timer has run the scrub', () => machine.hasScrubbed(), 120_000);
  t.equal(await container.show('ostraka-scrub@photos.service', 'Result'), 'success');
  const scrubs = (await machine.status()).jobs.filter(({ kind }) => kind === 'scrub');
  t.match(scrubs, [{ state: 'done' }]);
  await machine.dropIn('ostraka-scrub@photos.timer', '');

  // A scrub that has the pool open when the service comes.
  await machine.systemctl('stop', SERVICE);
  const slow = `${process.execPath} ${mainProgram} scrub photos --watch --rate 100K`;
  await machine.dropIn('ostraka-scrub@photos.service', `[Service]\nExecStart=\nExecStart=${slow}\n`);
  await machine.systemctl('start', '--no-block', 'ostraka-scrub@photos.service');
  await until('the scrub has opened the pool', async () => (await machine.status()).daemon_pid !== null);
  await machine.systemctl('start', '--no-block', SERVICE);
  await until('the service has it', async () => (await container.show(SERVICE, 'ActiveState')) === 'active', 60_000);
  t.equal((await machine.status()).state, 'mounted');
  await machine.dropIn('ostraka-scrub@photos.service', '');

  await container.run(['cp', '-a', join(MOUNTPOINT, 'etc'), join(MOUNTPOINT, 'copy')]);
  const more = await machine.digests();
  await machine.powerOff();
  await machine.boot([2]);
  t.equal(await container.show('mnt-disk\\x2d2.mount', 'ActiveState'), 'failed', 'a disk is missing');
  t.equal(await container.show(SERVICE, 'ActiveState'), 'active', 'the pool is there without it');
  t.equal(await machine.digests(), more, 'shut down without losing anything, read without a disk');
  t.match(await container.show(SERVICE, 'StatusText'), /health degraded, 5 of 6 disks/);
  await machine.write('degraded', 4 * MiB);
  const degraded = await machine.digests();
  await machine.powerOff();
  await machine.boot();
  t.equal(await machine.digests(), degraded);
  await until('all is well again', async () => (await machine.status()).health === 'good', 120_000);
  await machine.powerOff();
});

t.test('mount(8), umount(8) and fstab', { skip }, async (t) => {
  const machine = await Machine.create(t);
  const { container } = machine;
  await machine.boot();
  await machine.ostraka('init', 'photos', ...Array.from({ length: DISKS }, (_, i) => ['--disk', diskPath(i)]).flat());
  await machine.ostraka('install-helper');
  await container.run(['mount', '-t', 'ostraka', 'photos', MOUNTPOINT]);
  await machine.write('file', MiB);
  const want = await machine.digests();
  const { daemon_pid: pid } = await machine.status();
  await container.run(['mount', '-o', 'remount,ro', MOUNTPOINT]);
  t.match((await container.run(['touch', join(MOUNTPOINT, 'no')], { mayFail: true })).stderr, /Read-only/);
  await container.run(['mount', '-o', 'remount,rw', MOUNTPOINT]);
  await container.run(['umount', MOUNTPOINT]);
  await until('its daemon has ended', async () => !(await machine.isAlive(pid)));
  t.equal((await machine.status()).state, 'unmounted');
  t.equal((await container.run(['mount', '-t', 'ostraka', 'nothing', MOUNTPOINT], { mayFail: true })).code, 32);

  const line = (await machine.ostraka('systemd', 'fstab', 'photos', MOUNTPOINT, '-o', 'noatime')).stdout;
  await container.run(['sh', '-c', 'printf %s "$1" >>/etc/fstab', 'sh', line]);
  await container.run(['mount', MOUNTPOINT]);
  t.equal(await machine.digests(), want, 'by its line in fstab');
  await container.run(['mount', '-a']);
  t.match((await container.run(['findmnt', '-no', 'OPTIONS', MOUNTPOINT])).stdout, /noatime/);
  await machine.write('more', MiB);
  const more = await machine.digests();
  await machine.powerOff();
  await machine.boot([4]);
  t.equal(await container.show('srv-photos.mount', 'ActiveState'), 'active', 'at boot, without a disk');
  t.equal(await machine.digests(), more);
  const { daemon_pid: last } = await machine.status();
  await container.run(['systemctl', 'stop', 'srv-photos.mount']);
  t.notOk(await machine.isAlive(last), 'when the mount unit has stopped, the daemon has made everything durable and ended');
  t.equal((await machine.status()).state, 'unmounted');
  await machine.powerOff();
});
