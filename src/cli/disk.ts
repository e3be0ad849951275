/** `ostraka disk`: the disks of a pool, listed, added, drained, replaced and removed. All of it works while the pool is in use, and while it is not mounted. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { ControlClient } from '../daemon/control-client.js';
import type { ControlRequest } from '../daemon/control-protocol.js';
import type { DiskAnswer, DiskRequest } from '../daemon/disk-requests.js';
import { readDefinition } from '../daemon/pool-definition.js';
import { poolStatus } from '../daemon/pool-status.js';
import type { StatusReport } from '../daemon/status-report.js';
import type { Context } from './context.js';
import { formatBytes, formatLevel, type Output } from './output.js';
import { refuseFailed, watchJob } from './watch-job.js';
import { withPool } from './with-pool.js';

const DISK_ARGUMENT = 'its path, its number, or the beginning of its id';

export function addDisk(program: Command, context: Context): void {
  const disk = program.command('disk').description('list, add, drain, replace and remove the disks of a pool');
  addList(disk, context);
  addAdd(disk, context);
  addDrain(disk, context);
  addReplace(disk, context);
  addRemove(disk, context);
}

function addList(disk: Command, { folders, output }: Context): void {
  disk
    .command('list')
    .description('show the disks of a pool')
    .argument('<NAME>', 'the pool')
    .option('--json', 'as JSON')
    .addHelpText(
      'after',
      `
States:
  online    in use
  suspect   in use, but slow or failing now and then: reads go around it
  offline   not there, or it failed: looked for, and taken back by itself
  failed    given up with "disk replace" or "disk remove --force"
  draining  what it holds is being moved to the others
  healing   it came (back), and some blobs still lack shards

Space, of the disk's file system:
  SHARDS    data of this pool that is needed now
  RESERVE   kept allocated for the time when the disk is full
  OTHER     the rest of USED: log, replica and snapshots of the index, what is
            about to be given back, and other programs' files
  LEVEL     the part that shards take of SHARDS and FREE: "ostraka rebalance"
            makes it even

Example:
  ostraka disk list photos
`,
    )
    .action(async (name: string, options: { json?: boolean }) => {
      const report = await poolStatus(folders, await readDefinition(folders, name));
      if (options.json === true) output.json(report.disks);
      else print(output, report);
    });
}

function print(output: Output, { disks, voters }: StatusReport): void {
  const { colours } = output;
  output.table(
    ['NUMBER', 'DISK', 'STATE', 'VOTER', 'SIZE', 'USED', 'SHARDS', 'RESERVE', 'OTHER', 'FREE', 'LEVEL', 'ERRORS', 'ZONE', 'ID'],
    disks.map((disk) => {
      const voter = voters.find(({ path }) => path === disk.path);
      const space = (bytes: number): string => (disk.present ? formatBytes(bytes) : '-');
      const known = (bytes: number | null): string => (bytes === null ? '-' : formatBytes(bytes));
      return [
        String(disk.number),
        disk.role === 'witness' ? `${disk.path} (witness)` : disk.path,
        disk.state === 'online' ? colours.green(disk.state) : colours.red(disk.state),
        !disk.voter ? '-' : voter === undefined || voter.state === 'unknown' ? 'yes' : voter.state,
        space(disk.size_bytes),
        space(disk.used_bytes),
        known(disk.shard_bytes),
        disk.role === 'data' && disk.shard_bytes !== null ? space(disk.reserve_bytes) : '-',
        known(disk.other_bytes),
        space(disk.free_bytes),
        formatLevel(disk.level),
        disk.errors === 0 ? '0' : colours.red(String(disk.errors)),
        disk.zone ?? '-',
        disk.id.slice(0, 8),
      ];
    }),
    [0, 4, 5, 6, 7, 8, 9, 10, 11],
  );
  for (const { path, reason } of disks) if (reason !== null) output.line(`${path}: ${reason}`);
}

function addAdd(disk: Command, context: Context): void {
  const { output } = context;
  disk
    .command('add')
    .description('add an empty directory, on a disk of any size, to a pool')
    .argument('<NAME>', 'the pool')
    .argument('<DIR>', 'where the disk is mounted; it must be empty')
    .option('--zone <LABEL>', 'disks with the same label fail together and get at most M shards of a blob')
    .option('--json', 'as JSON')
    .addHelpText(
      'after',
      '\nThe new disk takes new data at once. "ostraka rebalance" moves a part of the old data to it.\n\nExample:\n  ostraka disk add photos /mnt/g\n',
    )
    .action(async (name: string, directory: string, options: { zone?: string; json?: boolean }) => {
      const answer = await ask(context, name, 'disk add', {
        verb: 'disk-add',
        directory: resolve(directory),
        zone: options.zone ?? null,
      });
      if (options.json === true) output.json(answer);
      else {
        const votes = answer.disk.voter ? ', and votes' : '';
        output.line(`${answer.disk.path} is disk ${answer.disk.number} of pool "${name}" now${votes}.`);
        output.line(`It takes new data. To move a part of the old data to it: ostraka rebalance ${name}`);
      }
    });
}

function addDrain(disk: Command, context: Context): void {
  const { output } = context;
  disk
    .command('drain')
    .description('move everything that a disk holds to the others')
    .argument('<NAME>', 'the pool')
    .argument('<DISK>', DISK_ARGUMENT)
    .option('--cancel', 'let it be used again')
    .option('--watch', 'show progress until it is empty')
    .option('--json', 'as JSON')
    .addHelpText(
      'after',
      `
The disk takes no new data, and is read until it is empty. Each of its shards is copied to another disk before it goes, so nothing is without protection
meanwhile; what cannot be read from it is rebuilt from the others. While the pool is used, the drain takes a hundredth of the time. It survives unmounts and
crashes. "ostraka status" shows how far it is, and when the disk can be removed.

A pool that is not mounted is opened for it, and the command stays until the disk is empty.

Example:
  ostraka disk drain photos /mnt/b --watch
  ostraka disk remove photos /mnt/b
`,
    )
    .action(async (name: string, which: string, options: { cancel?: boolean; watch?: boolean; json?: boolean }) => {
      const on = options.cancel !== true;
      const { answer, watched } = await withPool(context, name, 'disk drain', async (client, { unmounted }) => {
        const answer = await send(context, client, { verb: 'disk-drain', disk: pathOr(which), on });
        // Without a mount nobody would go on with it.
        const watched = options.watch === true || unmounted;
        if (on && watched) refuseFailed(await watchJob(client, 'drain'));
        return { answer, watched };
      });
      const { path, number } = answer.disk;
      if (options.json === true) output.json(answer);
      else if (!on) output.line(`Disk ${number} (${path}) is used again.`);
      else if (watched) output.line(`Disk ${number} (${path}) is empty. Remove it with: ostraka disk remove ${name} ${number}`);
      else output.line(`Disk ${number} (${path}) is being drained. Watch it with: ostraka disk drain ${name} ${number} --watch`);
    });
}

function addReplace(disk: Command, context: Context): void {
  const { output } = context;
  disk
    .command('replace')
    .description('put a new disk in the place of a dead or old one')
    .argument('<NAME>', 'the pool')
    .argument('<OLD>', DISK_ARGUMENT)
    .argument('<NEWDIR>', 'where the new disk is mounted; it must be empty')
    .option('--force', 'give the old disk up even if files are lost with it')
    .option('--watch', 'show progress until everything is whole again')
    .option('--json', 'as JSON')
    .addHelpText(
      'after',
      '\nAn old disk that is out is given up, and what it held is rebuilt from the others; one that is in is drained first. Its vote moves to the new one.\n\nExample:\n  ostraka disk replace photos /mnt/c /mnt/g --watch\n',
    )
    .action(async (name: string, old: string, directory: string, options: { force?: boolean; watch?: boolean; json?: boolean }) => {
      const answer = await withPool(context, name, 'disk replace', async (client, { unmounted }) => {
        const request = { verb: 'disk-replace', disk: pathOr(old), directory: resolve(directory), force: options.force === true } as const;
        const answer = await send(context, client, request);
        if (options.watch === true || unmounted) refuseFailed(await watchJob(client, 'heal'));
        return answer;
      });
      if (options.json === true) output.json(answer);
      else {
        output.line(`${answer.disk.path} is disk ${answer.disk.number} of pool "${name}" now, in the place of ${old}.`);
        if (options.watch !== true) output.line(`What is missing is being rebuilt. Watch it with: ostraka heal ${name} --watch`);
      }
    });
}

function addRemove(disk: Command, context: Context): void {
  const { output } = context;
  disk
    .command('remove')
    .description('take a drained or dead disk out of a pool for good')
    .argument('<NAME>', 'the pool')
    .argument('<DISK>', DISK_ARGUMENT)
    .option('--force', 'it is dead: rebuild what it held from the others')
    .option('--json', 'as JSON')
    .addHelpText(
      'after',
      '\nNothing on the disk is deleted; it belongs to no pool afterwards. To use its directory again, delete what is in it.\n\nExample:\n  ostraka disk remove photos /mnt/b\n  ostraka disk remove photos 3 --force\n',
    )
    .action(async (name: string, which: string, options: { force?: boolean; json?: boolean }) => {
      const answer = await ask(context, name, 'disk remove', { verb: 'disk-remove', disk: pathOr(which), force: options.force === true });
      const { number, path } = answer.disk;
      if (options.json === true) output.json(answer);
      else if (answer.gone) output.line(`Disk ${number} (${path}) is no longer a disk of pool "${name}": it may be unplugged.`);
      else output.line(`Disk ${number} (${path}) is given up. What it held is being rebuilt; then it leaves the pool by itself.`);
    });
}

/** A path is made absolute here, where the operator's directory is known. */
function pathOr(text: string): string {
  return text.includes('/') || text.startsWith('.') ? resolve(text) : text;
}

async function ask(context: Context, name: string, verb: string, request: DiskRequest): Promise<DiskAnswer> {
  return withPool(context, name, verb, (client) => send(context, client, request));
}

async function send({ output }: Context, client: ControlClient, request: ControlRequest): Promise<DiskAnswer> {
  const answer = (await client.request(request)) as DiskAnswer;
  for (const warning of answer.warnings) output.warning(warning);
  return answer;
}
