/**
 * Which member shall vote next, or no more: 2m + 1 voters where there are so many, spread over zones. A voter that is drained or failed gives its vote
 * to another one first. Pure functions; `membership-changer.ts` takes one step after the other.
 */
import type { DiskNumber } from '../base/ids.js';
import type { Member, Membership } from '../disk/membership.js';

export type VoterStep = { readonly add: DiskNumber } | { readonly remove: DiskNumber } | { readonly witness: true };

/**
 * The next step; undefined when all is as it should be, or cannot be better now. Repeated, it comes to an end.
 * @param isIn whether a member's disk is in
 */
export function nextVoterStep(membership: Membership, isIn: (number: DiskNumber) => boolean): VoterStep | undefined {
  const { members, m } = membership;
  const wanted = 2 * m + 1;
  const voters = members.filter(({ voter }) => voter);
  const good = voters.filter(({ state }) => state === 'active');
  const bad = voters.filter(({ state }) => state !== 'active');
  if (voters.length > wanted) {
    const leaving = bad[0] ?? voters.find(({ number }) => !isIn(number)) ?? voters.at(-1);
    return leaving && { remove: leaving.number };
  }
  const spare = bestSpare(members, good, isIn);
  if (good.length < wanted && spare !== undefined) return { add: spare.number };
  // The dead need no successor to stop counting: a majority of the others is no larger without them.
  const dead = bad.find(({ state }) => state === 'failed');
  if (dead !== undefined && voters.length > 1) return { remove: dead.number };
  const witnesses = members.filter(({ role }) => role === 'witness').length;
  const even = good.length % 2 === 0 && bad.length === 0;
  return even && good.length < wanted && witnesses < m ? { witness: true } : undefined;
}

/** The member that should vote next: of the zone with the fewest voters, data disks before witnesses. */
function bestSpare(members: readonly Member[], voters: readonly Member[], isIn: (number: DiskNumber) => boolean): Member | undefined {
  const crowd = ({ zone }: Member): number => (zone === undefined ? 0 : voters.filter((voter) => voter.zone === zone).length);
  const rank = ({ role }: Member): number => (role === 'data' ? 0 : 1);
  return members
    .filter(({ voter, state, number }) => !voter && state === 'active' && isIn(number))
    .sort((a, b) => crowd(a) - crowd(b) || rank(a) - rank(b) || a.number - b.number)[0];
}
