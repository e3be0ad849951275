"""File handles (name_to_handle_at(2)), as NFS servers use them: `take FOLDER STATE` makes files and keeps their handles, `use FOLDER STATE` opens them."""
import ctypes, errno, json, os, sys

libc = ctypes.CDLL(None, use_errno=True)


class Handle(ctypes.Structure):
    _fields_ = [('bytes', ctypes.c_uint), ('type', ctypes.c_int), ('data', ctypes.c_ubyte * 128)]


def take(path):
    handle, mount = Handle(bytes=128), ctypes.c_int()
    if libc.name_to_handle_at(-100, path.encode(), ctypes.byref(handle), ctypes.byref(mount), 0) != 0:
        raise OSError(ctypes.get_errno(), path)
    return [handle.type, bytes(handle.data[:handle.bytes]).hex()]


def use(folder, kept, flags):
    data = bytes.fromhex(kept[1])
    handle = Handle(bytes=len(data), type=kept[0])
    ctypes.memmove(handle.data, data, len(data))
    mount = os.open(folder, os.O_RDONLY)
    fd = libc.open_by_handle_at(mount, ctypes.byref(handle), flags)
    code = ctypes.get_errno()
    os.close(mount)
    return fd if fd >= 0 else errno.errorcode[code]


action, folder, state = sys.argv[1:]
if action == 'take':
    os.makedirs(f'{folder}/a/b/c')
    for name in ['a/file', 'a/b/c/deep', 'gone']:
        with open(f'{folder}/{name}', 'w') as file:
            file.write(name)
    handles = {name: take(f'{folder}/{name}') for name in ['', 'a', 'a/file', 'a/b/c', 'a/b/c/deep', 'gone']}
    os.unlink(f'{folder}/gone')
    with open(state, 'w') as file:
        json.dump(handles, file)
else:
    with open('/proc/sys/vm/drop_caches', 'w') as caches:
        caches.write('3')
    with open(state) as file:
        handles = json.load(file)
    for name, kept in handles.items():
        is_file = name.endswith('file') or name.endswith('deep')
        fd = use(folder, kept, os.O_RDWR if is_file else os.O_RDONLY)
        if isinstance(fd, str):
            print(name, fd)
            continue
        where = os.readlink(f'/proc/self/fd/{fd}')
        print(name, where[len(folder) + 1:], os.read(fd, 100).decode() if is_file else sorted(os.listdir(fd)))
        os.close(fd)
