/** `ostraka recover`: goes on from what is left where a pool has lost the majority of its voters, or all of them. */
import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { systemClock } from '../base/clock.js';
import { OperatingError } from '../base/errors.js';
import { readDefinition } from '../daemon/pool-definition.js';
import { refuseMountedPool } from '../daemon/pool-status.js';
import { giveUpUnknown, Recovery, type RecoveryPlan, type RecoveryReport, type RecoverySource } from '../daemon/recover-pool.js';
import type { Context } from './context.js';
import { formatBytes, type Output } from './output.js';

/** Files that are shown; the others stand in a file. */
const SHOWN_FILES = 50;
/** A line about what goes on, at most so often. */
const NOTE_MS = 2000;

interface RecoverArguments {
  readonly fromSnapshot?: string;
  readonly discardUnknown?: boolean;
  readonly yes?: boolean;
}

const HELP = `
A pool needs a majority of its voters to be written to. First try to bring back
the disks that are missing: "ostraka status NAME" names them, and mounting the
pool with them loses nothing.

Without them, recover goes on from the most advanced voter that is left. With
--from-snapshot it goes back to a snapshot of the index, when not one is left.
Either way it first says what may be missing, and changes nothing until it is
run with --yes. Then it makes new voters, reads all disks to find the data
again, and names the files of which data is gone. It frees nothing: data that
no name leads to any more is kept until --discard-unknown.

Example:
  ostraka recover photos
  ostraka recover photos --yes
  ostraka recover photos --from-snapshot latest --yes
  ostraka check photos
  ostraka recover photos --discard-unknown --yes
`;

export function addRecover(program: Command, context: Context): void {
  const { folders, output } = context;
  program
    .command('recover')
    .description('go on from what is left, without a majority of the voters; says what may be missing first')
    .argument('<NAME>', 'the pool; not mounted')
    .option('--from-snapshot <FILE|latest>', 'from a snapshot or an export, or the newest snapshot on the disks')
    .option('--discard-unknown', 'give up data that an earlier recovery kept because no name leads to it')
    .option('--yes', 'do it')
    .addHelpText('after', HELP)
    .action(async (name: string, options: RecoverArguments) => {
      const definition = await readDefinition(folders, name);
      await refuseMountedPool(folders, definition);
      if (options.discardUnknown === true) {
        if (options.yes !== true) throw notYet('Data that no name leads to would be given up for good.');
        const kept = await giveUpUnknown({ folders, definition, log: quiet, progress: quiet });
        output.line(kept ? 'Its space is given back while the pool is mounted next.' : 'Nothing was kept by a recovery.');
        return;
      }
      const { fromSnapshot } = options;
      const source: RecoverySource =
        fromSnapshot === undefined
          ? { kind: 'survivor' }
          : fromSnapshot === 'latest'
            ? { kind: 'latest' }
            : { kind: 'file', path: resolve(fromSnapshot) };
      await recoverFrom(context, name, source, options.yes === true);
    });
}

const quiet = (): void => undefined;

function notYet(what: string): OperatingError {
  return new OperatingError('EALREADY', `${what} Nothing was changed.`, { hint: 'Run it again with --yes to do it.' });
}

/** Plans, says so, and with `yes` does it. Also what `index import` does. */
export async function recoverFrom({ folders, output }: Context, name: string, source: RecoverySource, yes: boolean): Promise<void> {
  const definition = await readDefinition(folders, name);
  await refuseMountedPool(folders, definition);
  const recovery = new Recovery({ folders, definition, source, log: quiet, progress: noteNowAndThen(output) });
  const plan = await recovery.plan();
  printPlan(output, plan);
  if (!yes) {
    await recovery.forget();
    throw notYet('That is what would be done.');
  }
  const report = await recovery.carryOut();
  await recovery.forget();
  await printReport(output, name, report, join(folders.state, `recover-${name}-lost-files.txt`));
}

function noteNowAndThen(output: Output): (text: string) => void {
  let last = -Infinity;
  return (text) => {
    if (systemClock.monotonicMs() - last < NOTE_MS) return;
    last = systemClock.monotonicMs();
    output.note(text);
  };
}

function printPlan(output: Output, { from, about, rows, voters, newVoters }: RecoveryPlan): void {
  output.line(`The index comes from ${from}: ${rows} rows, made ${about.created}, log position ${about.position} of epoch ${about.epoch}.`);
  output.line('Voters as they are:');
  for (const voter of voters) output.line(`  ${voter}`);
  output.line('What may be missing:');
  output.line('  - everything that was written, renamed or deleted after that position: new files are not there, deleted ones are again;');
  output.line(
    '  - data that was given back since, of files that are there again: they are named when it is done, and reading them gives EIO.',
  );
  if (newVoters) {
    output.line('New voters are made of the disks that are there. Disks that are away follow when they return; do not bring back only');
    output.line('those, without the ones of today: they would go on with the old history by themselves.');
  }
  output.line('Data that no name leads to is kept.');
}

async function printReport(output: Output, name: string, report: RecoveryReport, listPath: string): Promise<void> {
  const { colours } = output;
  output.line();
  output.line(colours.green(`Pool "${name}" can be mounted again.`));
  output.line(
    `${report.rows} rows; ${report.blobs} blobs, ${report.records} records on the disks, ${report.movedShards} found in other places.`,
  );
  if (report.endangeredBlobs > 0)
    output.line(`${report.endangeredBlobs} blobs lack shards; heal makes them anew when the pool is mounted.`);
  if (report.waitingBlobs > 0) output.line(`${report.waitingBlobs} blobs cannot be read until more disks are back.`);
  if (report.unknownBlobs > 0)
    output.line(
      `About ${report.unknownBlobs} blobs, ${formatBytes(report.unknownBytes)}, were written after that index and cannot be named. They are kept: ostraka recover ${name} --discard-unknown gives them up.`,
    );
  if (report.setAside.length > 0) output.line(`Old logs are kept at ${report.setAside.join(', ')}; remove them when all is well.`);
  if (report.lostBlobCount === 0) {
    output.line('No file has lost data.');
    return;
  }
  const paths = report.lostFiles.map((path) => `/${Buffer.from(path, 'latin1').toString('utf8')}`);
  output.line(colours.red(`${paths.length} files have lost data (${report.lostBlobCount} blobs); reading it gives EIO:`));
  for (const path of paths.slice(0, SHOWN_FILES)) output.line(`  ${path}`);
  await writeFile(listPath, paths.map((path) => path + '\n').join(''), { mode: 0o600 });
  output.line(`All of them are listed in ${listPath}`);
}
