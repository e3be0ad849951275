"""
Folders that were listed, change, and are listed again (argv[1]: a folder to work in): every change shows at once, whoever makes it, and `..` is where the folder is.
"""
import ctypes, os, subprocess, sys

libc = ctypes.CDLL(None, use_errno=True)


class Dirent(ctypes.Structure):
    _fields_ = [('ino', ctypes.c_ulong), ('off', ctypes.c_long), ('reclen', ctypes.c_ushort), ('type', ctypes.c_ubyte), ('name', ctypes.c_char * 256)]


libc.opendir.restype = ctypes.c_void_p
libc.readdir.restype = ctypes.POINTER(Dirent)
libc.readdir.argtypes = libc.closedir.argtypes = [ctypes.c_void_p]

work = os.path.join(sys.argv[1], 'relisted')
a, b = os.path.join(work, 'a'), os.path.join(work, 'b')
for folder in (work, a, b):
    os.mkdir(folder)
os.mkdir(f'{b}/moved')
os.close(os.open(f'{b}/file', os.O_CREAT | os.O_WRONLY))


def exchange(one, other):
    if libc.renameat2(-100, one.encode(), -100, other.encode(), 2) != 0:
        raise OSError(ctypes.get_errno(), 'renameat2')


def unnamed():
    fd = os.open(a, os.O_TMPFILE | os.O_RDWR)
    if libc.linkat(-100, f'/proc/self/fd/{fd}'.encode(), -100, f'{a}/unnamed'.encode(), 0x400) != 0:
        raise OSError(ctypes.get_errno(), 'linkat')
    os.close(fd)


def numbers(folder):
    """Name to inode, as readdir(3) has them; os.scandir shows no `..`."""
    directory = libc.opendir(folder.encode())
    found = {}
    while entry := libc.readdir(directory):
        found[entry.contents.name.decode()] = entry.contents.ino
    libc.closedir(directory)
    return found


changes = [
    ('nothing', lambda: None, set()),
    ('create', lambda: os.close(os.open(f'{a}/created', os.O_CREAT | os.O_WRONLY)), {'created'}),
    ('mkdir', lambda: os.mkdir(f'{a}/made'), {'created', 'made'}),
    ('another process', lambda: subprocess.run(['touch', f'{a}/touched'], check=True), {'created', 'made', 'touched'}),
    ('unlink', lambda: os.unlink(f'{a}/created'), {'made', 'touched'}),
    ('rmdir', lambda: os.rmdir(f'{a}/made'), {'touched'}),
    ('rename', lambda: os.rename(f'{a}/touched', f'{a}/renamed'), {'renamed'}),
    ('rename to here', lambda: os.rename(f'{b}/moved', f'{a}/moved'), {'renamed', 'moved'}),
    ('replace', lambda: os.rename(f'{b}/file', f'{a}/renamed'), {'renamed', 'moved'}),
    ('link', lambda: os.link(f'{a}/renamed', f'{a}/linked'), {'renamed', 'moved', 'linked'}),
    ('symlink', lambda: os.symlink('x', f'{a}/symbolic'), {'renamed', 'moved', 'linked', 'symbolic'}),
    ('O_TMPFILE', unnamed, {'renamed', 'moved', 'linked', 'symbolic', 'unnamed'}),
    ('mknod', lambda: os.mkfifo(f'{b}/fifo'), {'renamed', 'moved', 'linked', 'symbolic', 'unnamed'}),
    ('exchange', lambda: exchange(f'{a}/moved', f'{b}/fifo'), {'renamed', 'moved', 'linked', 'symbolic', 'unnamed'}),
    ('rename away', lambda: os.rename(f'{a}/moved', f'{b}/away'), {'renamed', 'linked', 'symbolic', 'unnamed'}),
]
for name, change, wanted in changes:
    for folder in (a, b):
        # What is kept is used the second time.
        numbers(folder), numbers(folder)
    change()
    for folder in (a, b):
        shown = numbers(folder)
        if folder == a and set(shown) != wanted | {'.', '..'}:
            print(f'{name}: there is {sorted(shown)}')
        for entry, number in shown.items():
            if entry != '..' and number != os.lstat(f'{folder}/{entry}').st_ino:
                print(f'{name}: {entry} has the number of another inode')
            if entry in ('moved', 'fifo') and os.path.isdir(f'{folder}/{entry}') and numbers(f'{folder}/{entry}')['..'] != shown['.']:
                print(f'{name}: {entry} is below another folder')

# An open folder shows what is new once it is rewound.
fd = os.open(b, os.O_RDONLY | os.O_DIRECTORY)
print('open', sorted(os.listdir(fd)))
os.close(os.open(f'{b}/new', os.O_CREAT | os.O_WRONLY))
print('rewound', sorted(os.listdir(fd)))
os.close(fd)

subprocess.run(['rm', '-r', work], check=True)
