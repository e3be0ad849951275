/** `ostraka rebalance`: makes the disks of a pool about equally full. */
import { InvalidArgumentError, type Command } from 'commander';
import type { JobAction, JobAnswer } from '../daemon/jobs.js';
import { jobReport } from '../daemon/status-report.js';
import { isActive } from '../durability/progress.js';
import type { RebalanceResult } from '../durability/rebalance.js';
import type { Context } from './context.js';
import { formatBytes, type Output } from './output.js';
import { describeJob, parseRate, refuseFailed, requestJob, watchJob } from './watch-job.js';
import { withPool } from './with-pool.js';

const details = `
New data goes to the emptier disks by itself. This command moves old data as well, from fuller to emptier disks, until the parts of them that are in use differ by
less than 5 percent points: after "ostraka disk add", say. Zones are kept, and every blob keeps all its shards while one of them moves. Where code and zones
leave no choice (as many disks as shards, for one) it moves what it can, and says how full the disks are then.

While the pool is used, it takes a hundredth of the time. It survives unmounts and crashes, and gives way to repair and drain. A pool that is not mounted is
opened for it, and the command stays to the end.

Examples:
  ostraka rebalance photos --watch
  ostraka rebalance photos --rate 50M
  ostraka rebalance photos --cancel
`;

interface RebalanceArguments {
  readonly watch?: boolean;
  readonly rate?: number;
  readonly pause?: boolean;
  readonly resume?: boolean;
  readonly cancel?: boolean;
  readonly json?: boolean;
}

function rateOption(text: string): number {
  const rate = parseRate(text);
  if (rate === undefined) throw new InvalidArgumentError('A rate is a number of bytes a second, such as 50M.');
  return rate;
}

function actionOf(options: RebalanceArguments): JobAction {
  if (options.pause === true) return 'pause';
  if (options.resume === true) return 'resume';
  return options.cancel === true ? 'cancel' : 'start';
}

export function addRebalance(program: Command, context: Context): void {
  program
    .command('rebalance')
    .description('move data until the disks are about equally full')
    .argument('<NAME>', 'the pool')
    .option('--watch', 'stay and show how far it is, until it ends')
    .option('--rate <BYTES>', 'move at most so much a second (K, M, G); 0 for no bound', rateOption)
    .option('--pause', 'interrupt it')
    .option('--resume', 'go on')
    .option('--cancel', 'end it; what was moved stays where it is')
    .option('--json', 'as JSON')
    .addHelpText('after', details)
    .action(async (name: string, options: RebalanceArguments) => {
      const { output } = context;
      const action = actionOf(options);
      await withPool(context, name, 'rebalance', async (client, { unmounted }) => {
        const rate = options.rate === undefined ? {} : { rate: options.rate === 0 ? null : options.rate };
        let answer = await requestJob(client, 'rebalance', action, action === 'start' ? rate : undefined);
        const stays = (action === 'start' || action === 'resume') && (options.watch === true || unmounted);
        if (stays) answer = await watchJob(client, 'rebalance');
        if (options.json === true) output.json({ job: jobReport(answer.job), history: answer.history });
        else print(output, answer);
        if (stays) refuseFailed(answer);
      });
    });
}

function print(output: Output, { job }: JobAnswer): void {
  if (isActive(job)) {
    output.line(`rebalance: ${describeJob(job)}`);
    return;
  }
  if (job.state === 'cancelled') output.line('The rebalance was cancelled.');
  const found = job.result as RebalanceResult | null;
  if (found === null) return;
  const even = found.even ? 'The disks are even' : 'The disks are as even as the code and its zones allow';
  output.line(`${even}; ${formatBytes(found.movedBytes)} in ${found.movedShards} shards were moved.`);
  const percent = (level: number): string => `${(level * 100).toFixed(1)} %`;
  output.table(
    ['DISK', 'BEFORE', 'NOW'],
    found.levels.map(({ disk, before, after }) => [String(disk), percent(before), percent(after)]),
    [0, 1, 2],
  );
}
