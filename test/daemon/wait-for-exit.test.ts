/** The end of a process is seen, also of one that nobody takes notice of, and of no other. */
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { waitForExit } from '../../src/daemon/pool-status.js';

t.test('a process that has ended and whose parent does not look', async (test) => {
  // The shell becomes a program that knows nothing of the child.
  const parent = spawn('sh', ['-c', 'sleep 0.2 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] });
  test.teardown(() => parent.kill('SIGKILL'));
  const pid = await new Promise<number>((resolve) => {
    parent.stdout.once('data', (data: Buffer) => {
      resolve(Number(data.toString()));
    });
  });
  await waitForExit(pid);
  test.match(await readFile(`/proc/${pid}/stat`, 'utf8'), /^\d+ \(sleep\) Z /, 'it is still in the table');
});

t.test('a process that runs is waited for, whatever its name', async (test) => {
  const child = spawn('bash', ['-c', 'printf ") Z (" > /proc/$$/comm; echo; read -r'], { stdio: ['pipe', 'pipe', 'ignore'] });
  test.teardown(() => child.kill('SIGKILL'));
  const pid = child.pid ?? 0;
  await new Promise((resolve) => child.stdout.once('data', resolve));
  test.match(await readFile(`/proc/${pid}/stat`, 'utf8'), /^\d+ \(\) Z \(\) [RSD] /, 'on its way to the read or in it');
  let ended = false;
  const waiting = waitForExit(pid).then(() => (ended = true));
  await sleep(200);
  test.notOk(ended);
  child.kill('SIGKILL');
  await waiting;
  test.ok(ended);
});
