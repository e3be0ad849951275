/** The table of differences, as src/frontend/fuse/README.md has it. */
import type { Exception } from './suite.js';

/** Lines of a Markdown table, its columns as wide as prettier makes them. */
export function differencesTable(exceptions: readonly Exception[], test: string): string[] {
  const rows = [
    ['operation', 'what Ostraka does', 'why', 'test'],
    ...exceptions.map(({ operation, does, reason }) => [operation, does, reason, `\`${test}\``]),
  ].map((row) => row.map((cell) => cell.replaceAll('|', '\\|')));
  const widths = [0, 1, 2, 3].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]): string => `| ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(' | ')} |`;
  const [head = [], ...body] = rows;
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...body.map(line)];
}
