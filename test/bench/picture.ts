/**
 * A run's ratios as an SVG: for each figure a bar from 1 to what the first subject reached against bindfs (or the second subject), on a logarithmic axis, and a mark
 * where each other subject stands. Readable on light and dark pages.
 */
import { figuresOf, ratioOf, type Report } from './report.js';
import { stepsByFigure } from './workloads.js';

const WIDTH = 860;
const LEFT = 250;
const RIGHT = 70;
const TOP = 84;
const ROW = 22;
const BAR = 12;
const BOTTOM = 72;
/** The axis: from, to. What lies beyond is drawn at its end. */
const LEAST = 1 / 16;
const MOST = 64;
const TICKS = [1 / 16, 1 / 4, 1, 4, 16, 64];

/** A mark for each subject that is neither the first nor the base: shape and colour tell them apart. */
const marks: readonly { readonly colour: string; readonly path: string }[] = [
  { colour: '#8250df', path: 'M0-5 5 0 0 5-5 0Z' },
  { colour: '#bf8700', path: 'M-4-4H4V4H-4Z' },
  { colour: '#cf222e', path: 'M0-5 5 4H-5Z' },
  { colour: '#1b7c83', path: 'M0 5 5-4H-5Z' },
  { colour: '#bc4c9b', path: 'M-5-2H-2V-5H2V-2H5V2H2V5H-2V2H-5Z' },
  { colour: '#57606a', path: 'M0-5A5 5 0 1 0 0 5 5 5 0 1 0 0-5Z' },
];

const STYLE = `text{font:13px system-ui,sans-serif;fill:#1f2328}.quiet{fill:#59636e;font-size:12px}.title{font-size:16px;font-weight:600}
.axis{stroke:#d1d9e0}.one{stroke:#59636e;stroke-width:1.5}.better{fill:#2da44e}.worse{fill:#e5534b}
@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.quiet{fill:#9198a1}.axis{stroke:#3d444d}.one{stroke:#9198a1}.mark{filter:brightness(1.5)}}`;

export function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

function place(ratio: number): number {
  const share = Math.log(Math.min(MOST, Math.max(LEAST, ratio)) / LEAST) / Math.log(MOST / LEAST);
  return Math.round((LEFT + share * (WIDTH - LEFT - RIGHT)) * 10) / 10;
}

function times(ratio: number): string {
  return `${ratio >= 10 ? Math.round(ratio) : ratio.toPrecision(2)} ×`;
}

function axis(height: number): string {
  const lines = TICKS.map((tick) => {
    const x = place(tick);
    const label = tick >= 1 ? `${tick} ×` : `1/${Math.round(1 / tick)}`;
    const line = `<line class="${tick === 1 ? 'one' : 'axis'}" x1="${x}" y1="${TOP - 6}" x2="${x}" y2="${height - BOTTOM}"/>`;
    return `${line}<text class="quiet" x="${x}" y="${TOP - 12}" text-anchor="middle">${label}</text>`;
  });
  return lines.join('\n');
}

function row(report: Report, figure: string, index: number, ours: string, base: string, others: readonly string[]): string {
  const middle = TOP + index * ROW + ROW / 2;
  const parts = [`<text x="${LEFT - 12}" y="${middle + 4}" text-anchor="end">${escape(stepsByFigure.get(figure)?.label ?? figure)}</text>`];
  const ratio = ratioOf(report, ours, base, figure);
  if (ratio !== undefined) {
    const [one, end] = [place(1), place(ratio)];
    const rect = `x="${Math.min(one, end)}" y="${middle - BAR / 2}" width="${Math.max(1, Math.abs(end - one)).toFixed(1)}" height="${BAR}"`;
    parts.push(`<rect class="${ratio >= 1 ? 'better' : 'worse'}" ${rect} rx="2"/>`);
    parts.push(`<text class="quiet" x="${WIDTH - 8}" y="${middle + 4}" text-anchor="end">${times(ratio)}</text>`);
  }
  for (const [i, other] of others.entries()) {
    const theirs = ratioOf(report, other, base, figure);
    const mark = marks[i % marks.length];
    if (theirs !== undefined && mark !== undefined)
      parts.push(`<path class="mark" fill="${mark.colour}" transform="translate(${place(theirs)} ${middle})" d="${mark.path}"/>`);
  }
  return parts.join('\n');
}

/** @returns the SVG's text; a picture of nothing where fewer than two subjects were measured */
export function picture(report: Report): string {
  const names = report.subjects.map(({ name }) => name);
  const [ours = ''] = names;
  const base = names.includes('bindfs') && ours !== 'bindfs' ? 'bindfs' : (names[1] ?? ours);
  const others = names.filter((name) => name !== ours && name !== base);
  const figures = figuresOf(report).filter((figure) => ratioOf(report, ours, base, figure) !== undefined);
  const height = TOP + figures.length * ROW + BOTTOM;
  const about = report.subjects.find(({ name }) => name === ours)?.about ?? ours;
  const legend = others.map((name, i) => {
    const mark = marks[i % marks.length];
    const x = LEFT + i * 90;
    return `<path class="mark" fill="${mark?.colour ?? ''}" transform="translate(${x} ${height - 50})" d="${mark?.path ?? ''}"/><text x="${x + 10}" y="${height - 46}">${escape(name)}</text>`;
  });
  const linux = /^\d+\.\d+/.exec(report.machine.kernel)?.[0] ?? '';
  const runs = report.rounds === 1 ? 'one round' : `median of ${report.rounds} rounds`;
  const source = `${report.when.slice(0, 10)}, ${report.machine.processors} processors, Linux ${linux}, ${runs}`;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="Speed against ${escape(base)}">
<style>${STYLE}</style>
<text class="title" x="12" y="26">Speed, as a multiple of ${escape(base)}</text>
<text class="quiet" x="12" y="46">bars: ${escape(about)}; to the right is faster</text>
${axis(height)}
${figures.map((figure, i) => row(report, figure, i, ours, base, others)).join('\n')}
${legend.join('\n')}
<text class="quiet" x="12" y="${height - 24}">${escape(source)}</text>
<text class="quiet" x="12" y="${height - 8}">${escape(report.command)}</text>
</svg>
`;
}
