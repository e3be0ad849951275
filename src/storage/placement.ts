/**
 * Which disks a blob's shards go to: distinct ones, never more than the limit in one zone, each with a probability in proportion to its free
 * space, so that disks of different sizes fill together. Pure functions; `writer.ts` asks them.
 *
 * How: every disk gets the probability λ × free, capped at 1, a zone's disks together at the zone's limit, with λ such that all add up to the
 * number of shards. Then systematic sampling: disks lie one after the other on a line, zone by zone in random order, each as long as its
 * probability; marks at a random start and every 1 from there choose. A stretch of length L holds at most L marks: no disk twice,
 * no zone beyond its limit.
 */
import { assert, must } from '../base/assert.js';
import type { Random } from '../base/clock.js';
import type { DiskNumber } from '../base/ids.js';

/** A disk that could take a shard. */
export interface Candidate {
  readonly disk: DiskNumber;
  /** Disks with the same zone fail together; undefined: a zone of its own. */
  readonly zone: string | undefined;
  /** Bytes left for shards, at least 1. */
  readonly freeBytes: number;
}

/** What is known of a disk for zones alone. */
export type Zoned = Pick<Candidate, 'disk' | 'zone'>;

interface Zone {
  readonly limit: number;
  readonly members: { readonly candidate: Candidate; share: number }[];
}

/** The key of a disk's zone. */
export function zoneKey({ disk, zone }: Zoned): string {
  return zone === undefined ? `disk ${disk}` : `zone ${zone}`;
}

function countZones(disks: readonly Zoned[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const disk of disks) counts.set(zoneKey(disk), (counts.get(zoneKey(disk)) ?? 0) + 1);
  return counts;
}

/** How many shards of one blob these disks could hold, with at most `limit` in a zone of which `taken` are used already. */
export function shardsThatFit(disks: readonly Zoned[], limit: number, taken: readonly Zoned[] = []): number {
  const used = countZones(taken);
  let sum = 0;
  for (const [zone, count] of countZones(disks)) sum += Math.max(0, Math.min(count, limit - (used.get(zone) ?? 0)));
  return sum;
}

/**
 * Shards of one blob that may share a zone: m, so that a lost zone costs no data. Where the pool's zones are too few for that, the smallest number
 * under which a whole blob fits at all.
 */
export function zoneLimit(members: readonly Zoned[], k: number, m: number): number {
  let limit = Math.max(1, m);
  while (limit < k + m && shardsThatFit(members, limit) < k + m) limit++;
  return limit;
}

function shuffle<T>(items: T[], random: Random): T[] {
  for (let i = items.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    const held = must(items[i], 'within');
    items[i] = must(items[j], 'within');
    items[j] = held;
  }
  return items;
}

function makeZones(candidates: readonly Candidate[], limit: number, taken: readonly Zoned[]): Zone[] {
  const used = countZones(taken);
  const zones = new Map<string, Zone>();
  for (const candidate of candidates) {
    const key = zoneKey(candidate);
    const left = limit - (used.get(key) ?? 0);
    if (left <= 0) continue;
    const zone = zones.get(key) ?? { limit: left, members: [] };
    zone.members.push({ candidate, share: 0 });
    zones.set(key, zone);
  }
  return [...zones.values()];
}

/** Sets each member's share for one λ and returns the sum. */
function setShares(zones: readonly Zone[], lambda: number): number {
  let total = 0;
  for (const zone of zones) {
    let sum = 0;
    for (const member of zone.members) sum += member.share = Math.min(1, lambda * member.candidate.freeBytes);
    if (sum > zone.limit) {
      for (const member of zone.members) member.share *= zone.limit / sum;
      sum = zone.limit;
    }
    total += sum;
  }
  return total;
}

/** Finds the λ under which the shares add up to `count`. */
function balance(zones: readonly Zone[], count: number): void {
  let low = 0;
  let high = 1;
  for (const zone of zones) for (const { candidate } of zone.members) high = Math.max(high, 1 / candidate.freeBytes);
  for (let step = 0; step < 80; step++) {
    const middle = (low + high) / 2;
    if (setShares(zones, middle) < count) low = middle;
    else high = middle;
  }
  setShares(zones, high);
}

/**
 * Chooses up to `count` of the candidates; fewer only where distinct disks and zones allow no more.
 * @param limit shards of this blob in one zone at most
 * @param taken disks that hold other shards of this blob already; they are not among the candidates
 */
export function choosePlaces(
  candidates: readonly Candidate[],
  count: number,
  limit: number,
  taken: readonly Zoned[],
  random: Random,
): DiskNumber[] {
  const zones = shuffle(makeZones(candidates, limit, taken), random);
  const wanted = Math.min(count, shardsThatFit(candidates, limit, taken));
  if (wanted <= 0) return [];
  balance(zones, wanted);
  const chosen = new Set<DiskNumber>();
  let mark = (random.below(2 ** 30) + 0.5) / 2 ** 30;
  let end = 0;
  const perZone = new Map<Zone, number>();
  const choose = (zone: Zone, disk: DiskNumber): void => {
    chosen.add(disk);
    perZone.set(zone, (perZone.get(zone) ?? 0) + 1);
  };
  for (const zone of zones)
    for (const { candidate, share } of shuffle(zone.members, random)) {
      end += share;
      if (mark >= end || chosen.size >= wanted || (perZone.get(zone) ?? 0) >= zone.limit) continue;
      choose(zone, candidate.disk);
      mark += 1;
    }
  // What rounding of the shares left over.
  for (const zone of zones)
    for (const { candidate } of zone.members)
      if (chosen.size < wanted && !chosen.has(candidate.disk) && (perZone.get(zone) ?? 0) < zone.limit) choose(zone, candidate.disk);
  assert(chosen.size === wanted, `${chosen.size} of ${wanted} places`);
  return [...chosen];
}

/** Gives the chosen disks, in the order of their numbers, to the shards so that parity and data go round: blob n starts n disks further. */
export function rotate(disks: readonly DiskNumber[], turn: number): DiskNumber[] {
  const sorted = [...disks].sort((a, b) => a - b);
  const start = turn % Math.max(1, sorted.length);
  return [...sorted.slice(start), ...sorted.slice(0, start)];
}
