/**
 * The simulation finds bugs: each mutation leaves one rule out, and in histories that aim at it the promise must be seen broken that the rule is there for,
 * and no other. With all rules in force the same histories pass. README.md has the table.
 */
import t from 'tap';
import { run } from './driver.js';
import { mutations, slowReads, type Mutation } from './mutations.js';
import { cutsOnceDurable, profiles, type Profile } from './profiles.js';
import { Violation, type Rule } from './violation.js';

interface Expected {
  readonly invariant: string;
  readonly profile: Profile;
  /** What each is caught by: a rule, and what is said. */
  readonly caught: readonly (readonly [Rule, RegExp])[];
  /** Where the first one is found: few histories notice some of them. */
  readonly from?: number;
  /** What stays with all rules in force. */
  readonly control?: Mutation;
}

const SEEDS_MAX = 40;
const unreadable = /cannot read/;
const behind = /recovered \d+ entries/;

const expected: Readonly<Record<keyof typeof mutations, Expected>> = {
  'write a place once': { invariant: 'I1', profile: profiles.rot, from: 6, caught: [['I1 written once', /is written, after/]] },
  'give each epoch segments of its own': {
    invariant: 'I1',
    profile: profiles.epochs,
    caught: [['I1 written once', /which is of epoch 1|is written, after/]],
  },
  'sync data before the log': { invariant: 'I2', profile: cutsOnceDurable('save', 0), caught: [['bytes', unreadable]] },
  'declare a disk out': {
    invariant: 'I2',
    profile: profiles.degradedWrites,
    caught: [['I2 data before pointer', /no disk was declared out/]],
  },
  'record what is endangered': {
    invariant: 'I2',
    profile: profiles.degradedWrites,
    caught: [
      ['rows', /lacks shards .*, and heal does not know/],
      ['heal', /shards are not there/],
    ],
  },
  'commit in one transaction': {
    invariant: 'I3',
    profile: profiles.cutsInEntries,
    from: 6,
    caught: [
      ['I3 one swap', /no version that it had/],
      ['rows', /./],
    ],
  },
  'sync the log': {
    invariant: 'I4',
    profile: cutsOnceDurable('write', 0),
    caught: [
      ['I4 durable', behind],
      ['I7 m losses', /the pool is read-only/],
    ],
  },
  'wait for a majority': { invariant: 'I4', profile: cutsOnceDurable('write', 1, { disks: 3 }), from: 2, caught: [['I4 durable', behind]] },
  'look for data behind the barrier': { invariant: 'I4', profile: profiles.cutsWhileFlushing, from: 4, caught: [['bytes', unreadable]] },
  'apply to replicas behind the barrier alone': {
    invariant: 'I4',
    profile: profiles.busy,
    caught: [['I4 durable', /the replica of voter/]],
  },
  'free late': { invariant: 'I5', profile: profiles.cutsAfterUnlink, from: 3, caught: [['bytes', unreadable]] },
  'free what nobody reads': { invariant: 'I5', profile: profiles.slowReads, caught: [['bytes', unreadable]], control: slowReads },
  'verify frames': {
    invariant: 'I6',
    profile: profiles.rot,
    from: 4,
    caught: [
      ['bytes', /differs at/],
      ['I3 one swap', /no version that it had/],
    ],
  },
  'bind records to their places': {
    invariant: 'I6',
    profile: profiles.misplaced,
    from: 3,
    caught: [
      ['bytes', /differs at/],
      ['I3 one swap', /no version that it had/],
    ],
  },
  'write all shards': {
    invariant: 'I7',
    profile: cutsOnceDurable('save', 1),
    caught: [
      ['bytes', unreadable],
      ['heal', /shards are not there/],
    ],
  },
  'wait for m + 1 voters': {
    invariant: 'I7',
    profile: cutsOnceDurable('write', 1, { disks: 2, code: { k: 1, m: 1 } }),
    caught: [['I4 durable', behind]],
  },
  'tell of lost writes': { invariant: 'I8', profile: profiles.fullDisks, caught: [['I8 loud', /./]] },
  'ask whether somebody else leads': {
    invariant: 'I9',
    profile: profiles.takeOvers,
    caught: [
      ['I9 one owner', /a fenced process made/],
      ['I4 durable', behind],
    ],
  },
  'search for what a crash stranded': {
    invariant: 'I10',
    profile: profiles.deaths,
    caught: [['I10 stranded space', /records are stranded/]],
  },
  // Without a death: the search of the next start would give it back.
  'give back what is freed': { invariant: 'I10', profile: profiles.busy, caught: [['I10 stranded space', /records are stranded/]] },
  'take a failed sync for final': {
    invariant: 'a failed sync is final',
    profile: profiles.failingSyncs,
    from: 6,
    caught: [['heal', /shards are not there/]],
  },
  'count after a heal': { invariant: 'heal', profile: profiles.deadDisks, caught: [['members', /is failed and out/]] },
  'heal before saying so': {
    invariant: 'heal',
    profile: profiles.degradedWrites,
    caught: [['heal', /shards are not there|rows in table m/]],
  },
};

for (const [name, mutation] of Object.entries(mutations) as [keyof typeof mutations, Mutation][])
  await t.test(`without "${name}"`, async (test) => {
    const { profile, caught, from = 1, control } = expected[name];
    for (let seed = from; seed < from + SEEDS_MAX; seed++) {
      const { error } = await run(profile(seed), mutation);
      if (error === undefined) continue;
      const said = error.message.split('\n')[0] ?? '';
      const right = error instanceof Violation && caught.some(([rule, text]) => rule === error.rule && text.test(error.message));
      test.ok(right, `seed ${seed}: ${said}`);
      const { error: none } = await run(profile(seed), control);
      test.equal(none?.message, undefined, `seed ${seed} passes with it`);
      return;
    }
    test.fail(`not found in ${SEEDS_MAX} seeds`);
  });
