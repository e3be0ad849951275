/**
 * Samba exports the mount and smbclient uses it: smbd on loopback at an unprivileged port, with a configuration, passwords and state of its own. Streams and DOS
 * attributes lie in extended attributes, so those are used as well.
 */
import t from 'tap';
import { spawn } from 'node:child_process';
import { lstat, mkdir, readFile, readdir, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { Place, lacking } from '../support/place.js';
import { until, type Teardown } from '../support/pool.js';
import { run, type RunResult } from '../support/run.js';
import { digests, randomFile, sha256, smallTree } from '../support/tree.js';

const MiB = 1024 ** 2;
/** Settings with a folder of its own each. */
const FOLDERS = ['private dir', 'lock directory', 'state directory', 'cache directory', 'pid directory', 'ncalrpc dir', 'binddns dir'];

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** Names are as on Windows: upper and lower case are the same, a file that another one has open with a lock is refused. */
function configuration(place: Place, port: number): string {
  return `[global]
    smb ports = ${port}
    interfaces = lo
    bind interfaces only = yes
    disable netbios = yes
    server role = standalone server
    passdb backend = tdbsam
    load printers = no
    disable spoolss = yes
    log file = ${place.beside('samba', 'log')}
    ${FOLDERS.map((name) => `${name} = ${place.beside('samba', name.replace(' ', '-'))}`).join('\n    ')}
    kernel oplocks = no
    min protocol = SMB2
  [share]
    path = ${place.at('share')}
    read only = no
    vfs objects = acl_xattr streams_xattr
    store dos attributes = yes
    ea support = yes
    strict allocate = yes
    strict sync = yes
    posix locking = yes
`;
}

class Share {
  private constructor(
    readonly place: Place,
    private readonly port: number,
    private readonly settings: string,
  ) {}

  static async create(t: Teardown): Promise<Share> {
    const place = await Place.create(t);
    const share = new Share(place, await freePort(), place.beside('samba', 'smb.conf'));
    for (const name of FOLDERS) await mkdir(place.beside('samba', name.replace(' ', '-')), { recursive: true, mode: 0o755 });
    await mkdir(place.at('share'));
    await writeFile(share.settings, configuration(place, share.port));
    await run('sh', ['-c', 'printf "secret\\nsecret\\n" | smbpasswd -L -c "$1" -s -a root', 'sh', share.settings]);
    share.#start(t);
    let said = '';
    const answers = async (): Promise<boolean> => {
      const { code, stdout, stderr } = await share.client('ls');
      said = stdout + stderr;
      return code === 0;
    };
    await until('smbd answers', answers, 60_000).catch(async (error: unknown) => {
      throw new Error(`${String(error)}\n${said}\n${await readFile(place.beside('samba', 'log'), 'utf8').catch(() => 'no log')}`);
    });
    return share;
  }

  /** smbd has a process for each connection; they end with their group. */
  #start(t: Teardown): void {
    const server = spawn('smbd', ['-F', '--no-process-group', '-s', this.settings], { stdio: 'ignore', detached: true });
    t.teardown(() => {
      try {
        process.kill(-(server.pid ?? 0), 'SIGKILL');
      } catch {
        // It has ended.
      }
    });
  }

  /** Runs commands of smbclient. */
  client(...commands: readonly string[]): Promise<RunResult> {
    const args = ['-s', this.settings, '-p', String(this.port), '-U', 'root%secret', '//127.0.0.1/share', '-c', commands.join('; ')];
    return run('smbclient', args, { mayFail: true, cwd: this.place.scratch });
  }

  at(...parts: readonly string[]): string {
    return this.place.at('share', ...parts);
  }
}

type Checks = Pick<typeof t, 'same'>;

/** Fails with what smbclient said, also where it returns 0 after an error. */
function went(t: Checks, { code, stdout, stderr }: RunResult): void {
  const errors = (stdout + stderr).split('\n').filter((line) => /NT_STATUS_(?!OK)/.test(line));
  t.same({ code, errors }, { code: 0, errors: [] });
}

const skip = await lacking('smbd', 'smbclient', 'smbpasswd', 'getfattr');

