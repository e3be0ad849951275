/**
 * What developers do all day, on the mount and beside it, with the same outcome: git (several working trees, clones and pushes at once, gc meanwhile), npm ci of a real
 * project from tarballs, and make -j of C sources, which must see by times alone what is to be made again.
 */
import t from 'tap';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packageRoot } from '../../src/base/package-root.js';
import { Place, lacking } from '../support/place.js';
import { run } from '../support/run.js';
import { digests, smallTree } from '../support/tree.js';
import { runTwice, sameTrees } from '../support/twice.js';

/** Fixed names and dates: the same commits everywhere. */
const GIT = String.raw`
  export GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@t GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@t GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
  export GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z'
  git init -q -b main one; cp -a "$1/." one/; git -C one add -Af .; git -C one commit -qm first
  for i in $(seq 12); do for f in $(git -C one ls-files | sed -n "$i~40p"); do echo "// $i" >>one/$f; done; git -C one commit -qam "change $i"; done
  git -C one mv package.json moved.json; git -C one rm -q README.md; ln -s moved.json one/link; chmod +x one/moved.json; git -C one add link; git -C one commit -qam moved
  git clone -q --bare one bare.git; git -C bare.git config core.fsync all; git -C bare.git config core.logAllRefUpdates true
  # Another one may hold the lock of packed-refs for a moment.
  push() { for try in 1 2 3 4 5 6 7 8; do git push -q origin $1 2>push.log && { rm push.log; return; }; sleep 0.3; done; cat push.log; return 1; }
  worker() {
    git clone -q bare.git clone$1; cd clone$1; git checkout -qb branch$1
    for i in 1 2 3; do rm -rf src; git checkout -q -- .; echo $i >>by$1; git add -A; git commit -qm "$1 $i"; push branch$1; done
    git rebase -q main; git gc -q; git fsck --strict --full 2>&1 | grep -v dangling || true
  }
  pids=; for w in 1 2 3 4; do (worker $w) & pids="$pids $!"; done
  for w in 1 2 3; do git -C one worktree add -q ../tree$w -b tree$w main; (cd tree$w; echo $w >new; git add new; git commit -qm $w) & pids="$pids $!"; done
  git -C bare.git gc -q & pids="$pids $!"
  for pid in $pids; do wait $pid; done
  git -C one gc -q; git -C bare.git repack -adfq; git -C bare.git gc -q
  for r in one bare.git clone1 clone2 clone3 clone4; do git -C $r fsck --strict --full 2>&1 | grep -v dangling || true; git -C $r for-each-ref --format='%(objectname) %(refname)'; done
  for r in one tree1 tree2 tree3 clone1; do git -C $r status --porcelain; done
  git -C one worktree remove tree3; git -C one worktree list | sed 's/.*\///'; git -C one log --stat --format=%H -3
`;

/** Each change, and what make says that it makes again. */
const MAKE = String.raw`
  cp "$1"/* .; mkdir -p part; for i in $(seq 50); do printf '#include "part.h"\nint part%d(int x) { return x * %d + PART; }\n' $i $i >part/p$i.c; done
  echo '#define PART 1' >part/part.h
  { for i in $(seq 50); do echo "int part$i(int);"; done; echo '#include "sqlite3.h"'; echo '#include <stdio.h>'; echo 'int main(void) { int s = 0;'
    for i in $(seq 50); do echo "s += part$i($i);"; done; echo 'printf("%d %s\n", s, sqlite3_libversion()); return 0; }'; } >main.c
  printf '%s\n' 'OBJECTS := $(patsubst %.c,%.o,$(wildcard part/*.c))' 'all: program' 'program: main.o sqlite3.o libparts.a' '	$(CC) -o $@ main.o sqlite3.o libparts.a -lm -ldl -lpthread' \
    'libparts.a: $(OBJECTS)' '	rm -f $@; ar rcsD $@ $(OBJECTS)' 'part/%.o: part/%.c part/part.h' '	$(CC) -O1 -c -o $@ $<' '%.o: %.c' '	$(CC) -O0 -c -o $@ $<' >Makefile
  make -s -j4; ./program
  again() { make -j4 | grep -v '^make' | sort | cut -c1-60 | sha256sum; make -q && echo nothing is left; ./program; }
  again; echo '#define PART 2' >part/part.h; again; touch part/p7.c; again; cp -p part/p8.c part/p8.new; mv part/p8.new part/p8.c; again
  rm libparts.a; again; touch program; again; find . -newer part/part.h -name '*.c' | sort; find . -newer main.o -name '*.c' | sort
`;

