/**
 * Runs the cases against a target, a directory of some file system. A case is right on every target, but for those in the target's list of exceptions: these must
 * fail, with the message that the list says. What the cases left behind is described at the end, for a comparison after another mount.
 */
import type { Test } from 'tap';
import { Mismatch, Processes, Sandbox } from './sandbox.js';
import { ROOT } from './process.js';
import { User } from './user.js';

export interface Case {
  /** Reads like a sentence of the manual. */
  readonly name: string;
  readonly body: (s: Sandbox) => Promise<void>;
  /** Takes long: not among a few. */
  readonly slow: boolean;
}

/** Cases of one family of calls. */
export interface Family {
  readonly name: string;
  readonly cases: readonly Case[];
}

/** Adds one case to a family. */
export type Add = (name: string, body: Case['body'], how?: { readonly slow: boolean }) => void;

/** Collects the cases of a family; names within one are unique. */
export function family(name: string, fill: (add: Add) => void): Family {
  const cases: Case[] = [];
  const names = new Set<string>();
  fill((caseName, body, { slow } = { slow: false }) => {
    if (names.has(caseName)) throw new Error(`two cases of ${name} are called "${caseName}"`);
    names.add(caseName);
    cases.push({ name: caseName, body, slow });
  });
  return { name, cases };
}

/** Where a target differs on purpose. */
export interface Exception {
  /** Which cases, by `family: name`. */
  readonly cases: RegExp;
  /** What the failing case then says. */
  readonly says: RegExp;
  /** For the table of differences. */
  readonly operation: string;
  readonly does: string;
  readonly reason: string;
}

export interface Target {
  readonly name: string;
  /** An empty directory on the file system. */
  readonly directory: string;
  /** The program made of agent.cc. */
  readonly agent: string;
  readonly exceptions: readonly Exception[];
  /** Of large families, which are made by rule, only each so many; and nothing slow. 1: all there are. */
  readonly every: number;
}

/** Families larger than this are thinned out. */
const LARGE_FAMILY = 60;

/** How often each exception was needed. */
export type Needed = Map<Exception, number>;

async function outcomeOf(theCase: Case, sandbox: Sandbox): Promise<string | undefined> {
  try {
    await theCase.body(sandbox);
    return undefined;
  } catch (error) {
    if (error instanceof Mismatch) return error.message;
    return `broken: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
  } finally {
    await sandbox.leave();
  }
}

/** Runs all cases. Resolves with their number. */
export async function runSuite(t: Test, target: Target, families: readonly Family[]): Promise<number> {
  const processes = new Processes(target.agent);
  const only = process.env.OSTRAKA_POSIX === undefined ? undefined : new RegExp(process.env.OSTRAKA_POSIX);
  const needed: Needed = new Map(target.exceptions.map((exception) => [exception, 0]));
  let count = 0;
  try {
    for (const [at, { name: familyName, cases }] of families.entries()) {
      const step = cases.length > LARGE_FAMILY ? target.every : 1;
      const chosen = cases
        .filter(({ slow }, i) => i % step === 0 && !(slow && target.every > 1))
        .filter(({ name }) => only?.test(`${familyName}: ${name}`) ?? true);
      if (chosen.length === 0) continue;
      await t.test(familyName, async (t) => {
        const folder = `${target.directory}/${at}`;
        const root = new User(processes.get(ROOT));
        await root.mkdir(folder, 0o755);
        for (const [number, theCase] of chosen.entries()) {
          const path = `${folder}/${number}`;
          const made = await root.mkdir(path, 0o777);
          if (made.error !== undefined) throw new Error(`${made.call}: ${made.error}`);
          const failure = await outcomeOf(theCase, new Sandbox(path, processes));
          judge(t, `${familyName}: ${theCase.name}`, failure, needed);
          count++;
        }
      });
    }
  } finally {
    await processes.end();
  }
  if (only === undefined && target.every === 1)
    for (const [{ operation, does }, times] of needed) t.ok(times > 0, `the exception is needed: ${operation}: ${does} (${times} cases)`);
  return count;
}

/**
 * Runs cases of a mount that is read-only: `prepare` fills one directory, `remount` makes the file system read-only, and the cases share what is there. Exceptions
 * hold as in `runSuite`.
 */
export async function runReadOnly(
  t: Test,
  target: Target,
  cases: readonly Case[],
  prepare: Case['body'],
  remount: () => Promise<void>,
): Promise<number> {
  let processes = new Processes(target.agent);
  try {
    const path = `${target.directory}/read-only`;
    const sandbox = new Sandbox(path, processes);
    const made = await new User(processes.get(ROOT)).mkdir(path, 0o777);
    if (made.error !== undefined) throw new Error(`${made.call}: ${made.error}`);
    await prepare(sandbox);
    await processes.end();
    await remount();
    processes = new Processes(target.agent);
    await t.test('a read-only mount', async (t) => {
      for (const theCase of cases)
        judge(t, `a read-only mount: ${theCase.name}`, await outcomeOf(theCase, new Sandbox(path, processes)), new Map());
    });
  } finally {
    await processes.end();
  }
  return cases.length;
}

function judge(t: Test, name: string, failure: string | undefined, needed: Needed): void {
  const exception = [...needed.keys()].find(({ cases }) => cases.test(name));
  if (exception === undefined) {
    if (failure === undefined) t.pass(name);
    else t.fail(`${name}: ${failure}`);
    return;
  }
  needed.set(exception, (needed.get(exception) ?? 0) + 1);
  if (failure !== undefined && exception.says.test(failure)) t.pass(`${name} (differs: ${exception.does})`);
  else t.fail(`${name}: an exception says ${String(exception.says)}, but: ${failure ?? 'it is as stated'}`);
}
