/** How the command speaks: results on standard output, warnings and errors on standard error, colours only for a terminal without NO_COLOR. */
import Table from 'cli-table3';
import pc from 'picocolors';
import { OperatingError } from '../base/errors.js';

export interface TextSink {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
}

type Colours = ReturnType<typeof pc.createColors>;

function coloursFor(sink: TextSink, env: NodeJS.ProcessEnv): Colours {
  return pc.createColors(sink.isTTY === true && (env.NO_COLOR ?? '') === '' && env.TERM !== 'dumb');
}

export class Output {
  readonly colours: Colours;
  readonly #errorColours: Colours;

  constructor(
    private readonly out: TextSink = process.stdout,
    private readonly errors: TextSink = process.stderr,
    env: NodeJS.ProcessEnv = process.env,
  ) {
    this.colours = coloursFor(out, env);
    this.#errorColours = coloursFor(errors, env);
  }

  line(text = ''): void {
    this.out.write(text + '\n');
  }

  json(value: unknown): void {
    this.line(JSON.stringify(value, undefined, 2));
  }

  /** What goes on meanwhile: beside the result, so that results can be piped. */
  note(text: string): void {
    this.errors.write(`${text}\n`);
  }

  warning(text: string): void {
    this.errors.write(`${this.#errorColours.yellow('warning:')} ${text}\n`);
  }

  /** Lines of columns with a head, no borders. */
  table(head: readonly string[], rows: readonly (readonly string[])[], right: readonly number[] = []): void {
    const none = {
      top: '',
      'top-mid': '',
      'top-left': '',
      'top-right': '',
      bottom: '',
      'bottom-mid': '',
      'bottom-left': '',
      'bottom-right': '',
    };
    const table = new Table({
      head: head.map((text) => this.colours.bold(text)),
      colAligns: head.map((_, i) => (right.includes(i) ? 'right' : 'left')),
      chars: { ...none, left: '', 'left-mid': '', mid: '', 'mid-mid': '', right: '', 'right-mid': '', middle: '  ' },
      style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
    });
    for (const row of rows) table.push([...row]);
    this.line(
      table
        .toString()
        .split('\n')
        .map((line) => line.trimEnd())
        .join('\n'),
    );
  }

  /** What is wrong, where, what to do. */
  error(thrown: unknown): void {
    const red = this.#errorColours.red('ostraka:');
    if (!(thrown instanceof OperatingError)) {
      this.errors.write(`${red} internal error: ${thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)}\n`);
      return;
    }
    const lines = [`${red} ${thrown.message}`];
    if (thrown.disk !== undefined) lines.push(`  disk: ${thrown.disk}`);
    if (thrown.path !== undefined && thrown.path !== thrown.disk) lines.push(`  path: ${thrown.path}`);
    if (thrown.hint !== undefined) lines.push(`  what to do: ${thrown.hint}`);
    this.errors.write(lines.join('\n') + '\n');
  }
}

/** 1536 → "1.5 KiB". */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)} ${units[unit] ?? ''}`;
}

/** How full a disk is; a dash where that is not known. */
export function formatLevel(level: number | null): string {
  return level === null ? '-' : `${(level * 100).toFixed(1)} %`;
}
