/**
 * One file under random operations of every kind that changes or reads content, against a shadow copy in memory: reads and writes, plain and through a mapping,
 * truncation, holes, zeros, copied ranges, syncs, closing, forgotten caches, another mount. What is read must be what the shadow has, at every moment, by every
 * way. One seed makes one history.
 */
import type { Random } from '../../src/base/clock.js';
import * as c from './constants.js';
import { Process, ROOT, type Answer } from './process.js';
import { decodeStat, User } from './user.js';

/** Around the sizes at which content is kept in another way: pages, rows and packs, windows of a blob. */
const SIZES_MAX = [5_000, 70_000, 300_000, 3_000_000, 20_000_000] as const;
const IO_BYTES_MAX = 100_000;
/** The last ones are shown when something is wrong. */
const SHOWN = 40;

export interface ExerciserTarget {
  readonly directory: string;
  readonly agent: string;
  /** The kernel forgets what it has cached. */
  readonly dropCaches: () => Promise<void>;
  /** Nothing is open when it is called. */
  readonly remount: (() => Promise<void>) | undefined;
}

export class Exerciser {
  readonly #target: ExerciserTarget;
  readonly #random: Random;
  readonly #sizeMax: number;
  readonly #path: string;
  #shadow = Buffer.alloc(0);
  #user: User;
  #fd = -1;
  readonly #history: string[] = [];
  operations = 0;

  constructor(target: ExerciserTarget, random: Random, name: string) {
    this.#target = target;
    this.#random = random;
    this.#sizeMax = SIZES_MAX[random.below(SIZES_MAX.length)] ?? 5000;
    this.#path = `${target.directory}/${name}`;
    this.#user = new User(new Process(target.agent, ROOT));
  }

