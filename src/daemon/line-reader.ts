/** Cuts a byte stream into lines, with a bound on their length. */
import { OperatingError } from '../base/errors.js';

export class LineReader {
  #rest = '';

  constructor(private readonly bytesMax: number) {}

  /** Returns the lines that `text` completes. @throws OperatingError EMSGSIZE */
  add(text: string): string[] {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    if (this.#rest.length > this.bytesMax || lines.some((line) => line.length > this.bytesMax))
      throw new OperatingError('EMSGSIZE', `a message is longer than ${this.bytesMax} bytes`);
    return lines;
  }
}
