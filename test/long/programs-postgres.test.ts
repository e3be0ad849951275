/**
 * PostgreSQL, as a user of its own, with its cluster on the mount: initdb, pgbench with several clients, then kill -9 of the server, and of our daemon under it.
 * What a client was told is committed must be there afterwards, the books of pgbench must balance, and amcheck and pg_dump must find nothing wrong.
 */
import t from 'tap';
import { spawn, type ChildProcess } from 'node:child_process';
import { chmod, chown, mkdir, readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Place, lacking } from '../support/place.js';
import { sleep, until, type Teardown } from '../support/pool.js';
import { run, type RunResult } from '../support/run.js';

const USER = 'postgres';
const CLIENTS = 4;
/** What pgbench -i makes. */
const ACCOUNTS = 100_000;
const TELLERS_AND_BRANCHES = 11;
/** What pgbench knows of a cluster: the same sum in four tables. */
const BOOKS = `select (select sum(abalance) from pgbench_accounts), (select sum(tbalance) from pgbench_tellers),
  (select sum(bbalance) from pgbench_branches), (select coalesce(sum(delta), 0) from pgbench_history)`;

/** The newest PostgreSQL of Debian. */
async function programFolder(): Promise<string | undefined> {
  const versions = (await readdir('/usr/lib/postgresql').catch(() => [])).map(Number).sort((a, b) => b - a);
  return versions[0] === undefined ? undefined : `/usr/lib/postgresql/${versions[0]}/bin`;
}

class Cluster {
  readonly data: string;
  readonly sockets: string;
  #server: ChildProcess | undefined;

  private constructor(
    readonly place: Place,
    private readonly programs: string,
  ) {
    this.data = place.at('home', 'data');
    this.sockets = place.beside('sockets');
  }

  static async create(t: Teardown, programs: string): Promise<Cluster> {
    const place = await Place.create(t);
    const cluster = new Cluster(place, programs);
    t.teardown(() => void cluster.#server?.kill('SIGKILL'));
    await chmod(place.scratch, 0o711);
    const { stdout } = await run('id', ['-u', USER]);
    for (const folder of [place.at('home'), cluster.sockets, place.beside('logs')]) {
      await mkdir(folder);
      await chown(folder, Number(stdout), Number((await run('id', ['-g', USER])).stdout));
      await chmod(folder, 0o700);
    }
    await cluster.run('initdb', ['-D', cluster.data, '--data-checksums', '-A', 'trust', '--no-instructions', '-E', 'UTF8', '--locale=C']);
    return cluster;
  }

  #command(program: string, args: readonly string[]): [string, string[]] {
    return ['setpriv', [`--reuid=${USER}`, `--regid=${USER}`, '--init-groups', join(this.programs, program), ...args]];
  }

  run(program: string, args: readonly string[], options: { mayFail?: boolean; cwd?: string } = {}): Promise<RunResult> {
    const [command, all] = this.#command(program, args);
    return run(command, all, { cwd: '/', ...options, env: { ...process.env, PGHOST: this.sockets, PGUSER: USER, PGDATABASE: USER } });
  }

