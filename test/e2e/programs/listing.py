"""
A folder that changes while it is listed (argv[1]: a folder to work in): what is there all the time is seen exactly once, and a place remembered with
telldir(3) stays that place.
"""
import ctypes, os, sys

libc = ctypes.CDLL(None, use_errno=True)


class Dirent(ctypes.Structure):
    _fields_ = [('ino', ctypes.c_ulong), ('off', ctypes.c_long), ('reclen', ctypes.c_ushort), ('type', ctypes.c_ubyte), ('name', ctypes.c_char * 256)]


libc.opendir.restype = ctypes.c_void_p
libc.readdir.restype = ctypes.POINTER(Dirent)
libc.readdir.argtypes = libc.closedir.argtypes = libc.telldir.argtypes = libc.rewinddir.argtypes = [ctypes.c_void_p]
libc.telldir.restype = ctypes.c_long
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]

folder = os.path.join(sys.argv[1], 'listed')
os.mkdir(folder)
COUNT = 3000
names = [f'{i:05d}-{"x" * (i % 60)}' for i in range(COUNT)]
for name in names:
    os.close(os.open(f'{folder}/{name}', os.O_CREAT | os.O_WRONLY))


def read(directory):
    found = libc.readdir(directory)
    return found.contents.name.decode() if found else None


directory = libc.opendir(folder.encode())
seen, places = [], []
for step in range(1000):
    if step % 100 == 0:
        places.append((libc.telldir(directory), len(seen)))
    seen.append(read(directory))
gone = set(names[::2])
for name in gone:
    os.unlink(f'{folder}/{name}')
for i in range(1000):
    os.close(os.open(f'{folder}/new-{i}', os.O_CREAT | os.O_WRONLY))
os.rename(f'{folder}/{names[1]}', f'{folder}/renamed')
kept = [name for name in names if name not in gone and name != names[1]]
while (name := read(directory)) is not None:
    seen.append(name)
print('each once', all(seen.count(name) == 1 for name in kept))
print('nothing twice', len(set(seen)) == len(seen))
print('dots', seen[:2] == ['.', '..'])

for place, before in places:
    libc.seekdir(directory, place)
    rest = []
    while (name := read(directory)) is not None:
        rest.append(name)
    wanted = set(kept) - set(seen[:before])
    if not wanted <= set(rest) or set(rest) & set(seen[:before]):
        print('place', place, 'is another one now')
    if len(set(rest)) != len(rest) or gone & set(rest):
        print('place', place, 'shows what is gone, or twice')
print('places', len(places))
libc.rewinddir(directory)
everything = []
while (name := read(directory)) is not None:
    everything.append(name)
print('rewound', sorted(everything) == sorted(os.listdir(folder) + ['.', '..']))
libc.closedir(directory)

# rm -r's way: remove while reading.
directory = libc.opendir(folder.encode())
while (name := read(directory)) is not None:
    if name not in ('.', '..'):
        os.unlink(f'{folder}/{name}')
libc.closedir(directory)
print('left', os.listdir(folder))
os.rmdir(folder)
