/** What Ostraka is meant to reach, row by row, against peers in the same run; only those that were measured count. */
import { medianOf, ratioOf, type Report } from './report.js';
import { groups, stepsByFigure } from './workloads.js';

interface Target {
  readonly figures: readonly string[];
  readonly against: string;
  readonly least: number;
}

const everyFigure = groups.filter(({ losesDisks }) => losesDisks !== true).flatMap(({ steps }) => steps.map(({ figure }) => figure));
const smallFiles = ['create', 'stat_cold', 'stat_warm', 'read_cold', 'unlink', 'fsync_1', 'fsync_16', 'untar', 'rsync'];

const targets: readonly Target[] = [
  { figures: everyFigure, against: 'bindfs', least: 1 },
  { figures: ['big_write', 'untar', 'rsync'], against: 'bindfs', least: 3 },
  { figures: everyFigure, against: 'zfs-fuse', least: 1.2 },
  { figures: everyFigure, against: 'gluster', least: 3 },
  { figures: smallFiles, against: 'gluster', least: 20 },
  { figures: ['big_write', 'big_read_cold'], against: 'btrfs', least: 0.8 },
  { figures: ['degraded_read_cold', 'degraded_write'], against: 'btrfs', least: 5 },
  { figures: ['fsync_1', 'append_fsync'], against: 'ext4', least: 1.3 },
];

/** Of a rate of operations, this share of what the channel can do is enough. */
const ENOUGH_OF_NULL = 0.75;

/** Between figures of its own. */
const within: readonly { readonly figure: string; readonly of: string; readonly least: number }[] = [
  { figure: 'fsync_16', of: 'fsync_1', least: 5 },
  { figure: 'degraded_read_cold', of: 'big_read_cold', least: 0.7 },
  { figure: 'degraded_write', of: 'big_write', least: 0.7 },
];

const MEMORY_BYTES_MAX = 300 * 1024 ** 2;

/** Figure (and `memory`) to `met`, or what was missed. Figures that nothing was measured beside are not in it. */
export function verdictsOf(report: Report, subject: string): Map<string, string> {
  const verdicts = new Map<string, string>();
  const judge = (figure: string, ratio: number | undefined, least: number, of: string): void => {
    if (ratio === undefined) return;
    const before = verdicts.get(figure) ?? 'met';
    const missed = ratio < least ? `${ratio.toPrecision(2)} × ${of}, not ${least}` : undefined;
    verdicts.set(figure, missed === undefined ? before : before === 'met' ? missed : `${before}; ${missed}`);
  };
  for (const { figures, against, least } of targets)
    for (const figure of figures) {
      const ofNull = stepsByFigure.get(figure)?.unit === '/s' ? ratioOf(report, subject, 'null', figure) : undefined;
      const enough = (against === 'bindfs' || against === 'zfs-fuse') && ofNull !== undefined && ofNull >= ENOUGH_OF_NULL;
      const ratio = ratioOf(report, subject, against, figure);
      judge(figure, enough && ratio !== undefined ? least : ratio, least, against);
    }
  for (const { figure, of, least } of within) {
    const [ours, base] = [medianOf(report, subject, figure), medianOf(report, subject, of)];
    judge(figure, ours !== undefined && base !== undefined ? ours / base : undefined, least, of);
  }
  const peak = report.subjects.find(({ name }) => name === subject)?.peakBytes ?? 0;
  if (peak > 0) verdicts.set('memory', peak <= MEMORY_BYTES_MAX ? 'met' : `over ${MEMORY_BYTES_MAX / 1024 ** 2}`);
  return verdicts;
}
