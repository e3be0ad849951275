/**
 * A writer for kill.test.ts: makes, replaces (by rename), rewrites and unlinks files until the mount dies under it, and says on standard
 * output what it begins and what has returned. Content follows from name and version, so that a reader can tell versions apart.
 */
import { closeSync, openSync, renameSync, unlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';
import { seededRandom } from '../../src/base/clock.js';

/** The bytes of version `version` of file `name`: 0 … 1.3 MB, most of them small. */
export function contentOf(name: string, version: number): Buffer {
  let seed = version * 7919;
  // A replacement in the making has the content of what it will replace.
  for (const char of name.replace(/^r-/, '')) seed = (seed * 31 + char.charCodeAt(0)) >>> 0;
  const random = seededRandom(seed);
  const bytes = random.below(10) === 0 ? random.below(1_300_000) : random.below(30_000);
  const block = Buffer.from(random.bytes(997));
  const out = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at += block.length) block.copy(out, at);
  return out;
}

function main(folder: string, seed: number): void {
  const random = seededRandom(seed);
  const say = (text: string): void => {
    writeSync(1, text + '\n');
  };
  const write = (path: string, content: Buffer): void => {
    const fd = openSync(path, 'w');
    for (let at = 0; at < content.length; at += 100_000) writeSync(fd, content, at, Math.min(100_000, content.length - at), at);
    closeSync(fd);
  };
  for (let i = 0; ; i++) {
    const version = seed * 100_000 + i;
    const name = `${seed % 2}-${random.below(40)}`;
    const path = join(folder, name);
    const kind = random.below(10);
    if (kind < 2) {
      say(`begin ${name} -`);
      try {
        unlinkSync(path);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      }
      say(`end ${name} -`);
    } else if (kind < 6) {
      const temporary = `t-${name}-${version}`;
      say(`begin ${temporary} ${version}`);
      write(join(folder, temporary), contentOf(temporary, version));
      say(`end ${temporary} ${version}`);
      say(`begin ${temporary} -`);
      unlinkSync(join(folder, temporary));
      say(`end ${temporary} -`);
    } else {
      say(`begin ${name} -`);
      try {
        unlinkSync(path);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      }
      say(`end ${name} -`);
      say(`begin ${name} ${version}`);
      write(path, contentOf(name, version));
      say(`end ${name} ${version}`);
      if (kind >= 8) {
        // A replacement through a temporary name: the target is the old or the new version, whole.
        const next = version + 50_000;
        const temporary = join(folder, `r-${name}`);
        say(`begin r-${name} ${next}`);
        write(temporary, contentOf(name, next));
        say(`swap ${name} ${next}`);
        renameSync(temporary, path);
        say(`end r-${name} -`);
        say(`end ${name} ${next}`);
      }
    }
  }
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  try {
    main(argv[2] ?? '.', Number(argv[3]));
  } catch {
    // The mount died: that is the end of this writer's work.
  }
}
