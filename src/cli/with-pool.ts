/**
 * Lets a verb speak to a pool's daemon whether the pool is mounted or not: where no daemon runs, one without a mount is started and ends afterwards. Used
 * by every verb that works on a pool as a whole (check, scrub, heal, disk …, index export).
 */
import { systemClock } from '../base/clock.js';
import { OperatingError } from '../base/errors.js';
import { ControlClient } from '../daemon/control-client.js';
import { poolPaths } from '../daemon/folders.js';
import { launchDaemon } from '../daemon/launch.js';
import { readDefinition } from '../daemon/pool-definition.js';
import type { Context } from './context.js';

/** A daemon that stays for another command may be about to end after all, when that one only asked for its status. */
const LINGER_MS = 2000;

/** What the work may ask beside speaking to the daemon. */
export interface OpenedPool {
  /** The pool was opened for this command and is not mounted. */
  readonly unmounted: boolean;
}

export interface WithPoolOptions {
  /** Should the pool have to be opened: without any of its services, so that nothing changes but by this command. */
  readonly quiet?: boolean;
}

/**
 * Runs `work` with a connection to the daemon of a pool.
 * @param verb what the operator called, shown by `status` to others: "check"
 * @throws OperatingError ENOENT no such pool; EBUSY a daemon owns it that cannot be reached; and what `work` throws
 */
export async function withPool<T>(
  { folders, output }: Context,
  name: string,
  verb: string,
  work: (client: ControlClient, pool: OpenedPool) => Promise<T>,
  options: WithPoolOptions = {},
): Promise<T> {
  await readDefinition(folders, name);
  const { socket } = poolPaths(folders, name);
  const running = await ControlClient.connect(socket);
  if (running !== undefined)
    try {
      return await work(running, { unmounted: false });
    } finally {
      running.close();
    }
  const launched = await launchDaemon({
    folders,
    pool: name,
    mountpoint: undefined,
    work: verb,
    mountOptions: options.quiet === true ? 'ro' : '',
    foreground: false,
    progress: (text) => {
      output.note(text);
    },
  });
  if (launched.readOnlyReason !== undefined) output.warning(`the pool is read-only: ${launched.readOnlyReason}`);
  for (const message of launched.messages) output.warning(message);
  let stays = false;
  try {
    const client = await ControlClient.connect(socket);
    if (client === undefined)
      throw new OperatingError('ECONNRESET', `the daemon of pool "${name}" ended at once`, { hint: 'Its log says why.' });
    try {
      const result = await work(client, { unmounted: true });
      ({ stays } = (await client.request({ verb: 'release' })) as { stays: boolean });
      return result;
    } finally {
      client.close();
    }
  } finally {
    // Without the channel the daemon knows that we need it no more.
    launched.disconnect();
    await (stays ? Promise.race([launched.ended, systemClock.sleep(LINGER_MS)]) : launched.ended);
    launched.unref();
  }
}
