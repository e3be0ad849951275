/** A run's report: what bench-results/*.json holds, medians and ratios drawn from it, and its tables. */
import type { Sample } from './measure-group.js';
import { verdictsOf } from './targets.js';
import { stepsByFigure } from './workloads.js';

/** Goes up when a field changes its meaning. */
export const REPORT_FORMAT = 1;

export interface SubjectReport {
  readonly name: string;
  readonly about: string;
  /** Highest resident memory of its daemons, summed. */
  readonly peakBytes: number;
}

export interface Report {
  readonly format: typeof REPORT_FORMAT;
  /** ISO 8601. */
  readonly when: string;
  readonly command: string;
  readonly machine: { readonly kernel: string; readonly processors: number; readonly memoryBytes: number; readonly node: string };
  readonly size: string;
  readonly rounds: number;
  readonly tree: { readonly files: number; readonly bytes: number };
  readonly subjects: readonly SubjectReport[];
  /** Subjects that were asked for and are not in it, and why. */
  readonly leftOut: readonly { readonly name: string; readonly why: string }[];
  readonly samples: readonly Sample[];
}

export function median(numbers: readonly number[]): number | undefined {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle];
  if (upper === undefined || sorted.length % 2 === 1) return upper;
  return ((sorted[middle - 1] ?? upper) + upper) / 2;
}

/** Figures that were measured, in the order of the steps. */
export function figuresOf(report: Report): string[] {
  const measured = new Set(report.samples.map(({ figure }) => figure));
  return [...stepsByFigure.keys()].filter((figure) => measured.has(figure));
}

function valuesOf(report: Report, subject: string, figure: string): Map<number, number> {
  const found = report.samples.filter((sample) => sample.subject === subject && sample.figure === figure);
  return new Map(found.flatMap(({ round, value }) => (value === undefined ? [] : [[round, value]])));
}

export function medianOf(report: Report, subject: string, figure: string): number | undefined {
  return median([...valuesOf(report, subject, figure).values()]);
}

/** How many times better the subject is than the other, above 1 for rates and for seconds alike: the median of the rounds' ratios. */
export function ratioOf(report: Report, subject: string, other: string, figure: string): number | undefined {
  const theirs = valuesOf(report, other, figure);
  const ratios: number[] = [];
  for (const [round, ours] of valuesOf(report, subject, figure)) {
    const their = theirs.get(round);
    if (their !== undefined) ratios.push(stepsByFigure.get(figure)?.unit === 's' ? their / ours : ours / their);
  }
  return median(ratios);
}

/** Processor time of the daemons for one operation, or for one MiB, what was put off included: microseconds, median. */
export function daemonMicrosecondsOf(report: Report, subject: string, figure: string): number | undefined {
  const samples = report.samples.filter((sample) => sample.subject === subject && sample.figure === figure);
  return median(
    samples.flatMap(({ operations = 0, daemonSeconds = 0, afterSeconds = 0 }) =>
      operations === 0 ? [] : [((daemonSeconds + afterSeconds) / operations) * 1e6],
    ),
  );
}

function show(value: number | undefined): string {
  if (value === undefined) return '–';
  if (value >= 100_000) return `${Math.round(value / 1000)}k`;
  if (value >= 1000) return `${Math.round(value)}`;
  return value.toPrecision(value >= 100 ? 3 : 2);
}

function showSpread(report: Report, subject: string, figure: string): string {
  const values = [...valuesOf(report, subject, figure).values()];
  const middle = median(values);
  if (middle === undefined) return '–';
  const cut = report.samples.some((sample) => sample.subject === subject && sample.figure === figure && sample.partial !== undefined);
  const spread = values.length < 2 ? '' : ` ±${Math.round(((Math.max(...values) - Math.min(...values)) / 2 / middle) * 100)}%`;
  return `${cut ? '~' : ''}${show(middle)}${spread}`;
}

/** A table in Markdown, padded so that it can be read as it is. */
export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((_, column) => Math.max(...[head, ...rows].map((row) => (row[column] ?? '').length)));
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join(' | ')} |\n`;
  const rule = `| ${widths.map((width, i) => (i === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)).join(' | ')} |\n`;
  return line(head) + rule + rows.map(line).join('');
}

/** Figures by subject, ratios of the first subject to bindfs and the null file system, and what is asked of it. */
export function figuresTable(report: Report, withTargets: boolean): string {
  const names = report.subjects.map(({ name }) => name);
  const [ours = ''] = names;
  const against = ['bindfs', 'null'].filter((name) => names.includes(name) && name !== ours);
  const verdicts = verdictsOf(report, ours);
  const rows = figuresOf(report).map((figure) => {
    const step = stepsByFigure.get(figure);
    return [
      `${step?.label ?? figure}, ${step?.unit ?? ''}`,
      ...names.map((name) => showSpread(report, name, figure)),
      ...against.map((name) => show(ratioOf(report, ours, name, figure))),
      ...(withTargets ? [verdicts.get(figure) ?? ''] : []),
    ];
  });
  const memory = report.subjects.map((subject) => (subject.peakBytes === 0 ? '–' : `${Math.round(subject.peakBytes / 1024 ** 2)}`));
  rows.push(['peak memory of daemons, MiB', ...memory, ...against.map(() => ''), ...(withTargets ? [verdicts.get('memory') ?? ''] : [])]);
  return markdownTable(['figure', ...names, ...against.map((name) => `× ${name}`), ...(withTargets ? ['target'] : [])], rows);
}

/** What an operation costs the daemons: the figure that other work on the machine disturbs least. */
export function processorTable(report: Report): string {
  const names = report.subjects.filter(({ peakBytes }) => peakBytes > 0).map(({ name }) => name);
  if (names.length === 0) return '';
  const rows = figuresOf(report).map((figure) => {
    const step = stepsByFigure.get(figure);
    const per = step?.unit === 'MB/s' ? 'a MiB' : step?.operations === undefined ? 'each' : 'a file';
    return [`${step?.label ?? figure}: ${per}`, ...names.map((name) => show(daemonMicrosecondsOf(report, name, figure)))];
  });
  return markdownTable(['daemons, processor µs', ...names], rows);
}
