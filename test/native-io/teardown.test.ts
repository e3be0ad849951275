/** The native module when its environment ends: processes and workers that stop with I/O in flight, with disks open, with a thread that hangs. */
import t from 'tap';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nativeIo } from '../../src/base/native-io.js';

const door = new URL('../../src/base/native-io.js', import.meta.url).href;

/** Runs a program in a process of its own. */
function run(program: string, ...parameters: string[]): Promise<{ code: number | null; signal: string | null; output: string }> {
  const source = `import { nativeIo } from ${JSON.stringify(door)};
    import { mkdtempSync, rmSync } from 'node:fs'; import { execFileSync } from 'node:child_process'; import { Worker } from 'node:worker_threads';
    const io = nativeIo(); const directory = process.argv[1];
    async function file(name = 'file') { const disk = io.createDisk(); await io.openDirectory(disk, directory); return { disk, file: await io.openFile(disk, name, true, true) }; }
    function hang(disk, name) { execFileSync('mkfifo', [directory + '/' + name]); return io.hangForTest(disk, directory + '/' + name); }
    ${program}`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', source, ...parameters], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  child.stdout.on('data', (data) => (output += String(data)));
  child.stderr.on('data', (data) => (output += String(data)));
  return new Promise((resolve) => {
    child.on('close', (code, signal) => {
      resolve({ code, signal, output });
    });
  });
}

const programs: readonly { readonly name: string; readonly program: string; readonly output: string }[] = [
  { name: 'with a disk left open', program: `await file(); console.log('end');`, output: 'end\n' },
  {
    name: 'by itself only after I/O in flight has come back',
    program: `const { file: f } = await file(); void io.write(f, 0, [Buffer.alloc(1 << 20)]).then((status) => console.log('written', status));`,
    output: 'written 0\n',
  },
  {
    name: 'at process.exit with I/O in flight',
    program: `const { file: f } = await file(); for (let i = 0; i < 100; i++) { void io.write(f, 0, [Buffer.alloc(1 << 20)]); void io.read(f, 0, 1 << 20); void io.sync(f); }
      console.log(io.busyWord[0]); process.exit(0);`,
    output: '300\n',
  },
  {
    name: 'at process.exit with a thread that hangs',
    program: `const { disk } = await file(); void hang(disk, 'fifo1'); setTimeout(() => { console.log(io.busyWord[0]); process.exit(0); }, 50);`,
    output: '1\n',
  },
  {
    name: 'by itself with a thread that was left behind',
    program: `const { disk, file: f } = await file(); const hung = hang(disk, 'fifo2'); const queued = io.read(f, 0, 10);
      await new Promise((resolve) => setTimeout(resolve, 50)); console.log(io.oldestAgeMs(disk) > 0);
      io.abandon(disk); console.log(await hung, await queued, io.hungThreads(), io.busyWord[0]);
      try { io.read(f, 0, 1); } catch (error) { console.log(error.constructor.name); }`,
    output: 'true\n-110 -110 1 0\nTypeError\n',
  },
  {
    name: 'when an exception is thrown where a result is awaited',
    program: `const { file: f } = await file(); process.on('uncaughtException', (error) => { console.log(error.message); process.exitCode = 0; });
      void io.size(f).then(() => { throw new Error('thrown'); }); void io.size(f).then((size) => console.log('size', size));`,
    output: 'size 0\nthrown\n',
  },
  {
    name: 'after garbage was collected under I/O in flight',
    program: `const { file: f } = await file(); let wrong = 0; const all = [];
      for (let i = 0; i < 50; i++) all.push(io.write(f, i * 65536, [Buffer.alloc(65536, i)]).then((status) => { if (status) wrong++; }));
      globalThis.gc?.(); await Promise.all(all);
      for (let i = 0; i < 50; i++) { const read = io.read(f, i * 65536, 65536); globalThis.gc?.(); if (!(await read).equals(Buffer.alloc(65536, i))) wrong++; }
      globalThis.gc?.(); console.log(wrong);`,
    output: '0\n',
  },
];

