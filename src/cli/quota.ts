/** `ostraka quota`: limits on how much, and how many files, are below a directory. */
import type { Command } from 'commander';
import { systemClock } from '../base/clock.js';
import { OperatingError } from '../base/errors.js';
import type { ControlClient } from '../daemon/control-client.js';
import { definedPools, readDefinition } from '../daemon/pool-definition.js';
import { poolStatus } from '../daemon/pool-status.js';
import type { QuotaAnswer, QuotaReport } from '../daemon/quota-requests.js';
import { sizeBytes } from '../daemon/settings.js';
import type { Context } from './context.js';
import { formatBytes, type Output } from './output.js';
import { withPath } from './path-on-pool.js';
import { withPool } from './with-pool.js';

/** How often it is asked whether everything is counted. */
const LOOK_MS = 200;

const ABOUT = `
A quota limits everything below a directory, and the directory itself: its bytes (of content that is stored: without holes, and
before redundancy), its inodes (files, directories, links), or both. What would exceed it is refused with EDQUOT, "Disk quota exceeded":
by the call that makes something, or by write, fsync or close. Nothing that close said yes to is lost. Deleting, and writing over what is
there, always works. df on the directory shows the quota's size and what is left of it.

Quotas may lie within quotas: what is below counts in all of them, and each limits. The root of the mount may have one, too.

Numbers are exact at any time, also after a crash; "ostraka check" compares them with what is there.
`;

export function addQuota(program: Command, context: Context): void {
  const quota = program.command('quota').description('limit how much, and how many files, are below a directory');
  quota.addHelpText('after', `${ABOUT}\nExample:\n  ostraka quota set /mnt/photos/anna --bytes 10G --inodes 100000\n`);
  addSet(quota, context);
  addShow(quota, context);
  addList(quota, context);
  addClear(quota, context);
}

/** null: none; undefined: not given. @throws OperatingError EINVAL */
function limit(option: string, text: string | undefined, parse: (text: string) => number | undefined): number | null | undefined {
  if (text === undefined) return undefined;
  if (text === 'none') return null;
  const value = parse(text);
  if (value !== undefined && Number.isSafeInteger(value)) return value;
  throw new OperatingError('EINVAL', `"${text}" is not a value of ${option}`, {
    hint: option === '--bytes' ? 'Give a size such as 500M, 10G or 1.5T, or none.' : 'Give a number such as 100000, or none.',
  });
}

function addSet(quota: Command, { folders, output }: Context): void {
  quota
    .command('set')
    .description('limit what is below a directory, or change its limits')
    .argument('<DIR>', 'a directory on a mounted pool')
    .option('--bytes <SIZE>', 'at most so many bytes: 500M, 10G, 1.5T (K, M, G … are powers of 1024); none: no limit')
    .option('--inodes <NUMBER>', 'at most so many files, directories and links, DIR included; none: no limit')
    .option('--no-wait', 'return at once: what is in DIR already is counted in the background')
    .option('--json', 'as JSON')
    .addHelpText(
      'after',
      `
What is not given stays as it is. A limit may be below what is there already: nothing more may come then, until enough is deleted.
With "none" for both a quota counts, and limits nothing.

What is in DIR already is counted while it is used, and the command waits for that; a crash or an unmount only interrupts it. A file that has
names below DIR and elsewhere counts below DIR.

Between quotas, a file is renamed together with its account, and so is a directory of up to 256 files or one with a quota of its own; EXDEV is the
answer for a larger one, so that mv copies it, and for a hard link from one quota into another.

Example:
  ostraka quota set /mnt/photos/anna --bytes 10G --inodes 100000
  ostraka quota set /mnt/photos/anna --inodes none
`,
    )
    .action(async (dir: string, options: { bytes?: string; inodes?: string; wait: boolean; json?: boolean }) => {
      const bytes = limit('--bytes', options.bytes, sizeBytes);
      const inodes = limit('--inodes', options.inodes, (text) => (/^\d+$/.test(text) ? Number(text) : undefined));
      if (bytes === undefined && inodes === undefined)
        throw new OperatingError('EINVAL', 'no limit is given', { hint: 'Give --bytes, --inodes, or both.' });
      const set = await withPath(folders, dir, async (client, { ino, isDirectory }) => {
        if (!isDirectory)
          throw new OperatingError('ENOTDIR', `${dir} is not a directory`, { path: dir, hint: 'Quotas are on directories.' });
        return own(await ask(client, { verb: 'quota-set', ino, bytes, inodes }), options.wait ? client : undefined, ino);
      });
      if (options.json === true) output.json(set);
      else print(output, [set]);
    });
}

