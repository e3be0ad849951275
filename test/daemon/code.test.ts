/** Codes and voters by the number of disks. */
import t from 'tap';
import { checkCode, defaultCode, formatCode, parseCode, planVoters } from '../../src/daemon/code.js';

const none = (count: number): undefined[] => Array.from({ length: count }, () => undefined);

t.test('default codes', async (t) => {
  const expected = ['1+0', '1+1', '2+1', '2+2', '3+2', '4+2', '4+2', '4+2', '6+3', '6+3', '6+3', '8+4', '8+4'];
  t.same(
    expected.map((_, index) => formatCode(defaultCode(index + 1))),
    expected,
  );
});

t.test('parsing', async (t) => {
  t.same(parseCode('4+2'), { k: 4, m: 2 });
  t.same(parseCode('1+0'), { k: 1, m: 0 });
  for (const text of ['', '4', '4-2', '0+2', '30+3', '4+2 ', '-1+2', '4+2+1', '999+1'])
    t.throws(() => parseCode(text), { code: 'EINVAL' }, text);
});

t.test('too few disks', async (t) => {
  t.throws(() => {
    checkCode({ k: 4, m: 2 }, none(5));
  }, /needs 6 disks, and 5 are given/);
  checkCode({ k: 4, m: 2 }, none(6));
});

t.test('zones', async (t) => {
  checkCode({ k: 4, m: 2 }, ['a', 'a', 'b', 'b', 'c', 'c']);
  t.throws(() => {
    checkCode({ k: 4, m: 2 }, ['a', 'a', 'a', 'b', 'b', 'b']);
  }, /room for 4 of the 6 shards/);
  checkCode({ k: 4, m: 2 }, ['a', 'a', 'a', undefined, undefined, undefined, undefined]);
  checkCode({ k: 2, m: 0 }, ['a', 'a']);
});

t.test('voters', async (t) => {
  const plan = (code: string, disks: number, witnesses = 0) => planVoters(parseCode(code), none(disks), witnesses);
  t.same(plan('4+2', 6), { data: [0, 1, 2, 3, 4], ownWitness: false, tolerated: 2 }, 'five of six');
  t.same(plan('1+0', 1), { data: [0], ownWitness: false, tolerated: 0 });
  t.same(plan('1+1', 2), { data: [0, 1], ownWitness: true, tolerated: 1 }, 'two disks and a witness');
  t.same(plan('1+1', 2, 1), { data: [0, 1], ownWitness: false, tolerated: 1 });
  t.same(plan('2+2', 4), { data: [0, 1, 2, 3], ownWitness: true, tolerated: 2 });
  t.same(plan('2+1', 3), { data: [0, 1, 2], ownWitness: false, tolerated: 1 });
  t.same(plan('1+2', 3), { data: [0, 1, 2], ownWitness: false, tolerated: 1 }, 'a fourth voter would help nothing');
  t.same(plan('1+2', 3, 2), { data: [0, 1, 2], ownWitness: false, tolerated: 2 });
  t.same(plan('4+2', 6, 2).data.length, 3, 'witnesses given count');
  t.throws(() => plan('1+1', 2, 2), { code: 'EINVAL' }, 'witnesses are never a majority');
  t.same(planVoters({ k: 1, m: 1 }, ['a', 'a', 'a', 'b', 'c'], 0).data, [0, 3, 4], 'spread over zones');
});
