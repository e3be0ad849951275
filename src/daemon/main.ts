/**
 * The daemon's process: NAME MOUNTPOINT OPTIONS, or NAME "" "" VERB to open the pool without a mount for the command VERB. `launch.ts` starts it and is
 * told over the IPC channel when the mount, or the control socket, is usable. Ends with 0 after a
 * clean stop (SIGTERM, SIGINT, the control socket, an unmount from outside), 1 when something could not be made durable, 70 after a bug: then the
 * next mount recovers, which is safe, and going on would not be. As a service it speaks to systemd (`service-manager.ts`).
 */
import { systemClock } from '../base/clock.js';
import { asOperatingError } from '../base/errors.js';
import { DAEMON_NICE_STEPS } from '../base/limits.js';
import { nativeIo } from '../base/native-io.js';
import { errorMessage } from './control-protocol.js';
import { Daemon } from './daemon.js';
import { ownFolders } from './folders.js';
import type { LaunchMessage } from './launch.js';
import { showLife } from './liveness.js';
import { stderrLog, type Log } from './logger.js';
import { keepMemory } from './memory-keeper.js';
import { parseMountOptions } from './mount-options.js';
import { readDefinition } from './pool-definition.js';
import { serviceManagerOf, type ServiceManager } from './service-manager.js';
import { summaryOf } from './status-report.js';

const EXIT_CLEAN = 0;
const EXIT_NOT_DURABLE = 1;
const EXIT_BUG = 70;

/** A step of the start that says so may take this long. Reading a large index from slow disks takes minutes. */
const START_STEP_LIMIT_MS = 10 * 60_000;

/** Resolves when the message was handed over, or nobody listens any more. */
function tell(message: LaunchMessage): Promise<void> {
  return new Promise((resolve) => {
    if (process.send === undefined || !process.connected) resolve();
    else
      process.send(message, () => {
        resolve();
      });
  });
}

function dieOfBugs(log: Log): void {
  const die = (thrown: unknown): void => {
    log('error', 'internal error: the daemon ends, the next mount recovers', {
      error: thrown instanceof Error ? thrown.stack : String(thrown),
    });
    process.exit(EXIT_BUG);
  };
  process.on('uncaughtException', die);
  process.on('unhandledRejection', die);
}

function stopOnSignals(daemon: Daemon, log: Log): void {
  const stop = (why: string): void => {
    log('info', `stopping: ${why}`);
    daemon.stop(true).catch((error: unknown) => {
      log('error', `the stop failed: ${asOperatingError(error).message}`);
    });
  };
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const)
    process.on(signal, () => {
      stop(signal);
    });
  // The command that stays in the foreground is gone.
  if (process.env.OSTRAKA_FOREGROUND !== undefined)
    process.on('disconnect', () => {
      stop('the command has ended');
    });
  // Opened for a command: others that are connected finish first.
  process.on('disconnect', () => {
    daemon.release();
  });
}

/** Tells the service manager how the pool is, until it stops. */
async function serve(daemon: Daemon, manager: ServiceManager): Promise<void> {
  const summary = async (): Promise<string> => summaryOf(await daemon.status());
  await manager.ready(systemClock, await summary());
  const end = showLife({ probe: () => daemon.probe(), summary }, manager, systemClock);
  void daemon.closing.then(() => {
    end();
    manager.stopping();
  });
}

async function main([name = '', mountpoint = '', options = '', work]: readonly string[]): Promise<number> {
  process.title = `ostraka ${name}`;
  const log = await stderrLog(name);
  dieOfBugs(log);
  keepMemory(systemClock);
  nativeIo().goBefore(DAEMON_NICE_STEPS);
  const folders = ownFolders();
  const manager = serviceManagerOf(process.env, process.pid);
  let daemon: Daemon;
  try {
    const definition = await readDefinition(folders, name);
    const mountOptions = parseMountOptions([options]);
    const progress = (text: string): void => {
      manager?.starting(text, START_STEP_LIMIT_MS);
      void tell({ progress: text });
    };
    daemon = new Daemon({ folders, definition, mountpoint: mountpoint === '' ? undefined : mountpoint, work, mountOptions, log, progress });
    await daemon.start();
  } catch (thrown) {
    const error = asOperatingError(thrown);
    log('error', `${work === undefined ? 'not mounted' : 'not opened'}: ${error.message}`, {
      code: error.code,
      path: error.path,
      stack: thrown instanceof Error ? thrown.stack : undefined,
    });
    manager?.status(`Not mounted: ${error.message}`);
    await tell({ error: errorMessage(error) });
    return EXIT_NOT_DURABLE;
  }
  stopOnSignals(daemon, log);
  const { disks } = await daemon.status();
  const out = disks.filter(({ present }) => !present);
  await tell({
    ready: {
      readOnlyReason: daemon.readOnlyReason ?? null,
      messages: out.map(({ path, reason }) => `disk ${path} is out${reason === null ? '' : `: ${reason}`}`),
    },
  });
  if (manager !== undefined) await serve(daemon, manager);
  try {
    await daemon.stopped;
    return EXIT_CLEAN;
  } catch (error) {
    log('error', `not everything is durable: ${asOperatingError(error).message}`);
    return EXIT_NOT_DURABLE;
  } finally {
    await daemon.endControl();
  }
}

const code = await main(process.argv.slice(2));
process.exit(code);