  /** @throws Error with the last operations, when the file is not what the shadow is. */
  async run(operations: number): Promise<void> {
    await this.#open();
    try {
      for (let i = 0; i < operations; i++) {
        await this.#step();
        this.operations++;
      }
      await this.#verify();
      await this.#reopen();
      await this.#verify();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(
        `${reason}\noperation ${this.operations} of a file of up to ${this.#sizeMax} bytes; the last ones:\n${this.#history.join('\n')}`,
      );
    } finally {
      await this.#user.process.end();
    }
  }

  #note(text: string): void {
    this.#history.push(text);
    if (this.#history.length > SHOWN) this.#history.shift();
  }

  async #do(call: Promise<Answer>, want?: number): Promise<Answer> {
    const answer = await call;
    if (answer.error !== undefined || (want !== undefined && answer.value !== want))
      throw new Error(`${answer.call}: got ${answer.error ?? answer.value}, want ${want ?? 'success'}`);
    return answer;
  }

  #same(got: Buffer | undefined, offset: number, bytes: number, how: string): void {
    const want = this.#shadow.subarray(offset, offset + bytes);
    if (got?.equals(want) === true) return;
    const at = want.findIndex((byte, i) => byte !== got?.[i]);
    throw new Error(
      `${how} of ${bytes} bytes at ${offset}: byte ${offset + at} is ${got?.[at] ?? 'missing'}, want ${want[at] ?? 'the end'} (${got?.length ?? 0} bytes came)`,
    );
  }

  #offset(): number {
    // Often at pages and at the end, where mistakes are.
    const raw = this.#random.below(this.#sizeMax);
    const kind = this.#random.below(4);
    if (kind === 0) return raw - (raw % c.PAGE);
    return kind === 1 ? Math.max(0, this.#shadow.length - this.#random.below(100)) : raw;
  }

  #length(): number {
    const kind = this.#random.below(3);
    return 1 + this.#random.below(kind === 0 ? 100 : kind === 1 ? 9000 : IO_BYTES_MAX);
  }

  /** What the file then holds from `offset` on. */
  #put(offset: number, data: Buffer): void {
    if (offset + data.length > this.#shadow.length) this.#resize(offset + data.length);
    data.copy(this.#shadow, offset);
  }

  #resize(size: number): void {
    if (size <= this.#shadow.length) this.#shadow = this.#shadow.subarray(0, size);
    else this.#shadow = Buffer.concat([this.#shadow, Buffer.alloc(size - this.#shadow.length)]);
  }

  async #open(): Promise<void> {
    this.#fd = (await this.#do(this.#user.open(this.#path, c.O_RDWR | c.O_CREAT, 0o644))).value;
  }

  async #reopen(): Promise<void> {
    await this.#do(this.#user.close(this.#fd), 0);
    await this.#open();
  }

  async #step(): Promise<void> {
    const kind = this.#random.below(1000);
    if (kind < 250) await this.#write();
    else if (kind < 450) await this.#read();
    else if (kind < 520) await this.#truncate();
    else if (kind < 600) await this.#mapped(true);
    else if (kind < 680) await this.#mapped(false);
    else if (kind < 760) await this.#hole();
    else if (kind < 840) await this.#copy();
    else if (kind < 880) await this.#allocate();
    else if (kind < 920) await this.#seek();
    else if (kind < 960) await this.#sync();
    else if (kind < 985) {
      this.#note('close and open');
      await this.#reopen();
    } else if (kind < 997) await this.#verify();
    else if (kind < 999) await this.#forget();
    else await this.#mountAgain();
  }

  #bytes(count: number): Buffer {
    const data = Buffer.alloc(count);
    // A run of equal bytes now and then: zeros written are not a hole, but must read as zeros.
    if (this.#random.below(8) === 0) return data;
    let state = (this.#random.below(0x7fffffff) | 1) >>> 0;
    for (let i = 0; i < count; i++) {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      data[i] = state >>> 16;
    }
    return data;
  }

  async #write(): Promise<void> {
    const offset = this.#offset();
    const data = this.#bytes(Math.min(this.#length(), this.#sizeMax));
    this.#note(`write ${data.length} at ${offset}`);
    await this.#do(this.#user.pwrite(this.#fd, data, offset), data.length);
    this.#put(offset, data);
  }

  async #read(): Promise<void> {
    const offset = this.#offset();
    const bytes = Math.max(0, Math.min(this.#length(), this.#shadow.length - offset));
    this.#note(`read ${bytes} at ${offset}`);
    this.#same((await this.#do(this.#user.pread(this.#fd, bytes, offset), bytes)).out[0], offset, bytes, 'read');
  }

  async #truncate(): Promise<void> {
    const size = this.#offset();
    this.#note(`truncate to ${size}`);
    await this.#do(this.#user.ftruncate(this.#fd, size), 0);
    this.#resize(size);
  }

  /** Reads or writes through a shared mapping of whole pages that lie within the file. */
  async #mapped(write: boolean): Promise<void> {
    const pages = Math.ceil(this.#shadow.length / c.PAGE);
    if (pages === 0) return;
    const first = this.#random.below(pages);
    const length = Math.min(this.#length(), this.#shadow.length - first * c.PAGE);
    this.#note(`${write ? 'write' : 'read'} ${length} at ${first * c.PAGE} by mmap`);
    const mapped = Math.ceil(length / c.PAGE) * c.PAGE;
    const { value: address } = await this.#do(this.#user.mmap(this.#fd, mapped, c.PROT_READ | c.PROT_WRITE, c.MAP_SHARED, first * c.PAGE));
    if (write) {
      const data = this.#bytes(length);
      await this.#do(this.#user.poke(address, data.toString('latin1')));
      this.#put(first * c.PAGE, data);
      if (this.#random.below(2) === 0) await this.#do(this.#user.msync(address, mapped), 0);
    } else this.#same((await this.#do(this.#user.peek(address, length))).out[0], first * c.PAGE, length, 'mmap');
    await this.#do(this.#user.munmap(address, mapped), 0);
  }

  async #hole(): Promise<void> {
    const zero = this.#random.below(2) === 0;
    const [offset, bytes] = [this.#offset(), this.#length()];
    this.#note(`${zero ? 'zero' : 'punch'} ${bytes} at ${offset}`);
    const mode = c.FALLOC_FL_KEEP_SIZE | (zero ? c.FALLOC_FL_ZERO_RANGE : c.FALLOC_FL_PUNCH_HOLE);
    await this.#do(this.#user.fallocate(this.#fd, mode, offset, bytes), 0);
    this.#shadow.fill(0, Math.min(offset, this.#shadow.length), Math.min(offset + bytes, this.#shadow.length));
  }

  async #allocate(): Promise<void> {
    const [offset, bytes] = [this.#offset(), this.#length()];
    this.#note(`allocate ${bytes} at ${offset}`);
    await this.#do(this.#user.fallocate(this.#fd, 0, offset, bytes), 0);
    if (offset + bytes > this.#shadow.length) this.#resize(offset + bytes);
  }

  async #copy(): Promise<void> {
    const [from, to] = [this.#offset(), this.#offset()];
    let bytes = Math.max(0, Math.min(this.#length(), this.#shadow.length - from));
    // The ranges must not overlap.
    bytes = Math.min(bytes, Math.abs(from - to));
    if (bytes === 0) return;
    this.#note(`copy ${bytes} from ${from} to ${to}`);
    for (let done = 0; done < bytes;) {
      const { value } = await this.#do(this.#user.copyRange(this.#fd, from + done, this.#fd, to + done, bytes - done));
      if (value === 0) throw new Error(`copy_file_range stops at ${done} of ${bytes} bytes`);
      this.#put(to + done, Buffer.from(this.#shadow.subarray(from + done, from + done + value)));
      done += value;
    }
  }

  /** What SEEK_DATA skips must be zeros. */
  async #seek(): Promise<void> {
    const offset = this.#offset();
    if (offset >= this.#shadow.length) return;
    this.#note(`SEEK_DATA at ${offset}`);
    const answer = await this.#user.lseek(this.#fd, offset, c.SEEK_DATA);
    if (answer.error !== undefined && answer.error !== 'ENXIO') throw new Error(`${answer.call}: ${answer.error}`);
    const data = answer.error === undefined ? answer.value : this.#shadow.length;
    const skipped = this.#shadow.subarray(offset, data);
    const at = skipped.findIndex((byte) => byte !== 0);
    if (at >= 0) throw new Error(`SEEK_DATA at ${offset} went to ${data} over data at ${offset + at}`);
  }

  async #sync(): Promise<void> {
    const dataOnly = this.#random.below(2) === 0;
    this.#note(dataOnly ? 'fdatasync' : 'fsync');
    await this.#do(dataOnly ? this.#user.fdatasync(this.#fd) : this.#user.fsync(this.#fd), 0);
  }

  async #forget(): Promise<void> {
    this.#note('caches are dropped');
    await this.#do(this.#user.fsync(this.#fd), 0);
    await this.#target.dropCaches();
    await this.#verify();
  }

  async #mountAgain(): Promise<void> {
    if (this.#target.remount === undefined) return;
    this.#note('unmount and mount');
    await this.#user.process.end();
    await this.#target.remount();
    this.#user = new User(new Process(this.#target.agent, ROOT));
    await this.#open();
    await this.#verify();
  }

  /** Size and all content. */
  async #verify(): Promise<void> {
    const { out } = await this.#do(this.#user.statx('', c.AT_EMPTY_PATH, this.#fd));
    const { size } = decodeStat(out[0] ?? Buffer.alloc(256));
    if (size !== this.#shadow.length) throw new Error(`the size is ${size}, want ${this.#shadow.length}`);
    const step = 1_000_000;
    for (let at = 0; at < size; at += step) {
      const bytes = Math.min(step, size - at);
      this.#same((await this.#do(this.#user.pread(this.#fd, bytes, at), bytes)).out[0], at, bytes, 'a look at everything');
    }
  }
}
