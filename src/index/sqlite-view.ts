/**
 * The working replica held still: a read transaction on a connection of its own, on the main thread, read in small steps. Made by the working replica
 * alone, which gives it up when its write-ahead file grows too long because of it.
 */
import { OperatingError } from '../base/errors.js';
import type { LogPoint } from '../quorum/state-machine.js';
import type { Range, Row } from './index-store.js';
import { checkRange, type ReplicaView } from './readable-replica.js';
import { asIndexError } from './sqlite-error.js';
import { SqliteFile } from './sqlite-file.js';

export class SqliteView implements ReplicaView {
  readonly point: LogPoint;
  readonly #path: string;
  readonly #onClose: () => void;
  #file: SqliteFile | undefined;

  /** @throws SQLite's errors. */
  constructor(path: string, onClose: () => void) {
    this.#path = path;
    this.#onClose = onClose;
    this.#file = new SqliteFile(path, 'reading', false);
    try {
      this.#file.beginReading();
      this.point = this.#file.meta().point;
    } catch (error) {
      this.#file.close();
      throw error;
    }
  }

  get(key: Uint8Array): Buffer | undefined {
    return this.#read((file) => file.get(key));
  }

  scan(range: Range): Row[] {
    checkRange(range);
    return this.#read((file) => file.scan(range.start, range.end, range.limit, range.reverse === true));
  }

  #read<T>(read: (file: SqliteFile) => T): T {
    if (this.#file === undefined)
      throw new OperatingError('EBUSY', 'too much was written to the pool while its index was read', {
        hint: 'Try again when less is written to it.',
      });
    try {
      return read(this.#file);
    } catch (error) {
      throw asIndexError(error, { path: this.#path });
    }
  }

  /** Later reads fail. */
  giveUp(): void {
    this.#file?.close();
    this.#file = undefined;
  }

  close(): void {
    this.giveUp();
    this.#onClose();
  }
}
