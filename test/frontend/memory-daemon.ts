/**
 * A process that serves a MemoryNamespace at a mount point until SIGTERM: `node memory-daemon.js MOUNTPOINT [JSON]`. A process must not do
 * blocking I/O on its own mount, so tests have the mount in this child. Speaks JSON lines: on stdout events, on stdin commands.
 */
import { createInterface } from 'node:readline';
import { AssertionError } from '../../src/base/assert.js';
import { mountBy } from '../../src/frontend/bindings.js';
import { FuseMount, type MountOptions } from '../../src/frontend/fuse/mount.js';
import type { Binding } from '../../src/frontend/mount.js';
import { MemoryNamespace } from './memory-namespace.js';

interface DaemonOptions extends Partial<Pick<MountOptions, 'readOnly' | 'allowOther' | 'source' | 'byHelper'>> {
  /** Become this user and group before mounting. */
  readonly user?: number;
  readonly binding?: Binding;
}

const [mountpoint = '', json = '{}'] = process.argv.slice(2);
const { user, binding = 'channel', ...options } = JSON.parse(json) as DaemonOptions;

function say(event: string, fields: object = {}): void {
  process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);
}

if (user !== undefined) {
  process.setgroups?.([]);
  process.setgid?.(user);
  process.setuid?.(user);
}

const namespace = new MemoryNamespace();
if (user !== undefined) await namespace.setattr(1, { uid: user, gid: user });
try {
  const mount = await mountBy(binding, {
    ...options,
    mountpoint,
    namespace,
    log: (level, message, fields) => {
      say('log', { level, message, ...fields });
    },
  });
  const ours = mount instanceof FuseMount ? mount : undefined;
  say('ready', { negotiated: ours?.negotiated });
  let open: (() => void) | undefined;

  const commands: Record<string, (argument: number) => Promise<object> | object> = {
    stats: () => ({ ...mount.stats(), inodes: namespace.inodes, handles: namespace.openHandles }),
    failWrites: (ino) => {
      namespace.failWrites = ino === 0 ? undefined : ino;
      return {};
    },
    hold: (ino) => {
      namespace.gateIno = ino === 0 ? undefined : ino;
      namespace.gate = new Promise((resolve) => {
        open = resolve;
      });
      return {};
    },
    letGo: () => {
      namespace.gate = undefined;
      open?.();
      return {};
    },
    bug: (kind) => {
      namespace.bug = [undefined, new TypeError('undefined is not a function'), new AssertionError('a broken promise')][kind];
      return {};
    },
    unmount: (lazy) =>
      mount.unmount({ lazy: lazy === 1 }).then(
        () => ({ code: 'done' }),
        (thrown: unknown) => ({ code: (thrown as NodeJS.ErrnoException).code }),
      ),
    invalidate: async (ino) => {
      await ours?.invalidateInode(ino, true);
      return {};
    },
    abort: () => {
      mount.abort();
      return {};
    },
  };

  const input = createInterface({ input: process.stdin });
  input.on('line', (line) => {
    const [command = '', argument = '0'] = line.split(' ');
    void Promise.resolve(commands[command]?.(Number(argument))).then((answer) => {
      say('answer', answer);
    });
  });
  process.on('SIGTERM', () => {
    void mount.unmount({ lazy: true });
  });
  await mount.closed;
  say('closed', { ...mount.stats(), handles: namespace.openHandles });
  input.close();
  process.stdin.destroy();
} catch (thrown) {
  const { code, message, hint } = thrown as { code?: string; message?: string; hint?: string };
  say('failed', { code, message, hint });
  process.exitCode = 1;
  process.stdin.destroy();
}
