/** What `perf script -F comm,ip,sym` prints, as a flame graph: an SVG in which each call is as wide as the time that was seen in it. The threads stand at the bottom. */
import { escape } from './picture.js';

const WIDTH = 1200;
const ROW = 17;
const TOP = 46;
const MARGIN = 8;
/** Of all samples: what is narrower is left out. */
const LEAST = 0.002;
/** Letters that fit into a pixel. */
const LETTERS = 1 / 6.4;

interface Call {
  samples: number;
  readonly callees: Map<string, Call>;
}

const newCall = (): Call => ({ samples: 0, callees: new Map() });

/** Names of JavaScript functions come with how they were compiled and where their file lies. */
function short(symbol: string): string {
  const name = symbol.replace(/\+0x[0-9a-f]+$/, '');
  if (!name.startsWith('JS:')) return name.replace(/\((?:[^()]|\([^()]*\))*\)$/, '');
  return name.replace(/^JS:[*+~^]?/, '').replace(/^(\S*) \S*\/(?:dist\/src|node_modules)\/(\S+?)(?::\d+)*$/, '$1 ($2)');
}

/** Samples by call stack. @param text blocks with an empty line after each: the thread's name, then its calls, the innermost first */
function merge(text: string): Call {
  const all = newCall();
  for (const block of text.split('\n\n')) {
    const [thread = '', ...lines] = block.trim().split('\n');
    if (thread === '') continue;
    const calls = lines.map((line) => short(line.trim().replace(/^[0-9a-f]+\s+/, '')));
    let at = all;
    at.samples++;
    for (const name of [thread.trim().replace(/:$/, ''), ...calls.reverse()]) {
      const callee = at.callees.get(name) ?? newCall();
      at.callees.set(name, callee);
      callee.samples++;
      at = callee;
    }
  }
  return all;
}

/** Colours tell apart where a call is from: JavaScript, V8 and Node, ours in C++, the kernel and libraries. */
function colourOf(name: string): string {
  if (/\.js\)$/.test(name)) return '#7ac27f';
  if (/^(v8|node|Builtins_|uv_|napi_)/.test(name)) return '#9cc5e8';
  if (name.includes('ostraka')) return '#e8b45c';
  return '#e58a76';
}

/** @throws Error there are no samples */
export function flameGraph(text: string, title: string): string {
  const all = merge(text);
  if (all.samples === 0) throw new Error('perf saw nothing');
  const boxes: string[] = [];
  let depth = 0;
  const draw = (call: Call, from: number, level: number): void => {
    let at = from;
    for (const [name, callee] of [...call.callees].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const share = callee.samples / all.samples;
      if (share >= LEAST) {
        depth = Math.max(depth, level + 1);
        const width = share * (WIDTH - 2 * MARGIN);
        const x = MARGIN + (at / all.samples) * (WIDTH - 2 * MARGIN);
        const room = Math.floor((width - 6) * LETTERS);
        const label = room < 3 ? '' : name.length <= room ? name : `${name.slice(0, room - 1)}…`;
        const box = `<rect x="${x.toFixed(1)}" y="@${level}" width="${Math.max(0.5, width - 0.5).toFixed(1)}" height="${ROW - 1}" fill="${colourOf(name)}"/>`;
        const words = label === '' ? '' : `<text x="${(x + 3).toFixed(1)}" y="#${level}">${escape(label)}</text>`;
        boxes.push(`<g><title>${escape(name)}: ${(100 * share).toFixed(1)} %</title>${box}${words}</g>`);
        draw(callee, at, level + 1);
      }
      at += callee.samples;
    }
  };
  draw(all, 0, 0);
  const height = TOP + depth * ROW + MARGIN;
  const y = (level: number): number => height - MARGIN - (level + 1) * ROW;
  const body = boxes
    .join('\n')
    .replace(/y="@(\d+)"/g, (_, level: string) => `y="${y(Number(level))}"`)
    .replace(/y="#(\d+)"/g, (_, level: string) => `y="${y(Number(level)) + 12}"`);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img">
<style>text{font:11px ui-monospace,monospace;fill:#1f2328}.title{font:600 15px system-ui,sans-serif}</style>
<rect width="${WIDTH}" height="${height}" fill="#fff"/>
<text class="title" x="${MARGIN}" y="20">${escape(title)}</text>
<text x="${MARGIN}" y="36">green: JavaScript · blue: V8 and Node · yellow: native code of Ostraka · red: the kernel and libraries</text>
${body}
</svg>
`;
}
