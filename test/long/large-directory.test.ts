/**
 * A directory of very many entries (OSTRAKA_ENTRIES, default 100,000): made, listed from cold, looked up, renamed and removed; every name is there once. The rates are printed, to be
 * read, not judged.
 */
import t from 'tap';
import { mkdir, readdir } from 'node:fs/promises';
import { Place, lacking } from '../support/place.js';
import { run } from '../support/run.js';

const entries = Number(process.env.OSTRAKA_ENTRIES ?? 100_000);
const LIMIT_MS = 3_600_000;

/** Says how long each of its steps took, and what is there. */
const WORK = `
import os, sys, time
what, root, entries = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.chdir(root)
name = lambda i: f'entry-{i * 2654435761 % 2**32:010d}'
def timed(label, count, action):
    start = time.monotonic()
    result = action()
    print(f'{label} {count / (time.monotonic() - start):.0f}/s', file=sys.stderr)
    return result
def make():
    for i in range(entries): os.close(os.open(name(i), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
def look():
    return sum(os.stat(name(i)).st_nlink for i in range(0, entries, 10))
def move():
    for i in range(0, entries, 10): os.rename(name(i), name(i) + '.moved')
def remove():
    for found in os.listdir('.'): os.unlink(found)
if what == 'make':
    timed('create', entries, make)
else:
    found = timed('list', entries, lambda: os.listdir('.'))
    print(len(found), set(found) == {name(i) for i in range(entries)})
    print(timed('stat', entries // 10, look) == len(range(0, entries, 10)))
    timed('rename', entries // 10, move)
    print(len(set(os.listdir('.'))), sum(path.endswith('.moved') for path in os.listdir('.')))
    timed('unlink', entries, remove)
`;

t.test(`${entries} entries in one directory`, { skip: await lacking('python3') }, async (t) => {
  const place = await Place.create(t);
  await mkdir(place.at('large'));
  const work = async (what: string): Promise<string[]> => {
    const { stdout, stderr } = await run('python3', ['-I', '-c', WORK, what, place.at('large'), String(entries)], { limitMs: LIMIT_MS });
    t.comment(stderr.trim().replaceAll('\n', ', '));
    return stdout.trim().split('\n');
  };
  await work('make');
  await place.fresh();
  const moved = Math.ceil(entries / 10);
  t.same(await work('use'), [`${entries} True`, 'True', `${entries} ${moved}`], 'each name is there once, from the disks, too');
  t.same(await readdir(place.at('large')), []);
  await place.fresh();
  t.same(await readdir(place.at('large')), [], 'and in another mount');
  if (place.pool !== undefined)
    t.equal((await place.pool.ostraka(['check', place.pool.name], { limitMs: LIMIT_MS, mayFail: true })).code, 0, 'it checks');
});
