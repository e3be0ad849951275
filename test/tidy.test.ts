/** Style rules that a linter does not hold: length of files and functions, calls that belong to one place, headers, leftovers. */
import t from 'tap';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import ts from 'typescript';
import { packageRoot } from '../src/base/package-root.js';

const FILE_LINES_MAX = 500;
const FUNCTION_LINES_MAX = 90;

interface Source {
  /** Relative to the package. */
  readonly path: string;
  readonly text: string;
}

async function read(folder: string, endings: readonly string[]): Promise<Source[]> {
  const entries = await readdir(join(packageRoot, folder), { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => entry.isFile() && endings.some((ending) => entry.name.endsWith(ending)))
    .map((entry) => join(entry.parentPath, entry.name).slice(packageRoot.length + 1))
    .filter((path) => !path.includes('/build/'))
    .sort();
  return Promise.all(paths.map(async (path) => ({ path, text: await readFile(join(packageRoot, path), 'utf8') })));
}

function lines(text: string): number {
  return text.split('\n').length - (text.endsWith('\n') ? 1 : 0);
}

function longFunctions({ path, text }: Source): string[] {
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isFunctionDeclaration(node) || ts.isMethodDeclaration(node) || ts.isConstructorDeclaration(node) || ts.isArrowFunction(node)) {
      const first = file.getLineAndCharacterOfPosition(node.getStart()).line;
      const last = file.getLineAndCharacterOfPosition(node.end).line;
      if (last - first + 1 > FUNCTION_LINES_MAX) found.push(`${path}:${first + 1} has ${last - first + 1} lines`);
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  return found;
}

interface Ban {
  readonly what: string;
  readonly pattern: RegExp;
  /** Paths below src/ where it is allowed. */
  readonly allowed: readonly string[];
}

const bans: readonly Ban[] = [
  { what: 'the type any', pattern: /(:|\bas|<|\|)\s*any\b/, allowed: [] },
  { what: 'the real clock', pattern: /\b(Date\.now|new Date\(\)|performance\.now|process\.hrtime)/, allowed: ['src/base/'] },
  { what: 'real timers', pattern: /\b(setTimeout|setInterval|setImmediate)\(/, allowed: ['src/base/', 'src/cli/'] },
  { what: 'real randomness', pattern: /\b(Math\.random|randomBytes|randomUUID)\(/, allowed: ['src/base/'] },
  { what: 'console', pattern: /\bconsole\./, allowed: [] },
  { what: 'debugger', pattern: /^\s*debugger\b/, allowed: [] },
  { what: 'a leftover', pattern: /\b(TODO|FIXME|XXX|HACK)\b/, allowed: [] },
  { what: 'a silenced type error', pattern: /@ts-(ignore|nocheck|expect-error)/, allowed: [] },
  {
    what: 'synchronous file I/O',
    pattern: /\b(readFileSync|writeFileSync|openSync|fsyncSync|readdirSync|statSync|execSync|spawnSync)\(/,
    // The second one runs on the replicas' thread, as SQLite does: nobody else waits for it, and a disk that hangs takes no thread of Node's pool.
    allowed: ['src/cli/', 'src/index/log-entries.ts'],
  },
];

function banned({ path, text }: Source): string[] {
  const found: string[] = [];
  for (const { what, pattern, allowed } of bans) {
    if (allowed.some((prefix) => path.startsWith(prefix))) continue;
    for (const [index, line] of text.split('\n').entries()) {
      // Comments may speak of what code must not do.
      const code =
        what === 'a leftover' || what === 'a silenced type error'
          ? line
          : line.replace(/^\s*(\/?\*|\/\/).*$/, '').replace(/\s\/\/ .*$/, '');
      if (pattern.test(code)) found.push(`${path}:${index + 1}: ${what}`);
    }
  }
  return found;
}

t.test('src/', async (t) => {
  const sources = await read('src', ['.ts']);
  t.ok(sources.length > 50, `${sources.length} files`);
  t.same(
    sources.filter(({ text }) => lines(text) > FILE_LINES_MAX).map(({ path, text }) => `${path}: ${lines(text)} lines`),
    [],
    `no file has more than ${FILE_LINES_MAX} lines`,
  );
  t.same(sources.flatMap(longFunctions), [], `no function has more than ${FUNCTION_LINES_MAX} lines`);
  t.same(sources.flatMap(banned), [], 'nothing that is banned');
  t.same(
    sources.filter(({ text }) => !/^(#!.*\n)?\/\*\*/.test(text)).map(({ path }) => path),
    [],
    'each file begins with what it is',
  );
});

t.test('test/ and native/', async (t) => {
  const sources = [...(await read('test', ['.ts'])), ...(await read('native', ['.cc', '.h', '.sh']))];
  t.same(
    sources.filter(({ text }) => lines(text) > FILE_LINES_MAX).map(({ path, text }) => `${path}: ${lines(text)} lines`),
    [],
  );
  const leftovers = sources
    .filter(({ path }) => !path.endsWith('tidy.test.ts'))
    .flatMap((source) => banned(source).filter((line) => line.endsWith('a leftover')));
  t.same(leftovers, []);
});

t.test('each folder of src/ has a page', async (t) => {
  const folders = (await readdir(join(packageRoot, 'src'), { withFileTypes: true })).filter((entry) => entry.isDirectory());
  const without: string[] = [];
  for (const { name } of folders)
    if (!(await readdir(join(packageRoot, 'src', name), { recursive: true })).some((path) => path.endsWith('README.md')))
      without.push(name);
  t.same(without, []);
});

t.test('the checks find what they are for', async (t) => {
  const long = `const f = () => {\n${'  g();\n'.repeat(FUNCTION_LINES_MAX)}};\n`;
  t.equal(longFunctions({ path: 'src/a.ts', text: long }).length, 1);
  const bad = ['let x: any;', 'const y = z as any;', 'Date.now();', 'setTimeout(f, 1);', 'console.log(1);', '// TO' + 'DO: later'];
  for (const text of bad) t.equal(banned({ path: 'src/index/a.ts', text }).length, 1, text);
  t.same(banned({ path: 'src/base/clock.ts', text: 'Date.now(); setTimeout(f, 1);' }), []);
  t.same(banned({ path: 'src/index/a.ts', text: '// not any; Date.now is banned' }), []);
});
