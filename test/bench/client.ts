/** Runs the C++ program that makes a workload's system calls (client.cc), under a limit. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { packageRoot } from '../../src/base/package-root.js';
import { run } from '../support/run.js';

/** What one run of the client came to. */
export interface Measurement {
  readonly operations: number;
  /** More than `operations`: it ran into the limit. */
  readonly asked: number;
  readonly bytes: number;
  readonly seconds: number;
  /** Processor seconds of the program that was measured with, and of what it started. */
  readonly clientSeconds: number;
  /** … and of the file system's daemons meanwhile. */
  readonly daemonSeconds: number;
}

/** Beyond the client's own limit: a call may hang. */
const GRACE_MS = 5000;

/** Compiles it. Resolves with the program's path. */
export async function buildClient(folder: string): Promise<string> {
  const program = join(folder, 'client');
  const flags = ['-std=c++17', '-O2', '-pthread', '-Wall', '-Wextra', '-Werror'];
  await run('g++', [...flags, '-o', program, join(packageRoot, 'test/bench/client.cc')]);
  return program;
}

/** Two measurements, one after the other, as one. */
export function plus(a: Measurement, b: Measurement): Measurement {
  return {
    ...a,
    seconds: a.seconds + b.seconds,
    clientSeconds: a.clientSeconds + b.clientSeconds,
    daemonSeconds: a.daemonSeconds + b.daemonSeconds,
  };
}

/**
 * Runs one workload. @param pids the daemons whose processor time counts
 * @throws Error with what the client said, or that it did not end
 */
export function measure(client: string, pids: readonly number[], limitSeconds: number, args: readonly string[]): Promise<Measurement> {
  return new Promise((resolve, reject) => {
    const environment = { ...process.env, GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1', LC_ALL: 'C' };
    // A session of its own, so that what it started can be ended with it.
    const child = spawn(client, ['-l', String(limitSeconds), '-p', pids.join(','), ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: environment,
      detached: true,
      cwd: '/',
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr = (stderr + text).slice(-2000)));
    const settle = (outcome: Measurement | Error): void => {
      clearTimeout(timer);
      clearTimeout(giveUp);
      if (outcome instanceof Error) reject(outcome);
      else resolve(outcome);
    };
    const late = new Error(`no end within ${limitSeconds} s`);
    const limitMs = limitSeconds * 1000 + GRACE_MS;
    const timer = setTimeout(() => {
      try {
        process.kill(-(child.pid ?? 0), 'SIGKILL');
      } catch {
        // It ended just now.
      }
    }, limitMs);
    // Stuck in the kernel, it is left behind.
    const giveUp = setTimeout(() => {
      settle(late);
    }, limitMs + GRACE_MS);
    child.once('error', settle);
    child.once('close', (code, signal) => {
      if (signal === 'SIGKILL') settle(late);
      else if (code !== 0) settle(new Error(stderr.trim() || `the client ended with ${code ?? signal ?? '?'}`));
      else settle(JSON.parse(stdout) as Measurement);
    });
  });
}