t.test('a share on the mount', { skip }, async (t) => {
  const share = await Share.create(t);
  const { place } = share;

  await t.test('put and get of a large file, a tree, and names', async (t) => {
    const sum = await randomFile(place.beside('large'), 48 * MiB + 77);
    went(t, await share.client('put large', 'get large large-back'));
    t.equal(await sha256(share.at('large')), sum, 'on the mount');
    t.equal(await sha256(place.beside('large-back')), sum, 'and back');
    const want = await digests(`${smallTree}/v4/core`);
    await run('cp', ['-a', `${smallTree}/v4/core`, place.beside('tree')]);
    went(t, await share.client('recurse', 'prompt', 'mput tree'));
    t.same(await digests(share.at('tree')), want, 'a tree');
    await mkdir(place.beside('back'));
    went(t, await share.client(`lcd ${place.beside('back')}`, 'recurse', 'prompt', 'mget tree'));
    t.same(await digests(place.beside('back', 'tree')), want, 'and back');
    await writeFile(place.beside('a'), 'a');
    went(t, await share.client('put a "Ünïcode Näme.txt"', 'get "üNÏCODE näme.TXT" found'));
    t.equal(await readFile(place.beside('found'), 'utf8'), 'a', 'upper and lower case are the same');
    t.ok((await readdir(share.place.at('share'))).includes('Ünïcode Näme.txt'));
  });

  await t.test('mkdir, rename, delete, links', async (t) => {
    went(t, await share.client('mkdir d', 'mkdir d\\e', 'cd d', 'put a one', 'rename one e\\two', 'hardlink e\\two three'));
    t.same([await readdir(share.at('d')), await readdir(share.at('d', 'e'))], [['e', 'three'], ['two']]);
    t.equal((await stat(share.at('d', 'three'))).ino, (await stat(share.at('d', 'e', 'two'))).ino);
    t.match((await share.client('rmdir d')).stdout, /NT_STATUS_DIRECTORY_NOT_EMPTY/);
    went(t, await share.client('put a d\\four', 'rename d\\four d\\three -f', 'del d\\three', 'del d\\e\\two', 'rmdir d\\e', 'rmdir d'));
    await t.rejects(lstat(share.at('d')), { code: 'ENOENT' });
    // smbd takes the other name for the file that it has just opened, and refuses; on an ext4 just so.
    went(t, await share.client('put a five', 'hardlink five six'));
    t.match((await share.client('rename five six -f')).stdout, /NT_STATUS_ACCESS_DENIED/, 'one link over another of the same file');
    went(t, await share.client('del five', 'del six', 'deltree tree'));
    await t.rejects(lstat(share.at('tree')), { code: 'ENOENT' });
  });

  await t.test('attributes, streams, times', async (t) => {
    went(t, await share.client('put a attributes', 'put a attributes:stream', 'setmode attributes +rhs'));
    t.match((await share.client('allinfo attributes')).stdout, /attributes: RHSA \(27\)[\s\S]*stream: \[:stream:\$DATA\], 1 bytes/);
    const names = (await run('getfattr', ['-m', '-', share.at('attributes')])).stdout;
    for (const name of ['user.DOSATTRIB', 'user.DosStream.stream:$DATA']) t.ok(names.includes(name), name);
    went(t, await share.client('get attributes:stream stream'));
    t.equal(await readFile(place.beside('stream'), 'utf8'), 'a');
    went(t, await share.client('utimes attributes -1 -1 2011:11:11-11:11:11 -1'));
    t.equal((await stat(share.at('attributes'))).mtime.getUTCFullYear(), 2011);
  });

  await t.test('several clients at a time, and what changes on the mount is seen', async (t) => {
    const sums = await Promise.all([0, 1, 2].map((i) => randomFile(place.beside(`client${i}`), 8 * MiB + i)));
    const put = await Promise.all(
      sums.map((_, i) => share.client(`put client${i}`, `get client${i} again${i}`, `rename client${i} moved${i}`)),
    );
    for (const result of put) went(t, result);
    for (const [i, sum] of sums.entries()) {
      t.equal(await sha256(share.at(`moved${i}`)), sum);
      t.equal(await sha256(place.beside(`again${i}`)), sum);
    }
    await truncate(share.at('moved0'), 1234);
    await writeFile(share.at('beside'), 'made on the mount');
    await rm(share.at('moved1'));
    went(t, await share.client('get moved0 short', 'get beside beside'));
    t.equal((await stat(place.beside('short'))).size, 1234);
    t.equal(await readFile(place.beside('beside'), 'utf8'), 'made on the mount');
    t.match((await share.client('get moved1')).stdout, /NT_STATUS_OBJECT_NAME_NOT_FOUND/);
    t.match((await share.client('ls')).stdout, /\d+ blocks of size \d+\. \d+ blocks available/);
  });
});
