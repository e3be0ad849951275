/**
 * What the FUSE channel alone can do, and the binding fuse-native beside it: a namespace in memory (null-namespace.ts), mounted by a child, used by this process.
 * Prints figures and writes bench-results/null-fuse.json. With --serve it only mounts it, for the benchmark.
 *
 *   node null-fuse.js [MiB of the large file, default 512] [small files, default 5000]
 */
import { spawn } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readSync,
  rmdirSync,
  statSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { packageRoot } from '../../src/base/package-root.js';
import { mountBy } from '../../src/frontend/bindings.js';
import type { Binding } from '../../src/frontend/mount.js';
import { NullNamespace } from './null-namespace.js';

const MiB = 1024 * 1024;

interface Variant {
  readonly name: string;
  readonly binding?: Binding;
  readonly spinMicroseconds?: number;
  readonly readAheadBytes?: number;
}

const variants: readonly Variant[] = [
  { name: 'as mounted' },
  { name: 'without spin', spinMicroseconds: 0 },
  { name: 'read-ahead as the kernel has it', readAheadBytes: 0 },
  { name: 'fuse-native', binding: 'fuse-native' },
];

async function serve(mountpoint: string, variant: Variant): Promise<void> {
  const mount = await mountBy(variant.binding ?? 'channel', { ...variant, mountpoint, namespace: new NullNamespace() });
  process.stdout.write('ready\n');
  process.once('SIGTERM', () => void mount.unmount({ lazy: true }));
  await mount.closed;
}

function perSecond(count: number, action: () => void): number {
  const start = performance.now();
  action();
  return (count / (performance.now() - start)) * 1000;
}

function measure(folder: string, mebibytes: number, files: number): Record<string, number> {
  const big = join(folder, 'big');
  const block = Buffer.alloc(MiB, 'a');
  const page = block.subarray(0, 4096);
  const writeAll = (data: Buffer, bytes: number): void => {
    const fd = openSync(big, 'w');
    for (let done = 0; done < bytes; done += data.length) writeSync(fd, data);
    closeSync(fd);
  };
  const readAll = (): void => {
    const fd = openSync(big, 'r');
    while (readSync(fd, block) > 0);
    closeSync(fd);
  };
  const bytes = mebibytes * MiB;
  const out: Record<string, number> = {};
  out.write1MiB_MBps = perSecond(bytes / 1e6, () => {
    writeAll(Buffer.from(block), bytes);
  });
  writeFileSync('/proc/sys/vm/drop_caches', '3');
  out.read1MiB_MBps = perSecond(bytes / 1e6, readAll);
  out.write4KiB_MBps = perSecond(bytes / 8 / 1e6, () => {
    writeAll(page, bytes / 8);
  });
  const names = Array.from({ length: files }, (_, i) => join(folder, `s${i}`));
  out.createWrite4KiBClose_per_s = perSecond(files, () => {
    for (const name of names) {
      const fd = openSync(name, 'wx');
      writeSync(fd, page);
      closeSync(fd);
    }
  });
  out.stat_per_s = perSecond(files, () => {
    for (const name of names) statSync(name);
  });
  out.readdir_entries_per_s = perSecond(files, () => readdirSync(folder));
  out.unlink_per_s = perSecond(files, () => {
    for (const name of names) unlinkSync(name);
  });
  for (const [name, value] of Object.entries(out)) out[name] = Math.round(value);
  return out;
}

async function run(variant: Variant, mebibytes: number, files: number): Promise<Record<string, number>> {
  const folder = mkdtempSync(join(tmpdir(), 'ostraka-null-'));
  const child = spawn(process.execPath, [...process.execArgv, fileURLToPath(import.meta.url), '--serve', folder, JSON.stringify(variant)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = new Promise((resolve) => child.once('exit', resolve));
  try {
    const ready = await Promise.race([
      new Promise<boolean>((resolve) => {
        createInterface({ input: child.stdout }).once('line', () => {
          resolve(true);
        });
      }),
      exited.then(() => false),
    ]);
    if (!ready) throw new Error('the mount did not come up');
    return measure(folder, mebibytes, files);
  } finally {
    child.kill('SIGTERM');
    await exited;
    rmdirSync(folder);
  }
}

if (process.argv[2] === '--serve') {
  await serve(process.argv[3] ?? '', JSON.parse(process.argv[4] ?? '{}') as Variant);
} else {
  const mebibytes = Number(process.argv[2] ?? 512);
  const files = Number(process.argv[3] ?? 5000);
  const results: Record<string, Record<string, number>> = {};
  for (const variant of variants) {
    results[variant.name] = await run(variant, mebibytes, files);
    console.log(variant.name, results[variant.name]);
  }
  mkdirSync(join(packageRoot, 'bench-results'), { recursive: true });
  writeFileSync(join(packageRoot, 'bench-results', 'null-fuse.json'), `${JSON.stringify({ mebibytes, files, results }, undefined, 2)}\n`);
}
