/** Requests by operation: how many, how many failed, how long they took from being read to being answered. */
import { Histogram, type Durations } from '../../base/histogram.js';
import { opcodeName } from './protocol.js';

export interface OperationStats extends Durations {
  readonly operation: string;
  /** As FrontEndStats counts them. */
  readonly failures: number;
}

interface Meter {
  readonly histogram: Histogram;
  failures: number;
}

export class RequestMeters {
  /** By opcode: few and small. */
  readonly #meters = new Map<number, Meter>();

  done(opcode: number, milliseconds: number, failed: boolean): void {
    let meter = this.#meters.get(opcode);
    if (meter === undefined) this.#meters.set(opcode, (meter = { histogram: new Histogram(), failures: 0 }));
    meter.histogram.add(milliseconds);
    if (failed) meter.failures++;
  }

  /** The most frequent first. */
  stats(): OperationStats[] {
    const all = [...this.#meters].map(([opcode, { histogram, failures }]) => ({
      operation: opcodeName(opcode),
      failures,
      ...histogram.durations,
    }));
    return all.sort((a, b) => b.count - a.count);
  }
}
