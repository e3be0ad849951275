/**
 * Histories that aim at one rule each: what it is there for happens soon and often in them. Made from seeds, as those of history.ts are; the places, moments
 * and disks differ. With all rules in force they pass.
 */
import { seededRandom, type Random } from '../../src/base/clock.js';
import type { Operation } from './client.js';
import type { Fault } from './faults.js';
import type { History, Step } from './history.js';
import type { Shape } from './world.js';

/** The history of a seed. */
export type Profile = (seed: number) => History;

const shape = { disks: 4, code: { k: 2, m: 1 }, durability: 'interval' } as const;

/** Steps are made with this. */
class Script {
  readonly steps: Step[] = [];

  constructor(readonly random: Random) {}

  /** Operations of a client, one after the other; some time passes after the last one. */
  does(client: number, operations: Operation | readonly Operation[], thenMs: number): this {
    const list = typeof operations === 'string' ? [operations] : operations;
    list.forEach((operation, index) => {
      this.steps.push({ kind: 'operation', client, operation, seed: this.#seed(), afterMs: index === list.length - 1 ? thenMs : 0 });
    });
    return this;
  }

  fault(fault: Fault): this {
    this.steps.push({ kind: 'fault', fault, seed: this.#seed() });
    return this;
  }

  /** @param losses disks that leave with it */
  powerCut(losses = 0, onceDurable = false): this {
    this.steps.push({ kind: 'crash', power: true, onceDurable, losses: Array.from({ length: losses }, () => this.#seed()), again: [] });
    return this;
  }

  death(): this {
    this.steps.push({ kind: 'crash', power: false, again: [] });
    return this;
  }

  takeOver(forMs: number): this {
    this.steps.push({ kind: 'takeOver', forMs });
    return this;
  }

  /** A disk is replaced: one that is out, if any is. */
  replaceDisk(thenMs: number): this {
    this.steps.push({ kind: 'disks', change: 'replace', seed: this.#seed(), afterMs: thenMs });
    return this;
  }

  restart(): this {
    this.steps.push({ kind: 'restart' });
    return this;
  }

  calm(): this {
    this.steps.push({ kind: 'calm' });
    return this;
  }

  #seed(): number {
    return this.random.below(2 ** 31);
  }
}

function profile(write: (script: Script) => void, { clients = 1, ...other }: Partial<Shape> & { readonly clients?: number } = {}): Profile {
  return (seed) => {
    const script = new Script(seededRandom(Math.imul(seed, 0x9e3779b1) ^ 0x7654321));
    write(script);
    return { seed, shape: { ...shape, ...other }, clients, steps: script.steps };
  };
}

const times = (count: number, action: () => void): void => {
  for (let at = 0; at < count; at++) action();
};

/** Power cuts in the moment in which something became durable, which disks leave with. @param how what is written */
export function cutsOnceDurable(how: 'write' | 'save', losses: number, other: Partial<Shape> = {}): Profile {
  return profile((script) => {
    times(how === 'save' ? 4 : 8, () => {
      script.does(0, ['create', 'create', 'open'], 1500).does(0, [how, how], 5);
      script.does(0, 'sync', 1).powerCut(losses, true);
      if (losses > 0) script.calm();
    });
  }, other);
}

export const profiles = {
  /** The power goes while voters write what holds small contents. */
  cutsInEntries: profile((script) => {
    times(8, () =>
      script.does(0, ['create', 'open'], 1500).does(0, ['append', 'append'], 5).does(0, 'sync', script.random.below(9)).powerCut(),
    );
  }),
  /** What is committed while a flush is under way reaches the voters with it, and its data is not synced. */
  cutsWhileFlushing: profile(
    (script) => {
      script.does(0, 'create', 20).does(1, 'create', 20);
      times(4, () => {
        script
          .does(0, ['save', 'fsync'], script.random.below(3))
          .does(1, 'save', 4 + script.random.below(12))
          .powerCut();
        script.does(0, 'open', 20).does(1, 'open', 20).does(0, 'create', 20).does(1, 'create', 20);
      });
    },
    { clients: 2 },
  ),
  /** Files are durable, deleted, and the power goes before that is durable. */
  cutsAfterUnlink: profile((script) => {
    times(4, () => {
      script.does(0, ['create', 'create', 'save', 'fsync', 'release', 'release'], 2000 + script.random.below(500));
      script.does(0, ['unlink', 'unlink', 'unlink', 'unlink'], script.random.below(900)).powerCut();
    });
  }),
  /** Reads that are overtaken. */
  slowReads: profile((script) => {
    script.does(0, ['create', 'save', 'fsync'], 100);
    times(3, () => script.does(0, ['replaceWhileReading'], 20_000).does(0, ['save', 'fsync'], 100));
  }),
  /** Shards are written while a disk is away. */
  degradedWrites: profile(
    (script) => {
      times(2, () => {
        script.does(0, 'create', 20).fault('leaves').does(0, ['create', 'save', 'save'], 30).does(0, ['save', 'fsync'], 100);
        script.calm();
      });
    },
    { disks: 3 },
  ),
  /** Bits of records flip, some in front of readers. */
  rot: profile((script) => {
    script.does(0, ['create', 'create', 'save', 'save', 'fsync'], 100);
    script.fault('rot').fault('rot').fault('rot').restart().does(0, ['open', 'read', 'read'], 1000).calm();
  }),
  /** Records land where others are. */
  misplaced: profile((script) => {
    script.does(0, ['create', 'create', 'save', 'save', 'save', 'fsync'], 100);
    times(3, () => script.fault('recordMisplaced').does(0, ['save', 'bigWrite', 'fsync'], 100));
    script.restart();
  }),
  /** Records find no room, and there is no other disk for them. */
  fullDisks: profile(
    (script) => {
      script.does(0, 'create', 20).does(0, ['save', 'fsync'], 50);
      times(4, () => script.fault('recordsFindNoSpace').does(0, ['save', 'flush', 'read'], 50).does(0, ['bigWrite', 'fsync', 'read'], 50));
    },
    { disks: 3 },
  ),
  /** A sync fails, and would succeed when asked again; then the power goes. */
  failingSyncs: profile((script) => {
    times(3, () => {
      script.does(0, ['create', 'create', 'save'], 20).fault('segmentSyncFails').does(0, 'fsync', 200).powerCut().calm();
    });
  }),
  /** Somebody else takes over, with much under way. */
  takeOvers: profile(
    (script) => {
      times(2, () => {
        script.does(0, 'create', 20).does(1, 'create', 20).does(0, ['save', 'fsync'], 20).does(0, ['save', 'bigWrite', 'fsync'], 0);
        script
          .does(1, ['save', 'fsync'], script.random.below(5))
          .takeOver(1000 + script.random.below(2000))
          .calm();
      });
    },
    { clients: 2 },
  ),
  /** Data is stored and the process dies, sometimes before a row says so. */
  deaths: profile(
    (script) => {
      times(2, () => {
        script.does(0, ['create', 'create'], 20).does(1, 'create', 20).does(0, ['bigWrite', 'save'], 0);
        script.does(1, ['bigWrite', 'save'], script.random.below(12));
        if (script.random.below(2) === 0) script.death();
        else script.powerCut();
      });
      script.calm();
    },
    { clients: 2 },
  ),
  /** For longer than the replicas of voters lag behind. */
  busy: profile(
    (script) => {
      script.does(0, 'create', 20).does(1, 'create', 20);
      times(12, () => script.does(0, ['save', 'fsync'], script.random.below(3)).does(1, 'save', 400 + script.random.below(100)));
    },
    { clients: 2 },
  ),
  /** A disk is replaced after it died. */
  deadDisks: profile((script) => {
    script.does(0, ['create', 'create', 'save', 'save', 'fsync'], 100).fault('comesBackEmpty').does(0, 'read', 8000);
    script.replaceDisk(20_000).calm();
  }),
  /** Several epochs write a little each. */
  epochs: profile((script) => {
    times(3, () =>
      script.does(0, ['create', 'create', 'save', 'fsync'], 100).restart().does(0, ['open', 'bigWrite', 'fsync'], 100).death(),
    );
  }),
} as const;
