"""
One file in the folder argv[1], written and read through the page cache, past it (O_DIRECT, aligned and not) and by shared memory, in a random order
(seed argv[2], argv[3] operations), always compared with a copy in memory.
"""
import mmap, os, random, sys

path = os.path.join(sys.argv[1], 'direct')
seed, count = int(sys.argv[2]), int(sys.argv[3])
rng = random.Random(seed)
SIZE = 3 << 20
shadow = bytearray(SIZE)
cached = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
os.ftruncate(cached, SIZE)
direct = os.open(path, os.O_RDWR | os.O_DIRECT)
shared = mmap.mmap(cached, SIZE)
# Memory that begins on a page; pieces of it anywhere.
arena = mmap.mmap(-1, 1 << 20)
kinds = {}


def extent(aligned):
    if aligned:
        length = rng.randrange(1, 65) * 4096
        return rng.randrange(0, (SIZE - length) // 4096 + 1) * 4096, length
    length = rng.randrange(1, 200_000)
    return rng.randrange(0, SIZE - length + 1), length


def fail(what, offset, length):
    sys.exit(f'seed {seed}: {what} at {offset}, {length} bytes: not what was written')


for step in range(count):
    kind = rng.choice(['cached write', 'direct write', 'mapped write', 'cached read', 'direct read', 'mapped read', 'cut', 'sync'])
    aligned = rng.random() < 0.5
    offset, length = extent(aligned)
    kinds[kind, aligned] = kinds.get((kind, aligned), 0) + 1
    if kind.endswith('write'):
        data = bytes([rng.randrange(256)]) * length
        if kind == 'cached write':
            done = os.pwrite(cached, data, offset)
        elif kind == 'direct write':
            start = 0 if aligned else rng.randrange(1, 512)
            arena[start:start + length] = data
            done = os.pwritev(direct, [memoryview(arena)[start:start + length]], offset)
        else:
            shared[offset:offset + length] = data
            done = length
        if done != length:
            sys.exit(f'{kind}: {done} of {length} bytes')
        shadow[offset:offset + length] = data
    elif kind.endswith('read'):
        if kind == 'cached read':
            got = os.pread(cached, length, offset)
        elif kind == 'direct read':
            start = 0 if aligned else rng.randrange(1, 512)
            done = os.preadv(direct, [memoryview(arena)[start:start + length]], offset)
            got = arena[start:start + done]
        else:
            got = shared[offset:offset + length]
        if got != shadow[offset:offset + length]:
            fail(kind, offset, length)
    elif kind == 'cut':
        os.ftruncate(cached, offset)
        os.ftruncate(cached, SIZE)
        shadow[offset:] = bytes(SIZE - offset)
    else:
        os.fsync(rng.choice([cached, direct]))

if len(kinds) < 16 and count > 200:
    sys.exit(f'only {sorted(kinds)}')
os.close(direct)
shared.close()
os.close(cached)
with open('/proc/sys/vm/drop_caches', 'w') as caches:
    caches.write('1')
with open(path, 'rb') as file:
    if file.read() != shadow:
        fail('all of it', 0, SIZE)
print('equal')
