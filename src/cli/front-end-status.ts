/** What `ostraka status --verbose` adds: the connection to the kernel, requests by operation, and how long they took. */
import type { DurationsReport, FrontEndReport } from '../daemon/front-end-report.js';
import type { Output } from './output.js';

/** A duration in microseconds, for people. */
export function formatMicroseconds(us: number): string {
  if (us < 1000) return `${us} µs`;
  return us < 1e6 ? `${(us / 1000).toPrecision(3)} ms` : `${(us / 1e6).toPrecision(3)} s`;
}

const BARS = ' ▁▂▃▄▅▆▇█';

/** The histogram in one line, a character for each power of two of microseconds from 1 on. Whatever is there at all can be seen. */
export function histogramText(histogram: readonly number[]): string {
  const most = Math.max(...histogram, 1);
  return histogram.map((count) => BARS[count === 0 ? 0 : Math.max(1, Math.round((count / most) * (BARS.length - 1)))]).join('');
}

function cells(durations: DurationsReport): string[] {
  return [...[durations.p50_us, durations.p99_us, durations.max_us].map(formatMicroseconds), histogramText(durations.histogram)];
}

function protocolFields({ protocol, kernel_protocol, flags, flags_left }: FrontEndReport): [string, string][] {
  const fields: [string, string][] = [['flags', flags.join(', ')]];
  if (protocol !== null) fields.unshift(['protocol', `FUSE ${protocol} (the kernel speaks ${kernel_protocol ?? 'another'})`]);
  if (flags_left.length > 0) fields.push(['left alone', flags_left.join(', ')]);
  return fields;
}

export function printFrontEnd(output: Output, frontEnd: FrontEndReport | null): void {
  output.line();
  if (frontEnd === null) {
    output.line('Not mounted: no requests are served.');
    return;
  }
  const fields: [string, string][] = [
    ['binding', frontEnd.binding],
    ...protocolFields(frontEnd),
    [
      'requests',
      `${frontEnd.requests}, ${frontEnd.under_way} under way, ${frontEnd.failures} failed, ${frontEnd.interrupts} interrupts; ` +
        `${frontEnd.open_files} open files`,
    ],
  ];
  const refused = frontEnd.refused_replies + frontEnd.refused_notifications;
  if (refused > 0) fields.push(['refused', output.colours.red(`${refused} messages to the kernel, which is a bug`)]);
  for (const [label, text] of fields) output.line(`${label.padStart(10)}  ${text}`);
  output.line();
  const row = (name: string, durations: DurationsReport, failures: string): string[] => [
    name,
    String(durations.count),
    failures,
    ...cells(durations),
  ];
  output.table(
    ['OPERATION', 'COUNT', 'FAILED', 'HALF IN', '99 % IN', 'LONGEST', 'FROM 1 µs, DOUBLING'],
    [
      ...frontEnd.operations.map((each) => row(each.operation, each, String(each.failures))),
      row('event loop delay', frontEnd.loop_delay, '-'),
    ],
    [1, 2, 3, 4, 5],
  );
}
