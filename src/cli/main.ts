#!/usr/bin/env node
/** The `ostraka` command: one file a verb beside this one. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';
import { packageRoot } from '../base/package-root.js';
import { ownFolders } from '../daemon/folders.js';
import type { Context } from './context.js';
import { addCheck } from './check.js';
import { addDemo } from './demo.js';
import { addDisk } from './disk.js';
import { exitCodeHelp, exitCodeOf } from './exit-codes.js';
import { addHeal } from './heal.js';
import { addImport } from './import.js';
import { addInit } from './init.js';
import { addInstallHelper } from './install-helper.js';
import { addList } from './list.js';
import { addMount } from './mount.js';
import { addMountHelpers } from './mount-helper.js';
import { Output } from './output.js';
import { addRebalance } from './rebalance.js';
import { addScrub } from './scrub.js';
import { addSettings } from './settings.js';
import { addStatus } from './status.js';
import { addSync } from './sync.js';
import { addSystemd } from './systemd.js';
import { addUnmount } from './unmount.js';

function version(): string {
  return (JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { version: string }).version;
}

function program(context: Context): Command {
  const command = new Command('ostraka')
    .description('Turns a handful of ordinary mounted disks into one drive that loses nothing.')
    .version(version())
    .exitOverride()
    .showSuggestionAfterError()
    .addHelpText('after', () => exitCodeHelp());
  for (const add of [
    addInit,
    addMount,
    addUnmount,
    addStatus,
    addList,
    addImport,
    addSync,
    addDisk,
    addHeal,
    addScrub,
    addRebalance,
    addSettings,
    addCheck,
    addSystemd,
    addInstallHelper,
    addMountHelpers,
    addDemo,
  ])
    add(command, context);
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
    await program({ folders: ownFolders(), output }).parseAsync();
  } catch (error) {
    // commander has said what is wrong with the command line itself.
    if (!(error instanceof CommanderError)) output.error(error);
    process.exitCode = exitCodeOf(error);
  }
}

await main();
