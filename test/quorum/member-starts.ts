/** Starts of a pool with any of its disks, after changes of its voters: what a start that leads must find, and what one after it must find again. */
import { AssertionError } from '../../src/base/assert.js';
import { nothing, Run, Violation, type Scenario } from './explorer.js';
import type { MemberWorld } from './member-world.js';
import { settle, subsets } from './world.js';

/** Runs a scenario for so many calls that change disks, then cuts the power. False when it ended before. */
export async function driven(world: MemberWorld, run: Run, scenario: Scenario, steps: number): Promise<boolean> {
  let ended = false;
  let failure: unknown;
  world.held = true;
  void scenario(run).then(
    () => (ended = true),
    (thrown: unknown) => (failure = thrown),
  );
  for (let step = 0; step < steps && !ended;) {
    await settle();
    if (failure instanceof AssertionError || failure instanceof Violation) throw failure;
    const next = world.pending.shift();
    if (next === undefined) break;
    if (run.exploring) step++;
    next.run();
  }
  await settle();
  world.crash(true, () => () => false);
  return !ended;
}

export interface StartCounts {
  starts: number;
  led: number;
}

/** Opens copies with each set of disks; where one leads, appends, and opens that again with each other set. @throws Violation */
export async function anyStart(world: MemberWorld, before: Run): Promise<StartCounts> {
  const counts: StartCounts = { starts: 0, led: 0 };
  const sets = world.voters.flatMap((count) => subsets(world.voters, count));
  for (const there of sets) {
    const copy = world.copy();
    const found = await start(copy, there, counts);
    if (found === undefined) continue;
    const acknowledged = before.appended.slice(0, before.acknowledged);
    if (acknowledged.some((text, index) => found[index] !== text))
      throw new Violation(`a start with [${there.join()}] found [${found.join()}] of [${acknowledged.join()}]`);
    // One disk alone leads only where there is no other voter.
    for (const others of sets.filter(({ length }) => length > 1)) {
      const later = copy.copy();
      const again = await start(later, others, counts);
      if (again === undefined) continue;
      const wanted = [...found, 'then'];
      if (wanted.some((text, index) => again[index] !== text))
        throw new Violation(`a start with [${others.join()}] after [${there.join()}] found [${again.join()}] of [${wanted.join()}]`);
    }
  }
  return counts;
}

/** What a start that leads finds; it appends `then`, and loses power. */
async function start(world: MemberWorld, there: readonly number[], counts: StartCounts): Promise<readonly string[] | undefined> {
  counts.starts++;
  const run = new Run(world, nothing, {});
  try {
    const missing = world.voters.filter((number) => !there.includes(number));
    const log = await run.open({ missing });
    if (!log.writable) return undefined;
    counts.led++;
    const found = [...world.working.state.data];
    run.append('then');
    await run.durable();
    return found;
  } catch (thrown) {
    if (thrown instanceof AssertionError) throw thrown;
    return undefined;
  } finally {
    world.crash(true, () => () => false);
  }
}
