/** A voter that hangs for most of a minute while much is written (I4, I7, I8). */
import t from 'tap';
import { filled, freeze, HUNG, MiB, wholeAgain, writeSmall } from '../support/hanging-disk.js';
import { TestPool, until } from '../support/pool.js';
import { digests } from '../support/tree.js';

t.test('a voter hangs for long while much is written, and is online soon after', async (t) => {
  const pool = await TestPool.create(t, { loopBytes: 700 * MiB });
  const want = await filled(pool);
  const thaw = await freeze(t, pool, HUNG);
  const voter = async (): Promise<string | undefined> => (await pool.status()).voters[HUNG]?.state;
  const end = performance.now() + 45_000;
  for (let round = 0; performance.now() < end; round++) await writeSmall(pool, `round${round}`, 500, want);
  t.equal(await voter(), 'absent');
  await thaw();
  // Writing goes on while it catches up.
  let caughtUp = false;
  const waiting = until('the voter is online', async () => (await voter()) === 'online', 180_000, 500).then(() => {
    caughtUp = true;
  });
  for (let round = 0; !caughtUp && performance.now() < end + 200_000; round++) await writeSmall(pool, `later${round}`, 200, want);
  await waiting;
  await pool.ostraka(['sync', pool.name]);
  await wholeAgain(t, pool, await digests(pool.mountpoint));
});
