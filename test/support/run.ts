/**
 * Running programs from tests: never through a shell, never without a limit, never blocking this process (a test may be the
 * one that waits for a file system it serves or probes).
 */
import { spawn } from 'node:child_process';

export interface RunResult {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Killed after this (default 120 s). */
  readonly limitMs?: number;
  /** Do not throw on a non-zero exit. */
  readonly mayFail?: boolean;
}

/** The names of a large tree, with what belongs to them, have room. */
const OUTPUT_LENGTH_MAX = 256 * 1024 * 1024;

/** Runs a program to its end. @throws Error with its output when it fails, unless `mayFail`; when it says more than anybody asked for. */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  return new Promise((resolve, reject) => {
    const limitMs = options.limitMs ?? 120_000;
    const child = spawn(command, args, { cwd: options.cwd, env: options.env ?? process.env, stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    let late = false;
    const bound = (): void => {
      if (stdout.length + stderr.length <= OUTPUT_LENGTH_MAX) return;
      child.kill('SIGKILL');
      reject(new Error(`${command} ${args.join(' ')}: an output without end: ${stdout.slice(-4000)}\n${stderr.slice(-4000)}`));
    };
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      bound();
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
      bound();
    });
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
      // A program stuck in a dead mount does not die: do not wait for its pipes.
      setTimeout(() => {
        reject(new Error(`${command} ${args.join(' ')}: no end within ${limitMs} ms\n${stdout}\n${stderr}`));
      }, 1000).unref();
    }, limitMs);
    child.on('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      if (late) reject(new Error(`${command} ${args.join(' ')}: no end within ${limitMs} ms\n${stdout}\n${stderr}`));
      else if (code !== 0 && options.mayFail !== true)
        reject(new Error(`${command} ${args.join(' ')}: exit ${code ?? signal ?? '?'}\n${stdout.slice(-4000)}\n${stderr.slice(-4000)}`));
      else resolve({ code, signal, stdout, stderr });
    });
  });
}

/** Sends a signal to a process that may be gone. */
export function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It is gone.
  }
}
