/** `ostraka status`: disks, health and space of a pool, for people or as JSON. */
import type { Command } from 'commander';
import { definedPools, readDefinition } from '../daemon/pool-definition.js';
import { poolStatus } from '../daemon/pool-status.js';
import { jobOf, type JobReport, type StatusReport } from '../daemon/status-report.js';
import { isActive } from '../durability/progress.js';
import type { Context } from './context.js';
import { printFrontEnd } from './front-end-status.js';
import { countText } from './heal.js';
import { formatBytes, formatLevel, type Output } from './output.js';
import { describeJob, lastRunText } from './watch-job.js';

export function addStatus(program: Command, { folders, output }: Context): void {
  program
    .command('status')
    .description('show the disks, health and space of a pool, or of all pools known here')
    .argument('[NAME]', 'the pool')
    .option('-v, --verbose', 'also what was agreed with the kernel, requests by operation, and how long they took')
    .option('--json', 'as JSON with stable names; a list unless a pool is named')
    .addHelpText('after', '\nExample:\n  ostraka status photos\n  ostraka status photos --json | jq .endangered_blobs\n')
    .action(async (name: string | undefined, options: { json?: boolean; verbose?: boolean }) => {
      const names = name === undefined ? await definedPools(folders) : [name];
      const reports: StatusReport[] = [];
      for (const each of names) reports.push(await poolStatus(folders, await readDefinition(folders, each)));
      if (options.json === true) output.json(name === undefined ? reports : reports[0]);
      else if (reports.length === 0) output.line('No pools are known here. "ostraka init" makes one, "ostraka import" takes one over.');
      else
        for (const [index, report] of reports.entries()) {
          if (index > 0) output.line();
          print(output, report);
          if (options.verbose === true) printFrontEnd(output, report.front_end);
        }
    });
}

function print(output: Output, report: StatusReport): void {
  const { colours } = output;
  const good = report.health === 'good';
  const mark = (text: string, fine: boolean): string => (fine ? colours.green(text) : colours.red(text));
  const fields: [string, string][] = [
    ['pool', colours.bold(report.pool)],
    ['state', report.state === 'mounted' ? `mounted at ${report.mountpoint ?? '?'}` : stateText(report)],
  ];
  if (report.health !== 'unknown') fields.push(['health', mark(report.health, good)]);
  fields.push(['code', report.code]);
  if (report.log !== null) {
    fields.push(
      [
        'space',
        `${formatBytes(report.used_bytes)} used, ${formatBytes(report.free_bytes)} free of ${formatBytes(report.usable_bytes)} usable`,
      ],
      ['objects', String(report.objects)],
      ['endangered', report.endangered_blobs === 0 ? 'nothing' : colours.red(`${report.endangered_blobs} blobs lack shards`)],
      ['counted', report.last_count === null ? 'not yet ("ostraka heal" counts all blobs)' : lastCountText(report.last_count)],
      ['log', `position ${report.log.position}, durable to ${report.log.durable_position}, epoch ${report.log.epoch}`],
      ['daemon', `process ${report.daemon_pid ?? '?'}`],
    );
  }
  for (const [label, text] of fields) output.line(`${label.padStart(10)}  ${text}`);
  printJobs(output, report.jobs);
  for (const message of report.messages) output.line(`${' '.repeat(12)}${colours.yellow(message)}`);
  output.line();
  output.table(
    ['DISK', 'STATE', 'USED', 'SHARDS', 'FREE', 'LEVEL', 'ERRORS', 'VOTER', 'ZONE'],
    report.disks.map((disk) => {
      const voter = report.voters.find(({ path }) => path === disk.path);
      const there = disk.present;
      return [
        disk.role === 'witness' ? `${disk.path} (witness)` : disk.path,
        mark(disk.state, disk.state === 'online'),
        there && disk.role === 'data' && report.log !== null ? formatBytes(disk.used_bytes) : '-',
        disk.shard_bytes === null ? '-' : formatBytes(disk.shard_bytes),
        there ? formatBytes(disk.free_bytes) : '-',
        formatLevel(disk.level),
        disk.errors === 0 ? '0' : colours.red(String(disk.errors)),
        voter === undefined ? '-' : voter.state === 'unknown' ? 'yes' : mark(voter.state, voter.state === 'online'),
        disk.zone ?? '-',
      ];
    }),
    [2, 3, 4, 5, 6],
  );
  const reasons = report.disks.filter((disk) => disk.reason !== null);
  if (reasons.length > 0) output.line();
  for (const disk of reasons) output.line(`${disk.path}: ${disk.reason ?? ''}`);
}

function lastCountText(count: NonNullable<StatusReport['last_count']>): string {
  const { whole, blobs, endangered_blobs: endangeredBlobs, out_blobs: outBlobs, counted_at: countedAt } = count;
  return countText({ whole, blobs, endangeredBlobs, outBlobs, countedAt });
}

/** Jobs under way, and how the last scrub ended. */
function printJobs(output: Output, jobs: readonly JobReport[]): void {
  for (const job of jobs) {
    const active = isActive(job);
    if (active) output.line(`${job.kind.padStart(10)}  ${describeJob(jobOf(job))}`);
    else if (job.kind === 'scrub') output.line(`${job.kind.padStart(10)}  ${lastRunText(job)}`);
    else if (job.state === 'failed') output.line(`${job.kind.padStart(10)}  ${output.colours.yellow(`failed: ${job.message ?? ''}`)}`);
  }
}

function stateText(report: StatusReport): string {
  if (report.state === 'read-only') return `read-only, mounted at ${report.mountpoint ?? '?'}`;
  if (report.state === 'dead') return `its daemon died; the mount at ${report.mountpoint ?? '?'} is cleaned up by the next "ostraka mount"`;
  return report.work === null ? report.state : `${report.state} (${report.work} running)`;
}
