/**
 * A writer for kill.test.ts: a process that creates, appends, overwrites, replaces, renames and unlinks files in a folder of its own, small ones and big
 * ones, until the mount dies under it, and knows byte by byte what was acknowledged: what a returned fsync, O_SYNC write, close, rename or unlink has
 * promised. It outlives the daemon, so that no acknowledgement is forgotten with it, and verifies its folder when the pool is mounted again.
 *
 * On standard input `go`, `stop`, `verify`, `verify all`, one a line; an answer in JSON to each, `go`'s when it was stopped or the mount died. `verify` reads what was
 * touched since the last one and some of the rest.
 *
 * Of the one operation that was in doubt, either outcome is right, and of a file that was open and unsynced what it may be on its way (`Way`). Nothing else
 * may be found, and what is found then counts as acknowledged.
 */
import {
  closeSync,
  constants,
  fdatasyncSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { argv, stdin } from 'node:process';
import { createInterface } from 'node:readline';
import { setImmediate } from 'node:timers/promises';
import { seededRandom } from '../../src/base/clock.js';

const PAGE_BYTES = 4096;
const BIG_BYTES_MAX = 9 * 1024 ** 2;
const SMALL_BYTES_MAX = 60_000;
/** Bytes of all files together: beyond, files are unlinked until it is less. */
const FOLDER_BYTES_MAX = 48 * 1024 ** 2;
const NAMES = 48;
const FOLDERS = 4;

export interface Stopped {
  /** The error that ended it, or null when it was told to stop. */
  readonly code: string | null;
  /** Since the process began. */
  readonly operations: number;
  readonly acknowledgedBytes: number;
}

export interface Verified {
  readonly wrong: readonly string[];
  readonly files: number;
  readonly bytes: number;
}

/** How a file gets from its old content to the next, and so what may be found of it in between. */
type Way =
  /** Given in order from the beginning: as it was, or a beginning of the next. */
  | 'anew'
  /** Given in order at its end: nothing of the old is missing. */
  | 'grow'
  /** Each page is the old or the next one. */
  | 'pages'
  /** Nothing in between. */
  | 'whole';

/** What was begun and has not returned. */
type Doubt =
  | { readonly kind: 'write'; readonly name: string; readonly way: Way; readonly old: Buffer | undefined; readonly next: Buffer }
  | { readonly kind: 'unlink'; readonly name: string }
  | { readonly kind: 'rename'; readonly name: string; readonly to: string };

const nothing = Buffer.alloc(0);

function mayBe(found: Buffer | undefined, old: Buffer | undefined, next: Buffer, way: Way): boolean {
  if (found === undefined) return old === undefined;
  if (old === undefined) return found.equals(next);
  if (found.equals(old) || found.equals(next)) return true;
  switch (way) {
    case 'whole':
      return false;
    case 'anew':
      return found.equals(next.subarray(0, found.length));
    case 'grow':
      return found.length >= old.length && found.equals(next.subarray(0, found.length));
    case 'pages':
      if (found.length !== next.length) return false;
      for (let at = 0; at < found.length; at += PAGE_BYTES) {
        const page = found.subarray(at, at + PAGE_BYTES);
        if (!page.equals(next.subarray(at, at + PAGE_BYTES)) && !page.equals(old.subarray(at, at + PAGE_BYTES))) return false;
      }
      return true;
  }
}

class Writer {
  readonly #folder: string;
  readonly #random;
  readonly #files = new Map<string, Buffer>();
  readonly #touched = new Set<string>();
  #doubt: Doubt | undefined;
  #bytes = 0;
  #operations = 0;
  #acknowledgedBytes = 0;
  stopping = false;

  constructor(folder: string, seed: number) {
    this.#folder = folder;
    this.#random = seededRandom(seed);
    for (let i = 0; i < FOLDERS; i++) mkdirSync(join(folder, `d${i}`), { recursive: true });
  }

  async run(): Promise<Stopped> {
    this.stopping = false;
    let code: string | null = null;
    try {
      while (!this.stopping) {
        this.#operate();
        this.#operations++;
        // Reads what standard input has.
        await setImmediate();
      }
    } catch (error) {
      code = (error as NodeJS.ErrnoException).code ?? String(error);
    }
    return { code, operations: this.#operations, acknowledgedBytes: this.#acknowledgedBytes };
  }

  #operate(): void {
    const random = this.#random;
    const name = this.#name();
    const content = this.#files.get(name);
    if (this.#bytes > FOLDER_BYTES_MAX) {
      const biggest = [...this.#files].sort((a, b) => b[1].length - a[1].length)[0];
      if (biggest) this.#unlink(biggest[0]);
    } else if (content === undefined) this.#create(name);
    else {
      const kind = random.below(20);
      if (kind < 3) this.#unlink(name);
      else if (kind < 8) this.#append(name, content);
      else if (kind < 12) this.#overwrite(name, content);
      else if (kind < 14) this.#replace(name);
      else if (kind < 16) this.#rename(name);
      else if (kind < 17) this.#truncate(name, content);
      else this.#rewrite(name, content);
    }
  }

  #name(): string {
    const number = this.#random.below(NAMES);
    return `d${this.#random.below(FOLDERS)}/f${number}`;
  }

  /** Different at each place of each version, and cheap to make. */
  #content(bytes: number): Buffer {
    const pattern = Buffer.from(this.#random.bytes(2053));
    const out = Buffer.alloc(bytes);
    for (let at = 0; at < bytes; at += pattern.length) pattern.copy(out, at);
    for (let at = 0; at + 4 <= bytes; at += 512) out.writeUInt32LE(at, at);
    return out;
  }

  #someBytes(): number {
    const kind = this.#random.below(20);
    return kind === 0 ? this.#random.below(BIG_BYTES_MAX) : kind < 4 ? this.#random.below(600_000) : this.#random.below(SMALL_BYTES_MAX);
  }

  #doubting(doubt: Doubt): void {
    this.#doubt = doubt;
    this.#touched.add(doubt.name);
    if (doubt.kind === 'rename') this.#touched.add(doubt.to);
  }

  #acknowledged(name: string, content: Buffer | undefined): void {
    this.#bytes += (content?.length ?? 0) - (this.#files.get(name)?.length ?? 0);
    if (content === undefined) this.#files.delete(name);
    else this.#files.set(name, content);
    this.#acknowledgedBytes += content?.length ?? 0;
    this.#doubt = undefined;
  }

  /** Opens, works, closes, also when the mount died meanwhile. */
  #withFile(name: string, flags: number, work: (fd: number) => void): void {
    const fd = openSync(join(this.#folder, name), flags, 0o644);
    try {
      work(fd);
    } catch (error) {
      try {
        closeSync(fd);
      } catch {
        // The first error counts.
      }
      throw error;
    }
    closeSync(fd);
  }

  /** Writes `content` from `at` to the end in a few steps; a fifth of all files is synced before it is closed. */
  #pour(fd: number, content: Buffer, from = 0): void {
    const step = 1 + this.#random.below(300_000);
    for (let at = from; at < content.length; at += step) writeSync(fd, content, at, Math.min(step, content.length - at), at);
    if (this.#random.below(5) === 0) fsyncSync(fd);
  }

  #create(name: string): void {
    const next = this.#content(this.#someBytes());
    this.#doubting({ kind: 'write', name, way: 'anew', old: undefined, next: nothing });
    this.#withFile(name, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, (fd) => {
      // The name is there now.
      this.#acknowledged(name, nothing);
      this.#doubting({ kind: 'write', name, way: 'anew', old: nothing, next });
      this.#pour(fd, next);
    });
    this.#acknowledged(name, next);
  }

  #rewrite(name: string, old: Buffer): void {
    const next = this.#content(this.#someBytes());
    this.#doubting({ kind: 'write', name, way: 'anew', old, next });
    this.#withFile(name, constants.O_WRONLY | constants.O_TRUNC, (fd) => {
      this.#pour(fd, next);
    });
    this.#acknowledged(name, next);
  }

  /** Records at the end, each acknowledged by an fdatasync or by O_SYNC, as a data base's log does it. */
  #append(name: string, old: Buffer): void {
    const bySync = this.#random.below(2) === 0;
    const flags = constants.O_WRONLY | constants.O_APPEND | (bySync ? 0 : constants.O_SYNC);
    this.#withFile(name, flags, (fd) => {
      let content = old;
      for (let records = 1 + this.#random.below(6); records > 0; records--) {
        const record = this.#content(1 + this.#random.below(9000));
        const next = Buffer.concat([content, record]);
        this.#doubting({ kind: 'write', name, way: 'grow', old: content, next });
        writeSync(fd, record);
        if (bySync) fdatasyncSync(fd);
        this.#acknowledged(name, next);
        content = next;
      }
    });
  }

  /** In place, one piece after the other, each acknowledged by an fsync. */
  #overwrite(name: string, old: Buffer): void {
    this.#withFile(name, constants.O_RDWR, (fd) => {
      let content = old;
      for (let count = 1 + this.#random.below(4); count > 0; count--) {
        const at = this.#random.below(content.length + 1);
        const bytes = this.#content(Math.min(1 + this.#random.below(100_000), content.length - at));
        const next = Buffer.from(content);
        bytes.copy(next, at);
        this.#doubting({ kind: 'write', name, way: 'pages', old: content, next });
        writeSync(fd, bytes, 0, bytes.length, at);
        fsyncSync(fd);
        this.#acknowledged(name, next);
        content = next;
      }
    });
  }

  #truncate(name: string, old: Buffer): void {
    const next = Buffer.from(old.subarray(0, this.#random.below(old.length + 1)));
    this.#doubting({ kind: 'write', name, way: 'whole', old, next });
    this.#withFile(name, constants.O_RDWR, (fd) => {
      ftruncateSync(fd, next.length);
      fsyncSync(fd);
    });
    this.#acknowledged(name, next);
  }

  /** As editors save: the target is the old or the new version, whole. */
  #replace(name: string): void {
    const temporary = `${name}.new`;
    // Left by a mount that died in between.
    if (this.#files.has(temporary)) this.#unlink(temporary);
    this.#create(temporary);
    this.#move(temporary, name);
  }

  #rename(name: string): void {
    const to = this.#name();
    if (to !== name) this.#move(name, to);
  }

  #move(name: string, to: string): void {
    this.#doubting({ kind: 'rename', name, to });
    renameSync(join(this.#folder, name), join(this.#folder, to));
    const content = this.#files.get(name);
    this.#acknowledged(name, undefined);
    this.#acknowledged(to, content);
  }

  #unlink(name: string): void {
    this.#doubting({ kind: 'unlink', name });
    unlinkSync(join(this.#folder, name));
    this.#acknowledged(name, undefined);
  }

  verify(all: boolean): Verified {
    const there = new Set<string>();
    for (let i = 0; i < FOLDERS; i++) for (const file of readdirSync(join(this.#folder, `d${i}`))) there.add(`d${i}/${file}`);
    const names = new Set([...there, ...this.#files.keys(), ...this.#touched]);
    const found = new Map<string, Buffer>();
    const wrong: string[] = [];
    let bytes = 0;
    let files = 0;
    for (const name of names) {
      if (!there.has(name) || !(all || this.#touched.has(name) || this.#random.below(8) === 0)) continue;
      const content = readFileSync(join(this.#folder, name));
      found.set(name, content);
      bytes += content.length;
      files++;
    }
    this.#resolve(there, found, wrong);
    for (const name of names) {
      const want = this.#files.get(name);
      const got = found.get(name);
      if (want === undefined) {
        if (there.has(name)) wrong.push(`${name}: is there and should not be`);
      } else if (!there.has(name)) wrong.push(`${name}: ${want.length} acknowledged bytes are gone`);
      else if (got !== undefined && !got.equals(want)) wrong.push(`${name}: ${describe(got, want)}`);
    }
    this.#touched.clear();
    return { wrong, files, bytes };
  }

  /** Takes the outcome that was found of the operation in doubt, if it is one that may be. */
  #resolve(there: ReadonlySet<string>, found: ReadonlyMap<string, Buffer>, wrong: string[]): void {
    const doubt = this.#doubt;
    this.#doubt = undefined;
    if (doubt?.kind === 'write') {
      const content = found.get(doubt.name);
      if (mayBe(content, doubt.old, doubt.next, doubt.way)) this.#acknowledged(doubt.name, content);
      else
        wrong.push(
          `${doubt.name}: in doubt, and neither old nor new: ${describe(content, doubt.next)}, old ${describe(content, doubt.old)}`,
        );
    } else if (doubt?.kind === 'unlink' && !there.has(doubt.name)) this.#acknowledged(doubt.name, undefined);
    else if (doubt?.kind === 'rename' && !there.has(doubt.name)) {
      const content = this.#files.get(doubt.name);
      this.#acknowledged(doubt.name, undefined);
      this.#acknowledged(doubt.to, content);
    }
  }
}

/** Where found and wanted content begin to differ. */
function describe(got: Buffer | undefined, want: Buffer | undefined): string {
  if (got === undefined || want === undefined) return `${got?.length ?? 'no'} bytes instead of ${want?.length ?? 'none'}`;
  let at = 0;
  while (at < got.length && got[at] === want[at]) at++;
  return `${got.length} bytes instead of ${want.length}, different from byte ${at} on`;
}

const writer = new Writer(argv[2] ?? '.', Number(argv[3]));
let running: Promise<void> | undefined;
const answer = (value: Stopped | Verified): void => void writeSync(1, JSON.stringify(value) + '\n');
createInterface({ input: stdin }).on('line', (line) => {
  if (line === 'go') running = writer.run().then(answer);
  else if (line === 'stop') writer.stopping = true;
  else
    void (running ?? Promise.resolve()).then(() => {
      answer(writer.verify(line === 'verify all'));
    });
});
