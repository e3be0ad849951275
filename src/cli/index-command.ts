/** `ostraka index`: the metadata of a pool as a portable stream, and snapshots of it on the disks. */
import { createReadStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import type { ExportResult, SnapshotResult } from '../daemon/snapshot-job.js';
import type { Context } from './context.js';
import { formatBytes } from './output.js';
import { recoverFrom } from './recover.js';
import { requestJob, watchJob } from './watch-job.js';
import { withPool } from './with-pool.js';

export function addIndex(program: Command, context: Context): void {
  const command = program.command('index').description("export, import or snapshot a pool's metadata");
  command
    .command('export')
    .description('write all metadata, as it is at one moment, to a file or to standard output; mounted or not')
    .argument('<NAME>', 'the pool')
    .argument('[FILE]', 'where to; - is standard output', '-')
    .addHelpText(
      'after',
      '\nHolds names, attributes and small files; the data of larger files stays on the disks.\n\nExample:\n  ostraka index export photos /backup/photos.ostraka\n  ostraka index export photos | ssh other "cat > photos.ostraka"\n',
    )
    .action((name: string, file: string) => exportIndex(context, name, file));
  command
    .command('import')
    .description("put an export in the place of a pool's metadata; the pool must not be mounted")
    .argument('<NAME>', 'the pool')
    .argument('<FILE>', 'an export or a snapshot')
    .option('--yes', 'do it; without, it only says what would be done')
    .addHelpText(
      'after',
      '\nThe data is found again by reading all disks; files of which data is gone since are named. A snapshot of the\npresent metadata is taken before.\n\nExample:\n  ostraka index import photos /backup/photos.ostraka --yes\n',
    )
    .action((name: string, file: string, options: { yes?: boolean }) =>
      recoverFrom(context, name, { kind: 'import', path: resolve(file) }, options.yes === true),
    );
  command
    .command('snapshot')
    .description('put a snapshot of the metadata on the disks now; one is taken every day by itself')
    .argument('<NAME>', 'the pool')
    .addHelpText('after', '\nSee the settings snapshot-interval and snapshot-keep.\n\nExample:\n  ostraka index snapshot photos\n')
    .action((name: string) => snapshotIndex(context, name));
}

async function exportIndex(context: Context, name: string, file: string): Promise<void> {
  const { folders, output } = context;
  const toStandardOutput = file === '-';
  const path = toStandardOutput ? join(folders.state, `export-${name}-${process.pid}.ostraka`) : resolve(file);
  try {
    const result = await withPool(
      context,
      name,
      'index export',
      async (client) => {
        await requestJob(client, 'export', 'start', { path });
        return (await watchJob(client, 'export')).job.result as ExportResult;
      },
      { quiet: true },
    );
    const { rows, bytes, position } = result;
    if (toStandardOutput) await pipeline(createReadStream(path), process.stdout, { end: false });
    else output.line(`${rows} rows, as of log position ${position}, are in ${path} (${formatBytes(bytes)}).`);
  } finally {
    if (toStandardOutput) await rm(path, { force: true });
  }
}

async function snapshotIndex(context: Context, name: string): Promise<void> {
  const result = await withPool(
    context,
    name,
    'index snapshot',
    async (client) => {
      await requestJob(client, 'snapshot', 'start');
      return (await watchJob(client, 'snapshot')).job.result as SnapshotResult;
    },
    { quiet: true },
  );
  context.output.line(`${result.name} (${result.rows} rows, ${formatBytes(result.bytes)}) is on ${result.disks.join(', ')}.`);
}