/** The quota of the directory itself. With `wait`, once everything is counted. */
async function own(answer: QuotaAnswer, wait: ControlClient | undefined, ino: number): Promise<QuotaReport> {
  for (let { quotas } = answer; ;) {
    const [first] = quotas;
    if (first?.directory !== ino) throw new OperatingError('ENOENT', 'somebody else has cleared the quota, or removed the directory');
    if (wait === undefined || first.state === 'active') return first;
    await systemClock.sleep(LOOK_MS);
    ({ quotas } = await ask(wait, { verb: 'quota-show', ino }));
  }
}

function addShow(quota: Command, { folders, output }: Context): void {
  quota
    .command('show')
    .description('show the quotas that a directory or file counts in, the innermost first')
    .argument('<DIR>', 'a directory or file on a mounted pool')
    .option('--json', 'as JSON')
    .addHelpText('after', '\nExample:\n  ostraka quota show /mnt/photos/anna\n')
    .action(async (path: string, options: { json?: boolean }) => {
      const { quotas } = await withPath(folders, path, (client, { ino }) => ask(client, { verb: 'quota-show', ino }));
      if (options.json === true) output.json(quotas);
      else if (quotas.length === 0) output.line(`${path} is below no quota.`);
      else print(output, quotas);
    });
}

function addList(quota: Command, context: Context): void {
  const { output } = context;
  quota
    .command('list')
    .description('show all quotas of a pool, mounted or not; without NAME, of all pools that are mounted')
    .argument('[NAME]', 'the pool')
    .option('--json', 'as JSON')
    .addHelpText('after', '\nExample:\n  ostraka quota list photos\n')
    .action(async (name: string | undefined, options: { json?: boolean }) => {
      const found: QuotaReport[] = [];
      for (const pool of name === undefined ? await mountedPools(context) : [name])
        found.push(...(await withPool(context, pool, 'quota list', all, { quiet: true })));
      if (options.json === true) output.json(found);
      else if (found.length === 0) output.line('There are no quotas. "ostraka quota set" makes one.');
      else print(output, found);
    });
}

async function mountedPools({ folders }: Context): Promise<string[]> {
  const mounted: string[] = [];
  for (const name of await definedPools(folders))
    if ((await poolStatus(folders, await readDefinition(folders, name))).mountpoint !== null) mounted.push(name);
  return mounted;
}

async function all(client: ControlClient): Promise<QuotaReport[]> {
  const found: QuotaReport[] = [];
  for (let from: number | null = 0; from !== null;) {
    const page: QuotaAnswer = await ask(client, { verb: 'quota-list', from });
    found.push(...page.quotas);
    from = page.next;
  }
  return found;
}

function addClear(quota: Command, { folders, output }: Context): void {
  quota
    .command('clear')
    .description("take a directory's quota away; nothing else changes")
    .argument('<DIR>', 'a directory on a mounted pool')
    .addHelpText('after', '\nQuotas around it and within it stay.\n\nExample:\n  ostraka quota clear /mnt/photos/anna\n')
    .action(async (dir: string) => {
      await withPath(folders, dir, (client, { ino }) => ask(client, { verb: 'quota-clear', ino }));
      output.line(`${dir} has no quota of its own any more.`);
    });
}

async function ask(client: ControlClient, request: Parameters<ControlClient['request']>[0]): Promise<QuotaAnswer> {
  return (await client.request(request)) as QuotaAnswer;
}

function share(used: number, max: number | null): string {
  return max === null ? '-' : max === 0 ? 'full' : `${Math.floor((100 * used) / max)} %`;
}

function print(output: Output, quotas: readonly QuotaReport[]): void {
  const { colours } = output;
  const full = (text: string, used: number, max: number | null): string => (max !== null && used >= max ? colours.red(text) : text);
  output.table(
    ['DIRECTORY', 'BYTES', 'LIMIT', 'USED', 'INODES', 'LIMIT', 'USED', 'STATE'],
    quotas.map((quota) => [
      quota.path,
      formatBytes(quota.bytes_used),
      quota.bytes_limit === null ? '-' : formatBytes(quota.bytes_limit),
      full(share(quota.bytes_used, quota.bytes_limit), quota.bytes_used, quota.bytes_limit),
      String(quota.inodes_used),
      quota.inodes_limit === null ? '-' : String(quota.inodes_limit),
      full(share(quota.inodes_used, quota.inodes_limit), quota.inodes_used, quota.inodes_limit),
      quota.state,
    ]),
    [1, 2, 3, 4, 5, 6],
  );
}
