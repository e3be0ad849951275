"""Locks of all kinds between processes and open files in the folder argv[1]: each line is one promise that was kept."""
import errno, fcntl, os, select, signal, struct, sys

path = os.path.join(sys.argv[1], 'locked')
OFD_GETLK, OFD_SETLK, OFD_SETLKW = 36, 37, 38
EXCLUSIVE = os.O_RDWR | os.O_CREAT


def opened():
    return os.open(path, EXCLUSIVE, 0o644)


def ofd(fd, kind, start, length, command=OFD_SETLK):
    return fcntl.fcntl(fd, command, struct.pack('hhqqi4x', kind, os.SEEK_SET, start, length, 0))


def refused(action):
    try:
        action()
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EACCES)
    return False


class Child:
    """Another process that runs `body(say, wait)`; `said` waits for its next word, `go` lets it go on."""

    def __init__(self, body):
        said_read, said_write = os.pipe()
        go_read, go_write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                body(lambda word: os.write(said_write, word[:1].encode()), lambda: os.read(go_read, 1))
            except BaseException as error:  # noqa: the word is an answer
                os.write(said_write, b'!')
                print(error, file=sys.stderr)
            os._exit(0)
        os.close(said_write)
        os.close(go_read)
        self.said_fd, self.go_fd = said_read, go_write

    def said(self):
        return os.read(self.said_fd, 1).decode()

    def silent(self):
        return select.select([self.said_fd], [], [], 0.3)[0] == []

    def go(self):
        os.write(self.go_fd, b'g')

    def end(self):
        os.close(self.go_fd)
        os.waitpid(self.pid, 0)


def kept(what, truth):
    print(('kept ' if truth else 'BROKEN ') + what, flush=True)


def answer(action):
    return 'n' if refused(action) else 'y'


# fcntl(2): byte ranges, owned by the process.
fd = opened()
fcntl.lockf(fd, fcntl.LOCK_EX, 100, 0)


def probe(say, wait):
    mine = opened()
    say(answer(lambda: fcntl.lockf(mine, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 50)))
    say(answer(lambda: fcntl.lockf(mine, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 100)))
    found = struct.unpack('hhqqi4x', fcntl.fcntl(mine, fcntl.F_GETLK, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 50, 10, 0)))
    say('y' if found == (fcntl.F_WRLCK, 0, 0, 100, os.getppid()) else 'n')


child = Child(probe)
kept('fcntl: an overlapping range is refused, the next one is free, GETLK names the owner', [child.said(), child.said(), child.said()] == ['n', 'y', 'y'])
child.end()


def waiter(say, wait):
    mine = opened()
    say('w')
    fcntl.lockf(mine, fcntl.LOCK_EX, 10, 0)
    say('g')
    wait()


child = Child(waiter)
kept('fcntl: a blocking request waits', child.said() == 'w' and child.silent())
fcntl.lockf(fd, fcntl.LOCK_UN, 100, 0)
kept('fcntl: and gets the lock when it is given back', child.said() == 'g')
kept('fcntl: which is then taken', refused(lambda: fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0)))
os.kill(child.pid, signal.SIGKILL)
fcntl.lockf(fd, fcntl.LOCK_EX, 10, 0)
child.end()
kept('fcntl: a killed process holds nothing', True)
os.close(opened())
child = Child(lambda say, wait: say(answer(lambda: fcntl.lockf(opened(), fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0))))
kept('fcntl: closing any descriptor of the file gives the locks back', child.said() == 'y')
child.end()


def deadlock(say, wait):
    mine = opened()
    fcntl.lockf(mine, fcntl.LOCK_EX, 1, 1)
    say('l')
    wait()
    say('w')
    fcntl.lockf(mine, fcntl.LOCK_EX, 1, 0)
    say('g')


fcntl.lockf(fd, fcntl.LOCK_EX, 1, 0)
child = Child(deadlock)
child.said()
child.go()
waits = child.said() == 'w' and child.silent()
try:
    fcntl.lockf(fd, fcntl.LOCK_EX, 1, 1)
    found = 0
except OSError as error:
    found = error.errno
kept('fcntl: a deadlock is EDEADLK', waits and found == errno.EDEADLK)
fcntl.lockf(fd, fcntl.LOCK_UN, 0, 0)
kept('fcntl: and the other one goes on', child.said() == 'g')
child.end()

# Open file description locks: owned by the open file.
a, b = opened(), opened()
ofd(a, fcntl.F_WRLCK, 0, 10)
kept('OFD: two open files of one process exclude each other', refused(lambda: ofd(b, fcntl.F_WRLCK, 5, 1)))
c = os.dup(a)
os.close(a)
kept('OFD: a duplicate keeps the lock', refused(lambda: ofd(b, fcntl.F_WRLCK, 5, 1)))
child = Child(lambda say, wait: (say('w'), ofd(opened(), fcntl.F_WRLCK, 0, 10, OFD_SETLKW), say('g')))
kept('OFD: a blocking request waits', child.said() == 'w' and child.silent())
# The child inherited the open file: the lock is there as long as one of them has it.
ofd(c, fcntl.F_UNLCK, 0, 10)
kept('OFD: and gets it', child.said() == 'g')
child.end()
os.close(c)
kept('OFD: nothing is left after the last close', not refused(lambda: ofd(b, fcntl.F_WRLCK, 0, 10)))
os.close(b)

# flock(2): whole files, owned by the open file.
a, b = opened(), opened()
fcntl.flock(a, fcntl.LOCK_SH)
fcntl.flock(b, fcntl.LOCK_SH | fcntl.LOCK_NB)
kept('flock: shared by two, exclusive for none', refused(lambda: fcntl.flock(a, fcntl.LOCK_EX | fcntl.LOCK_NB)))
fcntl.flock(a, fcntl.LOCK_UN)
fcntl.flock(b, fcntl.LOCK_UN)
fcntl.flock(a, fcntl.LOCK_EX)
kept('flock: exclusive excludes', refused(lambda: fcntl.flock(b, fcntl.LOCK_SH | fcntl.LOCK_NB)))
kept('flock: and has nothing to do with fcntl', not refused(lambda: fcntl.lockf(b, fcntl.LOCK_EX | fcntl.LOCK_NB)))
fcntl.lockf(b, fcntl.LOCK_UN)


def flocker(say, wait):
    os.close(a)  # else the inherited open file would keep the lock
    mine = opened()
    say('w')
    fcntl.flock(mine, fcntl.LOCK_EX)
    say('g')
    wait()


child = Child(flocker)
kept('flock: a blocking request waits', child.said() == 'w' and child.silent())
os.close(a)
kept('flock: closing gives it back', child.said() == 'g')
kept('flock: to the one who waited', refused(lambda: fcntl.flock(b, fcntl.LOCK_EX | fcntl.LOCK_NB)))
os.kill(child.pid, signal.SIGKILL)
fcntl.flock(b, fcntl.LOCK_EX)
child.end()
kept('flock: a killed process holds nothing', True)


def interrupted(say, wait):
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.siginterrupt(signal.SIGUSR1, True)
    mine = opened()
    say('w')

    class Stop(Exception):
        pass

    def stop(*_):
        raise Stop()

    signal.signal(signal.SIGUSR1, stop)
    try:
        fcntl.flock(mine, fcntl.LOCK_EX)
        say('g')
    except Stop:
        say('i')


child = Child(interrupted)
waits = child.said() == 'w' and child.silent()
os.kill(child.pid, signal.SIGUSR1)
kept('flock: a signal ends the waiting', waits and child.said() == 'i')
child.end()
