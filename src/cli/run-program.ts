/** Runs one of the system's programs for a verb: systemctl, mount, umount. Never through a shell. */
import { spawn } from 'node:child_process';
import { OperatingError, asOperatingError } from '../base/errors.js';

/** What is kept of what a program says when it fails. */
const SAID_CHARACTERS_MAX = 2000;

/** Resolves when it ended well; its output is shown. @throws OperatingError EIO with what it said, ENOENT when it is not there */
export function runProgram(program: string, args: readonly string[], hint?: string): Promise<void> {
  return new Promise((done, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'inherit', 'pipe'] });
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-SAID_CHARACTERS_MAX)));
    child.on('error', (error) => {
      reject(asOperatingError(error, { path: program }));
    });
    child.on('close', (code, signal) => {
      if (code === 0) done();
      else
        reject(
          new OperatingError('EIO', `${program} ${args.join(' ')}: ${said.trim() || `it ended with ${code ?? signal ?? '?'}`}`, { hint }),
        );
    });
  });
}
