/**
 * Ways to break the quorum log on purpose, for the checks alone: each leaves one rule out, and they must find what that costs.
 */
export interface Mutations {
  /** Acknowledge what was written but not synced. */
  readonly skipSync?: boolean;
  /** Acknowledge when one voter has it. */
  readonly acknowledgeEarly?: boolean;
  /** Lead without a promise. */
  readonly skipPromise?: boolean;
  /** Do not ask for the promises of others after writing. */
  readonly skipFence?: boolean;
  /** Count a voter that is damaged below its mark as merely behind. */
  readonly ignoreMark?: boolean;
  /** Serve before an entry of the own epoch is on a majority. */
  readonly skipLead?: boolean;
  /** Cut what follows an entry that is written again. */
  readonly cutOnRewrite?: boolean;
  /** Change who votes again before an entry is durable under the voters in force. */
  readonly skipChangeEntry?: boolean;
  /** Bring durable replicas up to what is appended, durable or not. */
  readonly applyEarly?: boolean;
  /** Go on behind what can be read of a voter, synced or not, instead of behind its mark. */
  readonly trustUnsynced?: boolean;
}
