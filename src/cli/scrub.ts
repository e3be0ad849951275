/** `ostraka scrub`: reads everything on the disks of a pool, and has repaired what is damaged. */
import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import { isActive, type JobRun } from '../durability/progress.js';
import type { ScrubResult } from '../durability/scrub.js';
import type { JobAction, JobAnswer } from '../daemon/jobs.js';
import { jobReport } from '../daemon/status-report.js';
import type { Context } from './context.js';
import { formatBytes, type Output } from './output.js';
import { describeJob, formatDuration, formatSince, nowSeconds, parseRate, refuseFailed, requestJob, watchJob } from './watch-job.js';
import { withPool } from './with-pool.js';

const details = `
Reads every record on every disk, in the order of the disk, and verifies each frame of it. Then it holds disks and index against each other both ways:
records that the index names and that are not there are missing, records that nothing names are left over. What is damaged or missing is rebuilt from the
other disks; a damaged record is kept in "damaged/" on its disk for inspection. Nothing is deleted on suspicion.

On an idle pool scrub goes as fast as the disks do. While the pool is used it takes a hundredth of the time, so that nobody waits for it. Repair, drain and
rebalance go first. A scrub survives unmounts and crashes: it goes on where it was with the next mount.

On a mounted pool the command starts scrub and returns, unless --watch is given. A pool that is not mounted is opened for it, and the command stays to the end.
A scrub that runs already is not started twice; --rate changes its bound.

Examples:
  ostraka scrub photos                   start it, or see how far it is
  ostraka scrub photos --watch           and stay, with a bar
  ostraka scrub photos --rate 200M       at most 200 MiB a second, of all disks together
  ostraka scrub photos --pause           until --resume, also over unmounts
  ostraka scrub photos --status --json   how far it is, and its last runs
`;

interface ScrubArguments {
  readonly watch?: boolean;
  readonly rate?: number;
  readonly pause?: boolean;
  readonly resume?: boolean;
  readonly cancel?: boolean;
  readonly status?: boolean;
  readonly json?: boolean;
}

function rateOption(text: string): number {
  const rate = parseRate(text);
  if (rate === undefined) throw new InvalidArgumentError('A rate is a number of bytes a second, such as 200M.');
  return rate;
}

/** What the options ask for. */
function actionOf(options: ScrubArguments): JobAction {
  if (options.pause === true) return 'pause';
  if (options.resume === true) return 'resume';
  if (options.cancel === true) return 'cancel';
  return options.status === true ? 'status' : 'start';
}

export function addScrub(program: Command, context: Context): void {
  program
    .command('scrub')
    .description('read and verify everything on the disks, and repair what is damaged')
    .argument('<NAME>', 'the pool')
    .option('--watch', 'stay and show how far it is, until it ends')
    .option('--rate <BYTES>', 'read at most so much a second (K, M, G); 0 for no bound', rateOption)
    .option('--pause', 'interrupt it')
    .option('--resume', 'go on')
    .option('--cancel', 'end it; the next one begins anew')
    .option('--status', 'start nothing, show how far it is and the last runs')
    .option('--json', 'as JSON')
    .addHelpText('after', details)
    .action(async (name: string, options: ScrubArguments) => {
      const { output } = context;
      const action = actionOf(options);
      await withPool(context, name, 'scrub', async (client, { unmounted }) => {
        const rate = options.rate === undefined ? {} : { rate: options.rate === 0 ? null : options.rate };
        let answer = await requestJob(client, 'scrub', action, action === 'start' ? rate : undefined);
        const stays = (action === 'start' || action === 'resume') && (options.watch === true || unmounted);
        if (stays || (options.watch === true && isActive(answer.job))) answer = await watchJob(client, 'scrub');
        if (options.json === true) output.json({ job: jobReport(answer.job), history: answer.history });
        else print(output, answer);
        if (stays) refuseFailed(answer);
      });
    });
}

function print(output: Output, { job, history }: JobAnswer): void {
  if (isActive(job)) output.line(`scrub: ${describeJob(job)}`);
  else if (job.state === 'idle') output.line('This pool was never scrubbed.');
  else if (job.result !== null) printResult(output, job.result as ScrubResult);
  else output.line(`The last scrub ${job.state === 'failed' ? `failed: ${job.message ?? ''}` : 'was cancelled.'}`);
  if (history.length === 0) return;
  output.line();
  output.table(
    ['FINISHED', 'TOOK', 'READ', 'RECORDS', 'BAD', 'MISSING', 'REPAIRED', 'LEFT OVER', 'OUTCOME'],
    history.map((run) => historyRow(run)),
    [2, 3, 4, 5, 6, 7],
  );
}

function historyRow(run: JobRun): string[] {
  const found = run.result as ScrubResult | null;
  const count = (of: (result: ScrubResult) => number): string => (found === null ? '-' : String(of(found)));
  return [
    formatSince(run.finishedAt, nowSeconds()),
    formatDuration(run.finishedAt - run.startedAt),
    formatBytes(run.doneBytes),
    String(run.doneItems),
    count(({ badRecords }) => badRecords),
    count(({ missingRecords }) => missingRecords),
    count(({ repairedRecords }) => repairedRecords),
    count(({ unreferencedRecords }) => unreferencedRecords),
    run.message ?? run.outcome,
  ];
}

function printResult(output: Output, found: ScrubResult): void {
  const { colours } = output;
  output.line(
    `${found.disks} disks read: ${formatBytes(found.bytes)} in ${found.records} records of ${found.segments} segments, every frame verified.`,
  );
  const damaged = found.badRecords + found.missingRecords;
  if (damaged === 0) output.line(colours.green('Nothing is damaged or missing.'));
  else {
    const text = `${found.badRecords} records were damaged and ${found.missingRecords} missing; ${found.repairedRecords} are repaired.`;
    output.line(found.repairedRecords >= damaged ? colours.yellow(text) : colours.red(text));
  }
  if (found.unreferencedRecords > 0)
    output.line(`${found.unreferencedRecords} records belong to nothing; they are looked for, and freed when that is certain.`);
  if (found.strayBytes > 0) output.line(`${formatBytes(found.strayBytes)} are no records at all: damaged ones, or what a power cut tore.`);
  for (const { disk, reason } of found.skippedDisks) output.line(colours.red(`Disk ${disk} was left out: ${reason}`));
}
