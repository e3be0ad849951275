/**
 * The daemon's end of the control socket: accepts connections of our own user (mode 0600 in a folder of mode 0700), checks each request, and
 * answers it. Opened after the pool's disks are locked, so a socket file that is there belongs to a dead process and may be replaced (I9).
 */
import { chmod, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { systemClock } from '../base/clock.js';
import { OperatingError, asOperatingError } from '../base/errors.js';
import {
  CONTROL_CONNECTIONS_MAX,
  CONTROL_LINE_BYTES_MAX,
  errorMessage,
  requestSchema,
  type ControlAnswer,
  type ControlRequest,
} from './control-protocol.js';
import { LineReader } from './line-reader.js';

/** How long answers that are being worked on may take when the server closes. */
const LAST_ANSWERS_MS = 1000;
/** sun_path's length on Linux, without the final zero. */
const SOCKET_PATH_BYTES_MAX = 107;

/** Does what a request asks; what it resolves with is the answer. */
export type ControlHandler = (request: ControlRequest) => Promise<unknown>;

export class ControlServer {
  readonly #server: Server;
  readonly #connections = new Set<Socket>();
  /** Answers that are being worked on. */
  readonly #answering = new Set<Promise<void>>();
  readonly #handler: ControlHandler;
  #onIdle: (() => void)[] = [];

  private constructor(handler: ControlHandler) {
    this.#handler = handler;
    this.#server = createServer((socket) => {
      this.#serve(socket);
    });
    this.#server.maxConnections = CONTROL_CONNECTIONS_MAX;
  }

  /** @throws OperatingError ENAMETOOLONG, or why the socket cannot be made. */
  static async open(path: string, handler: ControlHandler): Promise<ControlServer> {
    if (Buffer.byteLength(path) > SOCKET_PATH_BYTES_MAX)
      throw new OperatingError('ENAMETOOLONG', `a socket's path has at most ${SOCKET_PATH_BYTES_MAX} bytes`, {
        path,
        hint: 'Set OSTRAKA_RUN_DIR to a shorter path.',
      });
    const control = new ControlServer(handler);
    try {
      await rm(path, { force: true });
      await new Promise<void>((resolve, reject) => {
        control.#server.once('error', reject);
        control.#server.listen(path, resolve);
      });
      await chmod(path, 0o600);
    } catch (error) {
      throw asOperatingError(error, { path });
    }
    return control;
  }

  #serve(socket: Socket): void {
    this.#connections.add(socket);
    socket.on('close', () => {
      this.#connections.delete(socket);
      if (this.#connections.size === 0) for (const resolve of this.#onIdle.splice(0)) resolve();
    });
    // The other side went away: nobody is left to tell.
    socket.on('error', () => socket.destroy());
    socket.setEncoding('utf8');
    const reader = new LineReader(CONTROL_LINE_BYTES_MAX);
    let turn = Promise.resolve();
    socket.on('data', (text) => {
      let lines: string[];
      try {
        lines = reader.add(String(text));
      } catch {
        socket.destroy();
        return;
      }
      // One request at a time; what arrives meanwhile waits in the kernel's buffer.
      for (const line of lines) {
        socket.pause();
        turn = turn.then(async () => {
          const answer = await this.#answer(line);
          if (socket.writable) socket.write(JSON.stringify(answer) + '\n');
          socket.resume();
        });
        const answering = turn.finally(() => this.#answering.delete(answering));
        this.#answering.add(answering);
      }
    });
  }

  async #answer(line: string): Promise<ControlAnswer> {
    try {
      const request = requestSchema.safeParse(JSON.parse(line));
      if (!request.success)
        throw new OperatingError('EPROTO', 'the daemon does not understand this request', {
          hint: 'Command and daemon are of different versions: unmount and mount again.',
        });
      return { ok: (await this.#handler(request.data)) ?? null };
    } catch (error) {
      return { error: errorMessage(asOperatingError(error)) };
    }
  }

  /** Connections that are open. */
  get connections(): number {
    return this.#connections.size;
  }

  /** Resolves when no connection is open (any more). */
  idle(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#connections.size === 0) resolve();
      else this.#onIdle.push(resolve);
    });
  }

  /** Takes no more requests. The socket's file goes. Connections that wait for an answer stay. */
  stopListening(): void {
    this.#server.close();
  }

  /** Ends all connections, after what is about to be answered has been sent. */
  async close(): Promise<void> {
    this.stopListening();
    await Promise.race([Promise.all(this.#answering), systemClock.sleep(LAST_ANSWERS_MS)]);
    await Promise.all(
      [...this.#connections].map(
        (socket) =>
          new Promise<void>((resolve) => {
            socket.once('close', () => {
              resolve();
            });
            socket.end();
            socket.resume();
          }),
      ),
    );
  }
}
