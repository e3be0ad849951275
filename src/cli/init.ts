/** `ostraka init`: makes a pool of empty directories, each the mount point of a disk. */
import type { Command } from 'commander';
import { formatCode, parseCode } from '../daemon/code.js';
import { createPool } from '../daemon/create-pool.js';
import type { Context } from './context.js';

interface InitOptions {
  readonly disk: string[];
  readonly code?: string;
  readonly witness?: string[];
  readonly zone?: string[];
}

export function addInit(program: Command, { folders, output }: Context): void {
  program
    .command('init')
    .description('make a pool of empty directories, each on a disk of its own')
    .argument('<NAME>', 'how to call it: letters, digits, dots, dashes, underscores')
    .requiredOption('--disk <DIR...>', 'directories that become its disks')
    .option('--code <K+M>', 'data and parity shards; by the number of disks unless given (six: 4+2)')
    .option('--witness <DIR...>', 'small directories elsewhere that vote on the index')
    .option('--zone <DIR=LABEL...>', 'disks with the same label fail together and get at most M shards of a blob')
    .addHelpText('after', '\nExample:\n  ostraka init photos --disk /mnt/a /mnt/b /mnt/c /mnt/d /mnt/e /mnt/f --code 4+2\n')
    .action(async (name: string, options: InitOptions) => {
      const { membership, warnings, notes } = await createPool({
        folders,
        name,
        disks: options.disk,
        code: options.code === undefined ? undefined : parseCode(options.code),
        witnesses: options.witness ?? [],
        zones: options.zone ?? [],
      });
      for (const warning of warnings) output.warning(warning);
      for (const note of notes) output.line(note);
      const data = membership.members.filter(({ role }) => role === 'data').length;
      const voters = membership.members.filter(({ voter }) => voter).length;
      output.line(`Pool "${name}" is ready: ${data} ${data === 1 ? 'disk' : 'disks'}, code ${formatCode(membership)}, ${voters} voters.`);
      output.line(`Mount it with: ostraka mount ${name} MOUNTPOINT`);
    });
}
