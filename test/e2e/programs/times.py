"""Times of files: `order DIR` changes files in many ways, some dated by the kernel, others by the file system, and counts those that look older than an earlier one;
`take DIR STATE` makes one change to each of many files and writes down the times that are seen, `same DIR STATE` prints which are others now."""
import ctypes, json, mmap, os, sys, time

libc = ctypes.CDLL(None, use_errno=True)
CHANGES = {}


def change(function):
    CHANGES[function.__name__] = function
    return function


def call(name, *arguments):
    if getattr(libc, name)(*[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]) != 0:
        raise OSError(ctypes.get_errno(), name)


def pause():
    """Longer than a tick of the kernel's clock."""
    time.sleep(0.012)


def write(path, data=b"content", flags=0):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o644)
    os.write(fd, data)
    os.close(fd)


def opened(path, operation, flags=os.O_RDWR):
    fd = os.open(path, flags)
    operation(fd)
    os.close(fd)


def allocation(mode, offset, length):
    return lambda path: opened(path, lambda fd: call("fallocate", fd, mode, offset, length))


@change
def nothing(path): pass
@change
def create_empty(path): os.unlink(path); os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
@change
def create(path): os.unlink(path); write(path)
@change
def overwrite(path): write(path, b"other")
@change
def append(path): write(path, b"more", os.O_APPEND)
@change
def o_trunc(path): write(path, b"new", os.O_TRUNC)
@change
def truncate_to_less(path): os.truncate(path, 2)
@change
def truncate_to_more(path): opened(path, lambda fd: os.ftruncate(fd, 100))
@change
def truncate_to_the_same(path): os.truncate(path, 7)
@change
def chmod(path): os.chmod(path, 0o600)
@change
def chown(path): os.chown(path, 5, 5)
@change
def utimes(path): os.utime(path, ns=(5, 7))
@change
def utimes_now(path): os.utime(path)
@change
def set_attribute(path): os.setxattr(path, "user.a", b"1")
@change
def remove_attribute(path): os.setxattr(path, "user.a", b"1"); pause(); os.removexattr(path, "user.a")
@change
def link(path): os.link(path, path + ".link")
@change
def unlink_a_link(path): os.link(path, path + ".link"); pause(); os.unlink(path + ".link")
@change
def rename(path): os.rename(path, path + ".new")
@change
def rename_over_a_link(path): os.link(path, path + ".link"); write(path + ".other"); pause(); os.rename(path + ".other", path + ".link")
@change
def exchange(path): write(path + ".other"); pause(); call("renameat2", -100, path.encode(), -100, (path + ".other").encode(), 2)
@change
def copy_range(path): write(path + ".other", b"x" * 9000); pause(); opened(path + ".other", lambda a: opened(path, lambda b: os.copy_file_range(a, b, 9000)))
@change
def direct(path): opened(path, lambda fd: os.pwritev(fd, [mmap.mmap(-1, 4096)], 0), os.O_RDWR | os.O_DIRECT)
@change
def read(path): opened(path, lambda fd: os.read(fd, 100))


@change
def mapped(path):
    def store(fd):
        with mmap.mmap(fd, 7) as memory:
            memory[0] = 65
    opened(path, store)


@change
def unnamed_then_linked(path):
    fd = os.open(os.path.dirname(path), os.O_TMPFILE | os.O_RDWR)
    os.write(fd, b"x")
    pause()
    call("linkat", -100, f"/proc/self/fd/{fd}".encode(), -100, (path + ".named").encode(), 0x400)
    os.close(fd)


CHANGES["allocate"] = allocation(0, 0, 10000)
CHANGES["allocate_behind_the_end"] = allocation(1, 0, 10000)
CHANGES["punch"] = allocation(3, 0, 4)
CHANGES["zero"] = allocation(16, 0, 4)


def times(path):
    s = os.lstat(path)
    return [s.st_atime_ns, s.st_mtime_ns, s.st_ctime_ns]


def everything(root):
    return [os.path.join(folder, name) for folder, folders, files in os.walk(root) for name in folders + files]


def take(root, state):
    for name, function in CHANGES.items():
        os.makedirs(f"{root}/{name}")
        write(f"{root}/{name}/f")
        # Changed while it is new, and later.
        function(f"{root}/{name}/f")
    for name, function in CHANGES.items():
        write(f"{root}/{name}/g")
        pause()
        function(f"{root}/{name}/g")
    with open(state, "w") as file:
        json.dump({path: times(path) for path in everything(root)}, file)
    print(len(CHANGES), "changes")


def same(root, state):
    with open(state) as file:
        taken = json.load(file)
    for path, before in taken.items():
        moved = [f"{name} {(b - a) / 1e6} ms" for name, a, b in zip("amc", before, times(path)) if a != b]
        if moved:
            print(path[len(root):], *moved)
    print("compared", len(taken))


def order(root):
    os.makedirs(root)
    write(f"{root}/old")
    latest, older = 0, []
    for i in range(400):
        steps = {
            "write": lambda p: write(p),
            "touch": lambda p: write(p, b""),
            "mkdir": os.mkdir,
            "append": lambda p: (write(f"{root}/old", b"x", os.O_APPEND), f"{root}/old")[1],
            "symlink": lambda p: os.symlink("nowhere", p),
            "setxattr": lambda p: (os.setxattr(f"{root}/old", "user.a", b"%d" % i), f"{root}/old")[1],
            "chmod": lambda p: (os.chmod(f"{root}/old", 0o600 + i % 8), f"{root}/old")[1],
            "link": lambda p: os.link(f"{root}/old", p),
        }
        name = list(steps)[i * 7919 % len(steps)] if i % 3 else list(steps)[i // 3 % 4]
        path = steps[name](f"{root}/{i}") or f"{root}/{i}"
        changed = times(path)[2]
        if changed < latest:
            older.append(f"{name} by {(latest - changed) / 1e6} ms")
        latest = max(latest, changed)
    print("older than an earlier one:", *(older or ["none"]))


{"take": take, "same": same, "order": order}[sys.argv[1]](*sys.argv[2:])
