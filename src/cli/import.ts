/** `ostraka import`: takes over a pool from its disks alone. */
import type { Command } from 'commander';
import { importPool } from '../daemon/import-pool.js';
import type { Context } from './context.js';

export function addImport(program: Command, { folders, output }: Context): void {
  program
    .command('import')
    .description('take over a pool from its disks alone, such as another machine’s')
    .requiredOption('--disk <DIR...>', 'disks (and witnesses) of the pool')
    .option('--name <NAME>', 'call it so here; its own name unless given')
    .addHelpText('after', '\nExample:\n  ostraka import --disk /mnt/a /mnt/b /mnt/c\n')
    .action(async (options: { disk: string[]; name?: string }) => {
      const { definition, missing } = await importPool({ folders, directories: options.disk, name: options.name });
      for (const directory of missing) output.warning(`a disk or witness of this pool was not given; it was last seen at ${directory}`);
      output.line(`Pool "${definition.name}" (${definition.code}, ${definition.members.length} members) is known here now.`);
      output.line(`Mount it with: ostraka mount ${definition.name} MOUNTPOINT`);
    });
}
