/** `ostraka list`: the pools known on this machine. */
import type { Command } from 'commander';
import { asOperatingError } from '../base/errors.js';
import { definedPools, readDefinition } from '../daemon/pool-definition.js';
import { poolStatus } from '../daemon/pool-status.js';
import type { Context } from './context.js';

interface Listed {
  readonly pool: string;
  readonly state: string;
  readonly work: string | null;
  readonly code: string;
  readonly disks: number;
  readonly mountpoint: string | null;
}

export function addList(program: Command, { folders, output }: Context): void {
  program
    .command('list')
    .description('show the pools known on this machine, mounted or not')
    .option('--json', 'as JSON')
    .addHelpText('after', '\nExample:\n  ostraka list\n')
    .action(async (options: { json?: boolean }) => {
      const listed: Listed[] = [];
      for (const name of await definedPools(folders)) {
        try {
          const definition = await readDefinition(folders, name);
          const { state, work, code, mountpoint } = await poolStatus(folders, definition);
          listed.push({
            pool: name,
            state,
            work,
            code,
            disks: definition.members.filter(({ role }) => role === 'data').length,
            mountpoint,
          });
        } catch (error) {
          const { message, path } = asOperatingError(error);
          output.warning(`${name}: ${message}${path === undefined ? '' : ` (${path})`}`);
        }
      }
      if (options.json === true) output.json(listed);
      else if (listed.length === 0)
        output.line(`No pools are known here (${folders.config}). "ostraka init" makes one, "ostraka import" takes one over.`);
      else
        output.table(
          ['POOL', 'STATE', 'CODE', 'DISKS', 'MOUNTED AT'],
          listed.map((pool) => [
            pool.pool,
            pool.work === null ? pool.state : `${pool.state} (${pool.work} running)`,
            pool.code,
            String(pool.disks),
            pool.mountpoint ?? '-',
          ]),
          [3],
        );
    });
}
