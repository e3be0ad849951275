/** The erasure code of a pool and who votes in it: defaults by the number of disks, and what cannot work. Pure functions, called by `init`. */
import { OperatingError } from '../base/errors.js';
import { BLOB_SHARDS_MAX } from '../base/limits.js';

/** k data and m parity shards. */
export interface Code {
  readonly k: number;
  readonly m: number;
}

export function formatCode({ k, m }: Code): string {
  return `${k}+${m}`;
}

/** "4+2" → {k: 4, m: 2}. @throws OperatingError EINVAL */
export function parseCode(text: string): Code {
  const match = /^(\d{1,2})\+(\d{1,2})$/.exec(text);
  const k = Number(match?.[1]);
  const m = Number(match?.[2]);
  if (match === null || k < 1 || k + m > BLOB_SHARDS_MAX)
    throw new OperatingError('EINVAL', `"${text}" is not a code`, {
      hint: `Give data and parity shards as K+M, such as 4+2, with K at least 1 and K+M at most ${BLOB_SHARDS_MAX}.`,
    });
  return { k, m };
}

/** The code of a pool of `disks` disks where the operator named none. */
export function defaultCode(disks: number): Code {
  if (disks >= 12) return { k: 8, m: 4 };
  if (disks >= 9) return { k: 6, m: 3 };
  if (disks >= 6) return { k: 4, m: 2 };
  if (disks === 5) return { k: 3, m: 2 };
  if (disks === 4) return { k: 2, m: 2 };
  if (disks === 3) return { k: 2, m: 1 };
  if (disks === 2) return { k: 1, m: 1 };
  return { k: 1, m: 0 };
}

/**
 * Checks that the disks can hold a blob's shards: k+m of them, and never more than m in one zone where zones are given.
 * @param zones of each disk; undefined: a zone of its own.
 * @throws OperatingError EINVAL
 */
export function checkCode(code: Code, zones: readonly (string | undefined)[]): void {
  const needed = code.k + code.m;
  if (zones.length < needed)
    throw new OperatingError(
      'EINVAL',
      `code ${formatCode(code)} needs ${needed} disks, and ${zones.length} ${zones.length === 1 ? 'is' : 'are'} given`,
      {
        hint: `Give more disks, or a code for fewer: ${formatCode(defaultCode(zones.length))} suits ${zones.length}.`,
      },
    );
  if (code.m === 0) return;
  const sizes = new Map<string, number>();
  let places = 0;
  for (const zone of zones) {
    if (zone === undefined) places += 1;
    else sizes.set(zone, (sizes.get(zone) ?? 0) + 1);
  }
  for (const size of sizes.values()) places += Math.min(size, code.m);
  if (places < needed)
    throw new OperatingError(
      'EINVAL',
      `the zones leave room for ${places} of the ${needed} shards of code ${formatCode(code)}, since a zone takes at most ${code.m}`,
      {
        hint: 'Spread the disks over more zones, or choose a code with more parity.',
      },
    );
}

/** Who votes. */
export interface VoterPlan {
  /** Indexes of the data disks that vote. */
  readonly data: readonly number[];
  /** Make one more witness in the state folder. */
  readonly ownWitness: boolean;
  /** Losses of voters after which a majority is left. */
  readonly tolerated: number;
}

/**
 * Chooses the voters: 2m+1, given witnesses first filled up with data disks, so that a majority survives the loss of any m. Where disks are
 * too few, a witness of our own helps if it makes the number odd.
 * @param zones of each data disk; voters are spread over zones in turn.
 * @throws OperatingError EINVAL when there are more witnesses than voters.
 */
export function planVoters(code: Code, zones: readonly (string | undefined)[], witnesses: number): VoterPlan {
  const wanted = 2 * code.m + 1;
  if (witnesses > code.m)
    throw new OperatingError('EINVAL', `${witnesses} witnesses are too many for code ${formatCode(code)}`, {
      hint: `Of its ${wanted} voters at most ${code.m} may be witnesses, so that the disks alone are a majority.`,
    });
  const data = spread(zones).slice(0, wanted - witnesses);
  const voters = data.length + witnesses;
  const ownWitness = voters < wanted && voters % 2 === 0;
  const total = voters + (ownWitness ? 1 : 0);
  return { data: [...data].sort((a, b) => a - b), ownWitness, tolerated: Math.floor((total - 1) / 2) };
}

/** Indexes so that zones take turns. */
function spread(zones: readonly (string | undefined)[]): number[] {
  const turns = new Map<string, number>();
  const ranked = zones.map((zone, index) => {
    const turn = zone === undefined ? 0 : (turns.get(zone) ?? 0);
    if (zone !== undefined) turns.set(zone, turn + 1);
    return { index, turn };
  });
  return ranked.sort((a, b) => a.turn - b.turn || a.index - b.index).map(({ index }) => index);
}
