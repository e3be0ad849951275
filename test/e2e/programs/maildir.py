"""A Maildir in use: `maildir.py DIR deliver NAME COUNT HOW` delivers as mail servers do (HOW: rename, link or module: Python's own), and prints each message once it is
durable; `DIR read NAME` moves what is new to cur, sets and clears flags and verifies, until told to stop by a line; `DIR verify` prints how often each message is there."""
import hashlib, mailbox, os, sys, threading

directory, what, *rest = sys.argv[1:]


def message(name, number):
    body = hashlib.sha256(f"{name} {number}".encode()).hexdigest() + "\n"
    return f"Subject: {name}-{number}\n\n".encode() + body.encode() * (1 + number * 37 % 400)


def whole(data):
    subject = data.split(b"\n", 1)[0].decode().removeprefix("Subject: ")
    name, number = subject.rsplit("-", 1)
    if data != message(name, int(number)):
        raise SystemExit(f"{subject} is torn: {len(data)} bytes")
    return subject


def sync_folder(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def deliver(name, count, how):
    box = mailbox.Maildir(directory, create=True)
    for number in range(int(count)):
        if how == "module":
            box.add(message(name, number))
        else:
            unique = f"{number}.{os.getpid()}.{name}"
            fd = os.open(f"{directory}/tmp/{unique}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            os.write(fd, message(name, number))
            os.fsync(fd)
            os.close(fd)
            if how == "link":
                os.link(f"{directory}/tmp/{unique}", f"{directory}/new/{unique}")
                os.unlink(f"{directory}/tmp/{unique}")
            else:
                os.rename(f"{directory}/tmp/{unique}", f"{directory}/new/{unique}")
        sync_folder(f"{directory}/new")
        print(f"{name}-{number}", flush=True)


def read(name):
    stopped = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), stopped.set()), daemon=True).start()
    moves = 0
    while not stopped.is_set():
        for folder in ("new", "cur"):
            for file in os.listdir(f"{directory}/{folder}"):
                unique, _, flags = file.partition(":2,")
                flags = "S" if folder == "new" else "RS" if flags == "S" else "S"
                try:
                    with open(f"{directory}/{folder}/{file}", "rb") as opened:
                        whole(opened.read())
                    os.rename(f"{directory}/{folder}/{file}", f"{directory}/cur/{unique}:2,{flags}")
                    moves += 1
                except FileNotFoundError:
                    pass  # another reader was faster
    print(moves)


def verify():
    found = {}
    for folder in ("new", "cur"):
        for file in os.listdir(f"{directory}/{folder}"):
            with open(f"{directory}/{folder}/{file}", "rb") as opened:
                subject = whole(opened.read())
            found[subject] = found.get(subject, 0) + 1
    for subject in sorted(found):
        print(subject, found[subject])


{"deliver": deliver, "read": read, "verify": verify}[what](*rest)
