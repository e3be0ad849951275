/**
 * One workload in a process of its own: `node workload.js STEP FOLDER AMOUNT` prints {"seconds": …}. It uses plain system calls, one after the
 * other, as a simple program does.
 */
import { closeSync, fsyncSync, mkdirSync, openSync, readSync, statSync, unlinkSync, writeSync } from 'node:fs';
import { randomFillSync } from 'node:crypto';
import { join } from 'node:path';
import { argv } from 'node:process';

const MiB = 1024 ** 2;
const [, , step = '', folder = '', amountText = '0'] = argv;
const amount = Number(amountText);

const small = (i: number): string => join(folder, 'small', String(i));

const steps: Record<string, () => void> = {
  write() {
    const block = randomFillSync(Buffer.alloc(MiB));
    const fd = openSync(join(folder, 'big'), 'w');
    for (let i = 0; i < amount; i++) writeSync(fd, block);
    fsyncSync(fd);
    closeSync(fd);
  },
  read() {
    const block = Buffer.alloc(MiB);
    const fd = openSync(join(folder, 'big'), 'r');
    let total = 0;
    for (;;) {
      const bytes = readSync(fd, block);
      if (bytes === 0) break;
      total += bytes;
    }
    closeSync(fd);
    if (total !== amount * MiB) throw new Error(`read ${total} bytes`);
  },
  create() {
    mkdirSync(join(folder, 'small'));
    const block = randomFillSync(Buffer.alloc(4096));
    for (let i = 0; i < amount; i++) {
      const fd = openSync(small(i), 'wx');
      writeSync(fd, block);
      closeSync(fd);
    }
  },
  stat() {
    for (let i = 0; i < amount; i++) statSync(small(i));
  },
  unlink() {
    for (let i = 0; i < amount; i++) unlinkSync(small(i));
  },
};

const run = steps[step];
if (run === undefined) throw new Error(`no such step: ${step}`);
const start = process.hrtime.bigint();
run();
process.stdout.write(JSON.stringify({ seconds: Number(process.hrtime.bigint() - start) / 1e9 }) + '\n');
