/**
 * A user of the file system under test: one process (agent.cc) with a uid, a gid and groups, which executes the system calls that it is told, one after the other.
 * Calls may be started without waiting for the ones before; they run in the order in which they were started.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';

/** What one system call came to. */
export interface Answer {
  /** The call as it was made, for messages. */
  readonly call: string;
  /** The errno's name; undefined: it succeeded. */
  readonly error: string | undefined;
  readonly value: number;
  /** What came back in buffers. */
  readonly out: readonly Buffer[];
}

/** `ok`, or the errno. */
export function outcome({ error }: Answer): string {
  return error ?? 'ok';
}

/** No call of these tests waits longer, also on a busy machine. */
const CALL_LIMIT_MS = 180_000;

export interface Who {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
}

export const STAFF = 4100;
export const GUESTS = 4200;
export const ROOT: Who = { name: 'root', uid: 0, gid: 0, groups: [] };
/** Two users that need not exist; they share a group. */
export const ALICE: Who = { name: 'alice', uid: 4001, gid: 4001, groups: [STAFF] };
export const BOB: Who = { name: 'bob', uid: 4002, gid: 4002, groups: [STAFF, GUESTS] };

interface Waiting {
  readonly call: string;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
}

export class Process {
  readonly who: Who;
  readonly #child: ChildProcess;
  readonly #waiting: Waiting[] = [];
  #ended: string | undefined;

  constructor(program: string, who: Who) {
    this.who = who;
    this.#child = spawn(program, [String(who.uid), String(who.gid), who.groups.join(',')], {
      stdio: ['pipe', 'pipe', 'inherit'],
      cwd: '/',
    });
    const end = (why: string): void => {
      this.#ended = why;
      for (const { call, reject } of this.#waiting.splice(0)) reject(new Error(`${who.name}'s process ended (${why}) in ${call}`));
    };
    this.#child.on('error', (error) => {
      end(error.message);
    });
    this.#child.on('exit', (code, signal) => {
      end(`exit ${code ?? signal ?? ''}`);
    });
    this.#child.stdin?.on('error', () => undefined);
    if (this.#child.stdout !== null)
      createInterface({ input: this.#child.stdout, crlfDelay: Infinity }).on('line', (line) => {
        const waiting = this.#waiting.shift();
        waiting?.resolve(parse(line, waiting.call));
      });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get alive(): boolean {
    return this.#ended === undefined;
  }

  /** Sends a command; `call` is what messages name it. */
  send(command: string, call: string): Promise<Answer> {
    if (this.#ended !== undefined) return Promise.reject(new Error(`${this.who.name}'s process has ended: ${this.#ended}`));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.kill();
        reject(new Error(`${call} did not return within ${CALL_LIMIT_MS} ms`));
      }, CALL_LIMIT_MS);
      const settle =
        <T>(then: (value: T) => void) =>
        (value: T): void => {
          clearTimeout(timer);
          then(value);
        };
      this.#waiting.push({ call: `${this.who.name}: ${call}`, resolve: settle(resolve), reject: settle(reject) });
      this.#child.stdin?.write(`${command}\n`);
    });
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  /** Ends it and waits until it is gone. */
  async end(): Promise<void> {
    if (this.#ended !== undefined) return;
    const gone = new Promise((resolve) => this.#child.once('exit', resolve));
    this.kill();
    await gone;
  }
}

function parse(line: string, call: string): Answer {
  if (line.startsWith('!')) return { call, error: line.slice(1), value: -1, out: [] };
  const [value = '', ...out] = line.slice(1).split(' ');
  return { call, error: undefined, value: Number(value), out: out.map((text) => Buffer.from(text, 'hex')) };
}
