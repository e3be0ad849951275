/** The command's end of the control socket. */
import { createConnection, type Socket } from 'node:net';
import { OperatingError, asOperatingError } from '../base/errors.js';
import { CONTROL_LINE_BYTES_MAX, answerSchema, errorFrom, type ControlRequest } from './control-protocol.js';
import { LineReader } from './line-reader.js';

export class ControlClient {
  readonly #socket: Socket;
  readonly #waiting: { resolve: (ok: unknown) => void; reject: (error: OperatingError) => void }[] = [];
  readonly #closed: Promise<void>;

  private constructor(socket: Socket) {
    this.#socket = socket;
    const reader = new LineReader(CONTROL_LINE_BYTES_MAX);
    socket.setEncoding('utf8');
    socket.on('data', (text) => {
      try {
        for (const line of reader.add(String(text))) this.#answered(line);
      } catch (error) {
        this.#fail(asOperatingError(error));
      }
    });
    socket.on('error', (error) => {
      this.#fail(asOperatingError(error));
    });
    this.#closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.#fail(
          new OperatingError('ECONNRESET', 'the daemon ended without an answer', {
            hint: 'Its log, in the state folder, says why; the next mount recovers.',
          }),
        );
        resolve();
      });
    });
  }

  /** Connects to the daemon of a pool; undefined when none listens there. */
  static connect(path: string): Promise<ControlClient | undefined> {
    return new Promise((resolve, reject) => {
      const socket = createConnection(path);
      socket.once('connect', () => {
        socket.removeAllListeners('error');
        resolve(new ControlClient(socket));
      });
      socket.once('error', (error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') resolve(undefined);
        else reject(asOperatingError(error, { path }));
      });
    });
  }

  #answered(line: string): void {
    const waiting = this.#waiting.shift();
    if (waiting === undefined) return;
    const answer = answerSchema.safeParse(JSON.parse(line));
    if (!answer.success) waiting.reject(new OperatingError('EPROTO', 'the daemon answered something else than was asked'));
    else if ('error' in answer.data) waiting.reject(errorFrom(answer.data.error));
    else waiting.resolve(answer.data.ok);
  }

  #fail(error: OperatingError): void {
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
    this.#socket.destroy();
  }

  /** Sends a request and resolves with its answer. @throws OperatingError what the daemon says, or ECONNRESET when it ends. */
  request(request: ControlRequest): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (!this.#socket.writable) {
        reject(new OperatingError('ECONNRESET', 'the daemon has closed the connection'));
        return;
      }
      this.#waiting.push({ resolve, reject });
      this.#socket.write(JSON.stringify(request) + '\n');
    });
  }

  /** Resolves when the daemon has closed the connection. */
  ended(): Promise<void> {
    return this.#closed;
  }

  close(): void {
    this.#socket.destroy();
  }
}
