/** What `ostraka status --json` says of the mount's connection to the kernel. The names are stable. */
import type { Durations } from '../base/histogram.js';
import type { OperationStats } from '../frontend/fuse/meters.js';
import type { Binding, Mount } from '../frontend/mount.js';

/** Times in microseconds. */
export interface DurationsReport {
  readonly count: number;
  readonly p50_us: number;
  readonly p99_us: number;
  readonly max_us: number;
  /** The i-th: how many took less than 2^i µs, and not less than half of it. */
  readonly histogram: readonly number[];
}

export interface OperationReport extends DurationsReport {
  readonly operation: string;
  readonly failures: number;
}

export interface FrontEndReport {
  /** What carries requests between the kernel and the daemon. */
  readonly binding: Binding;
  /** As agreed with the kernel; null where the binding does not tell. */
  readonly protocol: string | null;
  readonly kernel_protocol: string | null;
  /** Agreed with the kernel, or asked of the binding. */
  readonly flags: readonly string[];
  /** Offered by the kernel, and left alone. */
  readonly flags_left: readonly string[];
  readonly requests: number;
  readonly under_way: number;
  /** Answered EIO. */
  readonly failures: number;
  readonly interrupts: number;
  readonly open_files: number;
  /** Replies and notifications that the kernel refused: bugs. */
  readonly refused_replies: number;
  readonly refused_notifications: number;
  readonly operations: readonly OperationReport[];
  /** How late timers were: how long the event loop was busy with something else. */
  readonly loop_delay: DurationsReport;
}

function durationsReport({ count, p50, p99, max, buckets }: Durations): DurationsReport {
  return { count, p50_us: p50, p99_us: p99, max_us: max, histogram: buckets };
}

function operationReport(stats: OperationStats): OperationReport {
  return { operation: stats.operation, failures: stats.failures, ...durationsReport(stats) };
}

export function reportFrontEnd(mount: Mount, loopDelay: Durations): FrontEndReport {
  const stats = mount.stats();
  const { protocol, kernelProtocol, flags, flagsLeft } = mount.connection();
  return {
    binding: mount.binding,
    protocol: protocol ?? null,
    kernel_protocol: kernelProtocol ?? null,
    flags,
    flags_left: flagsLeft,
    requests: stats.requests,
    under_way: stats.underWay,
    failures: stats.failures,
    interrupts: stats.interrupts,
    open_files: stats.openFiles,
    refused_replies: stats.replyErrors,
    refused_notifications: stats.notifyErrors,
    operations: mount.operations().map(operationReport),
    loop_delay: durationsReport(loopDelay),
  };
}
