/** `ostraka check`: looks whether everything in a pool is as it should be (fsck), and repairs what can be repaired. */
import type { Command } from 'commander';
import type { ControlClient } from '../daemon/control-client.js';
import type { CheckResult, FindingList, FindingReport } from '../daemon/check-job.js';
import type { Context } from './context.js';
import { exitCodes } from './exit-codes.js';
import type { Output } from './output.js';
import { requestJob, watchJob } from './watch-job.js';
import { withPool } from './with-pool.js';

interface CheckArguments {
  readonly repair?: boolean;
  readonly dryRun?: boolean;
  readonly data?: boolean;
  readonly quick?: boolean;
  readonly json?: boolean;
}

const HELP = `
What is checked:
  Every row of the index can be read; names, directories, link counts and lost
  files; that each file's data is accounted for, once, and nothing is both in
  use and about to be given back; that every record which the index points to
  is in its place on its disk. A pool in use is checked as it was at one
  moment, and goes on meanwhile.

What --repair does:
  It needs the pool unmounted, says each step before it does it, and checks
  again at the end. It drops nothing that holds data: files that lost their
  name appear in /lost+found under the number of their inode. What has two
  possible truths is told and left as it is. Missing shards are recorded; heal
  makes them anew when the pool is mounted next.

Exit codes:
  0 nothing is wrong; 7 something is wrong, and still so; 8 something was wrong,
  and all of it was repaired. Others as "ostraka --help" has them.

Example:
  ostraka check photos
  ostraka unmount photos && ostraka check photos --repair
`;

export function addCheck(program: Command, context: Context): void {
  program
    .command('check')
    .description('check whether everything in a pool is as it should be, mounted or not (fsck)')
    .argument('<NAME>', 'the pool')
    .option('--repair', 'repair what was found; the pool must not be mounted')
    .option('--dry-run', 'with --repair: only say what would be done')
    .option('--data', 'read and verify all data too, not only where each record begins')
    .option('--quick', 'the index alone: look at no record on the disks')
    .option('--json', 'as JSON')
    .addHelpText('after', HELP)
    .action(async (name: string, options: CheckArguments) => {
      const code = await runCheck(context, name, options);
      if (code !== 0) process.exitCode = code;
    });
}

async function runCheck(context: Context, name: string, options: CheckArguments): Promise<number> {
  const { output } = context;
  const depth = options.data === true ? 'frames' : options.quick === true ? 'none' : 'headers';
  const mends = options.repair === true && options.dryRun !== true;
  return withPool(
    context,
    name,
    'check',
    async (client) => {
      await requestJob(client, 'check', 'start', { depth, repair: mends, says: mends });
      const between = mends ? sayer(client, output, options.json === true) : undefined;
      const { job } = await watchJob(client, 'check', between === undefined ? {} : { between });
      const result = job.result as CheckResult;
      const found = await all(client, 'found');
      const repaired = await all(client, 'repaired');
      const left = mends ? await all(client, 'left') : found;
      if (options.json === true) output.json({ ...result, findings: found, repairs: repaired, findings_left: left });
      else print(output, name, result, found, repaired, left, options);
      if (result.total === 0) return exitCodes.ok.code;
      return result.left === 0 ? exitCodes.repaired.code : exitCodes.found.code;
    },
    { quiet: true },
  );
}

/** Says each repair, and why, before the daemon makes it: it waits until the steps of a stage have been fetched. */
function sayer(client: ControlClient, output: Output, json: boolean): (pause: () => void) => Promise<void> {
  let said = 0;
  return async (pause) => {
    const steps = await all(client, 'steps', said);
    if (steps.length === 0) return;
    pause();
    said += steps.length;
    for (const step of steps) {
      const text = `repairing ${step.code}: ${step.message}${where(step)}: ${step.repair ?? ''}`;
      if (json) output.note(text);
      else output.line(text);
    }
  };
}

/** All findings of a list that the daemon keeps, from one of them on. */
async function all(client: ControlClient, list: FindingList, first = 0): Promise<FindingReport[]> {
  const findings: FindingReport[] = [];
  for (;;) {
    const page = (await client.request({ verb: 'findings', list, from: first + findings.length })) as {
      findings: FindingReport[];
      total: number;
    };
    findings.push(...page.findings);
    if (page.findings.length === 0 || first + findings.length >= page.total) return findings;
  }
}

function print(
  output: Output,
  name: string,
  result: CheckResult,
  found: readonly FindingReport[],
  repaired: readonly FindingReport[],
  left: readonly FindingReport[],
  options: CheckArguments,
): void {
  const { colours } = output;
  const scope = !result.records ? '' : `, ${result.records.blobs} blobs on the disks`;
  const looked = `${result.rows} rows of the index (log position ${result.position})${scope}`;
  if (result.total === 0) {
    output.line(colours.green(`Pool "${name}" is as it should be: ${looked}.`));
    return;
  }
  const mends = options.repair === true;
  for (const finding of found) printFinding(output, finding, mends && options.dryRun === true ? 'would' : mends ? 'none' : 'could');
  if (result.total > found.length) output.line(`… and ${result.total - found.length} more.`);
  if (repaired.length > 0) {
    output.line();
    output.line(colours.bold('Repaired:'));
    for (const finding of repaired) output.line(`  ${finding.message}${where(finding)}: ${finding.repair ?? ''}.`);
  }
  output.line();
  output.line(`Checked ${looked}: ${result.total} found, ${result.repaired} repairs made, ${result.left} left.`);
  if (mends && options.dryRun !== true && left.length > 0) {
    output.line(colours.red('These are left, and need you:'));
    for (const finding of left) printFinding(output, finding, 'none');
  }
  if (!mends && found.some(({ repair }) => repair !== undefined))
    output.line(`What can be repaired is by: ostraka unmount ${name}; ostraka check ${name} --repair`);
}

function printFinding(output: Output, finding: FindingReport, repair: 'none' | 'could' | 'would'): void {
  const { colours } = output;
  const word = finding.severity === 'error' ? colours.red('error') : colours.yellow('warning');
  output.line(`${word} ${finding.code}: ${finding.message}${where(finding)}`);
  if (repair === 'none') return;
  if (finding.repair === undefined) output.line('    cannot be repaired by itself');
  else output.line(`    ${repair === 'would' ? 'would be repaired' : 'repair'}: ${finding.repair}`);
}

function where({ paths }: FindingReport): string {
  const shown = paths.map((path) => `/${Buffer.from(path, 'latin1').toString('utf8')}`);
  return shown.length === 0 ? '' : ` (${shown.join(', ')})`;
}