for (const { name, program, output } of programs) {
  void t.test(`a process ends ${name}`, { timeout: 60_000 }, async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'ostraka-teardown-'));
    t.teardown(() => {
      rmSync(directory, { recursive: true });
    });
    const withCollector = `import v8 from 'node:v8'; v8.setFlagsFromString('--expose-gc'); import vm from 'node:vm'; globalThis.gc = vm.runInNewContext('gc');`;
    t.same(await run(`${withCollector}\n${program}`, directory), { code: 0, signal: null, output });
  });
}

const workerPrograms: readonly { readonly name: string; readonly program: string; readonly hung: number }[] = [
  {
    name: 'by itself',
    program: `const { file: f } = await file(); await io.write(f, 0, [Buffer.alloc(1000)]); parent.postMessage('ready');`,
    hung: 0,
  },
  {
    name: 'terminated with I/O in flight',
    program: `const { file: f } = await file(); for (let i = 0; i < 100; i++) { void io.write(f, 0, [Buffer.alloc(1 << 20)]); void io.read(f, 0, 1 << 20); } parent.postMessage('ready');`,
    hung: 0,
  },
  {
    name: 'terminated with a thread that hangs',
    program: `const { disk } = await file(); void hang(disk); setTimeout(() => parent.postMessage('ready'), 50);`,
    hung: 1,
  },
];

for (const { name, program, hung } of workerPrograms) {
  void t.test(`a worker ends ${name}; the process goes on`, { timeout: 60_000 }, async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'ostraka-teardown-'));
    t.teardown(() => {
      rmSync(directory, { recursive: true });
    });
    const worker = `
      const { parentPort: parent, workerData } = require('node:worker_threads'); const { execFileSync } = require('node:child_process');
      (async () => {
        const io = (await import(${JSON.stringify(door)})).nativeIo();
        async function file() { const disk = io.createDisk(); await io.openDirectory(disk, workerData); return { disk, file: await io.openFile(disk, 'file', true, true) }; }
        function hang(disk) { execFileSync('mkfifo', [workerData + '/fifo']); return io.hangForTest(disk, workerData + '/fifo'); }
        ${program}
      })();`;
    const result = await run(
      `for (let round = 0; round < 3; round++) {
        const worker = new Worker(${JSON.stringify(worker)}, { eval: true, execArgv: [], workerData: mkdtempSync(directory + '/w') });
        worker.on('error', (error) => console.log(error));
        await new Promise((resolve) => worker.once('message', resolve));
        await worker.terminate();
        console.log(io.busyWord[0], io.hungThreads() === ${hung} * (round + 1));
      }
      const { file: f } = await file(); console.log(await io.write(f, 0, [Buffer.alloc(10)])); process.exit(0);`,
      directory,
    );
    t.same(result, { code: 0, signal: null, output: '0 true\n0 true\n0 true\n0\n' });
  });
}

void t.test('shared memory', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'ostraka-shared-'));
  t.teardown(() => {
    rmSync(directory, { recursive: true });
  });
  const io = nativeIo();
  const path = join(directory, 'memory');
  const memory = io.mapShared(path, 65536);
  if (typeof memory === 'number') throw new Error(`mapShared: ${memory}`);
  t.ok(new Uint8Array(memory).every((byte) => byte === 0));
  Buffer.from(memory).write('left for the next one', 100);
  const other = await run(
    `const bytes = Buffer.from(io.mapShared(process.argv[2], 65536)); console.log(bytes.toString('latin1', 100, 121)); bytes.write('answer', 200);
     console.log(io.mapShared(process.argv[2], 4096)); process.kill(process.pid, 'SIGKILL');`,
    directory,
    path,
  );
  t.same(other, { code: null, signal: 'SIGKILL', output: 'left for the next one\n-22\n' });
  t.equal(Buffer.from(memory).toString('latin1', 200, 206), 'answer', 'stores outlive the process that made them');
  io.unmapShared(memory);
  t.equal(memory.byteLength, 0);
  t.throws(() => {
    io.unmapShared(memory);
  }, TypeError);
  t.throws(() => {
    io.unmapShared(new ArrayBuffer(8));
  }, TypeError);
  t.equal(io.mapShared(join(directory, 'none', 'x'), 4096), -2);
  t.equal(io.isTmpfs('/dev/shm'), true);
  t.equal(io.isTmpfs('/proc'), false);
  t.equal(io.isTmpfs(join(directory, 'none')), false);
  t.type(io.setIoFlusher(), 'boolean');
});