interface Locked {
  readonly version: string;
  readonly dev?: boolean;
  readonly dependencies?: Record<string, string>;
  resolved?: string;
  integrity?: string;
}

/** eslint with all that it needs, as tarballs and a lock file that names no other place. */
async function makeProject(folder: string): Promise<number> {
  const { packages } = JSON.parse(await readFile(join(packageRoot, 'package-lock.json'), 'utf8')) as { packages: Record<string, Locked> };
  const wanted = ['node_modules/eslint'];
  const locked: Record<string, unknown> = {};
  await mkdir(join(folder, 'tarballs'), { recursive: true });
  for (let path = wanted.pop(); path !== undefined; path = wanted.pop()) {
    const found = packages[path];
    if (found === undefined || path in locked) continue;
    const tarball = `tarballs/${path.replaceAll('/', '_')}.tgz`;
    const transform = `s,^\\.,package,`;
    await run('tar', [
      '-C',
      join(packageRoot, path),
      '--exclude=./node_modules',
      `--transform=${transform}`,
      '-czf',
      join(folder, tarball),
      '.',
    ]);
    locked[path] = { ...found, dev: undefined, integrity: undefined, resolved: `file:${tarball}` };
    for (const name of Object.keys(found.dependencies ?? {}))
      wanted.push(`${path}/node_modules/${name}` in packages ? `${path}/node_modules/${name}` : `node_modules/${name}`);
  }
  const project = { name: 'project', version: '1.0.0', dependencies: { eslint: packages['node_modules/eslint']?.version } };
  await writeFile(join(folder, 'package.json'), JSON.stringify(project));
  await writeFile(
    join(folder, 'package-lock.json'),
    JSON.stringify({ ...project, lockfileVersion: 3, requires: true, packages: { '': project, ...locked } }),
  );
  return Object.keys(locked).length;
}

const NPM = String.raw`
  cp -r "$1"/. .; npm ci --offline --ignore-scripts --no-audit --no-fund --no-update-notifier --cache "$PWD/cache" --loglevel error >npm.log 2>&1 || { cat npm.log; exit 1; }
  npm ls --all --offline --cache "$PWD/cache" | sed '1d'; node_modules/.bin/eslint --version; rm -rf cache npm.log
  echo 'export default [{ rules: { semi: "error" } }];' >eslint.config.mjs; echo 'let a = 1' >a.js; node_modules/.bin/eslint a.js | sed 's/.*\///' || true
`;

const skip = await lacking('git', 'npm', 'make', 'cc', 'getfattr', 'getfacl');

t.test('git, npm, make', { skip }, async (t) => {
  const place = await Place.create(t);

  await t.test('git: working trees, clones and pushes at once, gc meanwhile', async (t) => {
    const both = await runTwice(t, place, 'git', GIT, smallTree);
    await place.fresh();
    for (const folder of ['one', 'tree1', 'clone1']) {
      // What git keeps for itself has times and inode numbers in it.
      const [want, got] = await Promise.all([both.local, both.ours].map((root) => digests(join(root, folder))));
      const files = (found: Map<string, string> | undefined): string[][] =>
        [...(found ?? [])].filter(([path]) => !path.startsWith('.git')).sort();
      t.same(files(got), files(want), folder);
    }
    t.equal((await run('git', ['-C', join(both.ours, 'bare.git'), 'fsck', '--strict', '--full'])).code, 0, 'in another mount');
    await run('git', ['-C', join(both.ours, 'one'), 'diff', '--exit-code', 'HEAD']);
  });

  await t.test('make -j', async (t) => {
    const sources = join(packageRoot, 'node_modules/better-sqlite3/deps/sqlite3');
    const input = place.beside('sources');
    await mkdir(input);
    for (const name of ['sqlite3.c', 'sqlite3.h']) await copyFile(join(sources, name), join(input, name));
    const both = await runTwice(t, place, 'make', MAKE, input);
    await place.fresh();
    await sameTrees(t, both);
    t.equal((await run('make', ['-C', both.ours, '-q'], { mayFail: true })).code, 0, 'nothing is to be made again in another mount');
  });

  await t.test('npm ci', async (t) => {
    t.ok((await makeProject(place.beside('project'))) > 50, 'the project is real');
    const both = await runTwice(t, place, 'npm', NPM, place.beside('project'));
    await place.fresh();
    await sameTrees(t, both);
  });
});
