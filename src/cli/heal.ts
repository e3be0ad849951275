/** `ostraka heal`: makes every blob of a pool whole again, and says whether it is. */
import type { Command } from 'commander';
import type { HealResult } from '../durability/heal.js';
import { isActive } from '../durability/progress.js';
import type { JobAnswer } from '../daemon/jobs.js';
import { jobReport } from '../daemon/status-report.js';
import type { Context } from './context.js';
import type { Output } from './output.js';
import { describeJob, formatSince, nowSeconds, refuseFailed, requestJob, watchJob } from './watch-job.js';
import { withPool } from './with-pool.js';

const details = `
Rebuilds shards that are missing or damaged from the others of their blob, the most endangered blobs first, and only those. The daemon of a mounted
pool does so by itself as soon as disks allow; this command starts it now, and tells how far it is.

A heal is done only when all blobs were counted afterwards and every one was found whole: each of its shards in its place, on a disk that is in. Otherwise
it ends with the exit code of an error, and says what is missing. "ostraka status" shows when the blobs were counted last.

While files are read and written, heal takes a fifth of the time; blobs that could lose nothing more are rebuilt at full speed.

The pool need not be mounted: then this command opens it, and stays until heal is done.

Example:
  ostraka heal photos --watch
`;

interface HealArguments {
  readonly watch?: boolean;
  readonly cancel?: boolean;
  readonly json?: boolean;
}

export function addHeal(program: Command, context: Context): void {
  program
    .command('heal')
    .description('rebuild what is missing or damaged, and count whether all is whole')
    .argument('<NAME>', 'the pool')
    .option('--watch', 'stay and show how far it is, until it ends')
    .option('--cancel', 'end the heal under way; it begins anew when a disk returns')
    .option('--json', 'as JSON')
    .addHelpText('after', details)
    .action(async (name: string, options: HealArguments) => {
      const { output } = context;
      await withPool(context, name, 'heal', async (client, { unmounted }) => {
        if (options.cancel === true) {
          report(output, await requestJob(client, 'heal', 'cancel'), options.json === true);
          return;
        }
        const started = await requestJob(client, 'heal', 'start');
        // Nobody else keeps an unmounted pool open.
        const stays = options.watch === true || unmounted;
        const answer = stays ? await watchJob(client, 'heal') : started;
        report(output, answer, options.json === true);
        if (stays) refuseFailed(answer);
      });
    });
}

function report(output: Output, { job, history }: JobAnswer, asJson: boolean): void {
  if (asJson) {
    output.json({ job: jobReport(job), history });
    return;
  }
  if (isActive(job)) output.line(`heal: ${describeJob(job)}`);
  else if (job.state === 'cancelled') output.line('The heal was cancelled.');
  const found = job.result as HealResult | null;
  if (found !== null) output.line(countText(found));
}

/** "All 12345 blobs are whole, counted 3 min ago." */
export function countText(found: Pick<HealResult, 'whole' | 'blobs' | 'endangeredBlobs' | 'outBlobs' | 'countedAt'>): string {
  const when = `counted ${formatSince(found.countedAt, nowSeconds())}`;
  if (found.whole) return `All ${found.blobs} blobs are whole, ${when}.`;
  const lacking = [
    found.endangeredBlobs > 0 ? `${found.endangeredBlobs} lack shards` : '',
    found.outBlobs > 0 ? `${found.outBlobs} have shards on disks that are out` : '',
  ].filter((part) => part !== '');
  return `Of ${found.blobs} blobs ${lacking.join(', ')}, ${when}.`;
}