  async start(): Promise<void> {
    const settings = {
      listen_addresses: '',
      unix_socket_directories: this.sockets,
      max_wal_size: '64MB',
      checkpoint_timeout: '30s',
      shared_buffers: '16MB',
    };
    const [command, args] = this.#command('postgres', [
      '-D',
      this.data,
      ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    ]);
    const server = spawn(command, args, { cwd: '/', stdio: ['ignore', 'ignore', 'pipe'] });
    let log = '';
    server.stderr.setEncoding('utf8').on('data', (text: string) => {
      log = (log + text).slice(-20_000);
    });
    this.#server = server;
    const ready = async (): Promise<boolean> => {
      if (server.exitCode !== null) throw new Error(`postgres ended:\n${log}`);
      return (await this.run('pg_isready', ['-q'], { mayFail: true })).code === 0;
    };
    await until('postgres is ready', ready, 90_000).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${log}`);
    });
  }

  /** A clean stop. */
  async stop(): Promise<void> {
    await this.run('pg_ctl', ['-D', this.data, '-m', 'fast', '-w', 'stop']);
  }

  /** The server and all of its processes, which have their working folder in the cluster. */
  async kill9(): Promise<void> {
    this.#server?.kill('SIGKILL');
    await this.place.killAll();
  }

  async query(sql: string): Promise<string> {
    return (await this.run('psql', ['-XAtq', '-v', 'ON_ERROR_STOP=1', '-c', sql])).stdout.trim();
  }

  /** A load that logs each transaction that was committed; resolves when it ended, or the server did, with their number. */
  async load(name: string, seconds: number): Promise<number> {
    const folder = this.place.beside('logs', name);
    await mkdir(folder);
    await chmod(folder, 0o777);
    await this.run('pgbench', ['-n', '-c', String(CLIENTS), '-j', '1', '-T', String(seconds), '-l'], { mayFail: true, cwd: folder });
    let committed = 0;
    for (const file of await readdir(folder)) committed += (await readFile(join(folder, file), 'utf8')).split('\n').length - 1;
    return committed;
  }
}

type Checks = Pick<typeof t, 'ok' | 'equal' | 'same'>;

/** @param committed how many transactions clients were told of since pgbench -i */
async function isWell(t: Checks, cluster: Cluster, committed: number): Promise<void> {
  const sums = (await cluster.query(BOOKS)).split('|');
  t.same(new Set(sums).size, 1, `the books balance: ${sums.join(', ')}`);
  const rows = Number(await cluster.query('select count(*) from pgbench_history'));
  t.ok(rows >= committed, `of ${committed} transactions that were acknowledged, none is missing: ${rows} rows`);
  t.ok(rows <= committed + 4 * CLIENTS, `and few others are there: ${rows} rows`);
  t.equal((await cluster.run('pg_amcheck', ['--heapallindexed', '--install-missing', USER])).stdout, '', 'amcheck finds nothing');
  const dump = cluster.place.beside('logs', 'dump.sql');
  await cluster.run('pg_dump', ['--data-only', '-f', dump]);
  const dumped = (await readFile(dump, 'utf8')).split('\n').filter((line) => /^\d+\t/.test(line)).length;
  t.equal(dumped, ACCOUNTS + TELLERS_AND_BRANCHES + rows, 'pg_dump reads each row');
}

const programs = await programFolder();
const skip = (await lacking('setpriv')) || (programs === undefined && 'there is no PostgreSQL: run "sh native/setup.sh long"');

t.test('initdb, pgbench, kill -9 of the server and of the daemon', { skip }, async (t) => {
  const cluster = await Cluster.create(t, programs ?? '');
  const { place } = cluster;
  t.equal((await stat(join(cluster.data, 'PG_VERSION'))).mode & 0o777, 0o600, 'the cluster is its own');
  await cluster.start();
  await cluster.run('pgbench', ['-i', '-q']);
  let committed = await cluster.load('first', 4);
  t.ok(committed > 50, `${committed} transactions`);
  await isWell(t, cluster, committed);

  await t.test('the server is killed under load', async (t) => {
    const load = cluster.load('server-killed', 60);
    await sleep(3000);
    await cluster.kill9();
    committed += await load;
    await cluster.start();
    await isWell(t, cluster, committed);
  });

  await t.test('the daemon is killed under the server', { skip: place.cannotCrash }, async (t) => {
    for (const name of ['daemon-killed-1', 'daemon-killed-2']) {
      const load = cluster.load(name, 60);
      await sleep(2500);
      await place.crash(async () => {
        committed += await load;
        await cluster.kill9();
      });
      await cluster.start();
      await isWell(t, cluster, committed);
    }
  });

  await t.test('a base backup of it, on the mount too, is verified', async (t) => {
    const backup = place.at('home', 'backup');
    const load = cluster.load('backed-up', 3);
    await cluster.run('pg_basebackup', ['-D', backup, '-c', 'fast', '-X', 'stream']);
    committed += await load;
    t.match((await cluster.run('pg_verifybackup', [backup])).stdout, /successfully verified/);
  });

  await t.test('stopped, from the disks', async (t) => {
    await cluster.stop();
    await place.fresh();
    t.match((await cluster.run('pg_checksums', ['--check', '-D', cluster.data])).stdout, /Bad checksums: {2}0\n/);
    await cluster.start();
    await isWell(t, cluster, committed);
    await cluster.stop();
  });
});
