#!/usr/bin/env node
/** The `ostraka` command: one file a verb beside this one. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';
import { packageRoot } from '../base/package-root.js';
import { ownFolders } from '../daemon/folders.js';
import type { Context } from './context.js';
import { exitCodeHelp, exitCodeOf } from './exit-codes.js';
import { Output } from './output.js';

type Add = (program: Command, context: Context) => void;

/** In the order in which help shows them. Loaded when asked for: all of them would take longer than most of them run. */
const verbs = new Map<string, () => Promise<Add>>([
  ['init', async () => (await import('./init.js')).addInit],
  ['mount', async () => (await import('./mount.js')).addMount],
  ['unmount', async () => (await import('./unmount.js')).addUnmount],
  ['status', async () => (await import('./status.js')).addStatus],
  ['list', async () => (await import('./list.js')).addList],
  ['import', async () => (await import('./import.js')).addImport],
  ['sync', async () => (await import('./sync.js')).addSync],
  ['where', async () => (await import('./where.js')).addWhere],
  ['disk', async () => (await import('./disk.js')).addDisk],
  ['heal', async () => (await import('./heal.js')).addHeal],
  ['scrub', async () => (await import('./scrub.js')).addScrub],
  ['rebalance', async () => (await import('./rebalance.js')).addRebalance],
  ['quota', async () => (await import('./quota.js')).addQuota],
  ['settings', async () => (await import('./settings.js')).addSettings],
  ['check', async () => (await import('./check.js')).addCheck],
  ['recover', async () => (await import('./recover.js')).addRecover],
  ['index', async () => (await import('./index-command.js')).addIndex],
  ['systemd', async () => (await import('./systemd.js')).addSystemd],
  ['install-helper', async () => (await import('./install-helper.js')).addInstallHelper],
  ['mount-helper', async () => (await import('./mount-helper.js')).addMountHelper],
  ['unmount-helper', async () => (await import('./mount-helper.js')).addUnmountHelper],
  ['demo', async () => (await import('./demo.js')).addDemo],
]);

function version(): string {
  return (JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { version: string }).version;
}

/** With the verb that is asked for alone, or with all of them, for help and for what is no verb. */
async function program(context: Context, verb: string | undefined): Promise<Command> {
  const command = new Command('ostraka')
    .description('Turns a handful of ordinary mounted disks into one drive that loses nothing.')
    .version(version())
    .exitOverride()
    .showSuggestionAfterError()
    .addHelpText('after', () => exitCodeHelp());
  const asked = verbs.get(verb ?? '');
  for (const load of asked === undefined ? verbs.values() : [asked]) (await load())(command, context);
  return command;
}

async function main(): Promise<void> {
  // Whoever reads our output may stop reading, as head(1) does.
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
    });
  const output = new Output();
  try {
    const command = await program({ folders: ownFolders(), output }, process.argv[2]);
    await command.parseAsync();
  } catch (error) {
    // commander has said what is wrong with the command line itself.
    if (!(error instanceof CommanderError)) output.error(error);
    process.exitCode = exitCodeOf(error);
  }
}

await main();
