/**
 * How editors and tools save, on the mount and on this machine's own file system: vim with each way of making backups, sed -i, patch, and the ways as bare system calls. Of
 * files with several names, symbolic links, modes, owners, ACLs and attributes the same is left as there.
 */
import t from 'tap';
import { Place, lacking } from '../support/place.js';
import { runTwice, sameTrees } from '../support/twice.js';

/** Files of all kinds that are edited, in a folder named by who edits them. */
const PREPARE = String.raw`
  prepare() { mkdir "$1"; cd "$1"; printf 'one\ntwo\nthree\n' | tee plain linked target mode attributes acl owned script >/dev/null
    ln linked other-name; ln -s target soft; chmod 600 mode; chmod 755 script; chown 1234:4321 owned; chmod 664 owned
    setfattr -n user.note -v kept attributes; setfacl -m u:1234:rw,g:4321:r acl; seq 20000 >large; touch empty; : >"na me"; }
  all="plain linked soft mode attributes acl owned script large empty"
  cd_back() { ls -A | sort; cd ..; }
`;

const VIM = String.raw`${PREPARE}
  for copy in yes no auto; do for backup in backup nobackup; do prepare vim-$copy-$backup
    for f in $all; do vim -u NONE -N -i NONE -n -es -c "set backupcopy=$copy $backup writebackup backupdir=." -c '%s/t/T/ge' -c 'call append(0, "new line")' -c wq "$f" </dev/null; done
    cd_back; done; done
  prepare vim-undo; vim -u NONE -N -i NONE -es -c 'set undofile undodir=. directory=.' -c '1d' -c w -c '1d' -c wq plain </dev/null; rm -f .*un~; cd_back
`;

const TOOLS = String.raw`${PREPARE}
  prepare sed; for f in $all; do sed -i 's/two/TWO/' $f; done; cd_back
  prepare sed-backup; for f in $all; do sed -i.old 's/two/TWO/' $f; done; cd_back
  prepare sed-follow; sed -i --follow-symlinks 's/two/TWO/' soft; cd_back
  prepare perl; for f in $all; do perl -i.bak -pe 's/two/TWO/' $f; done; cd_back
  prepare patch; printf '%s\n' '--- plain' '+++ plain' '@@ -1,3 +1,3 @@' ' one' '-two' '+2' ' three' | patch -b plain; cd_back
  prepare sort; for f in plain large mode; do sort -ro $f $f; done; install -m 640 -b plain mode; cp --backup=numbered plain mode; mv -b plain script; cd_back
`;

/** Bare ways to save. */
const CALLS = String.raw`${PREPARE}
  prepare calls; cd ..; python3 -I - <<'END'
import os, shutil, tempfile
os.chdir('calls')
new = b'saved\n' * 1000

def temporary_and_rename(name):
    fd, path = tempfile.mkstemp(dir='.')
    os.write(fd, new); os.fsync(fd); os.close(fd)
    shutil.copystat(name, path); s = os.stat(name); os.chown(path, s.st_uid, s.st_gid); shutil.copystat(name, path)
    os.rename(path, name)
    folder = os.open('.', os.O_RDONLY); os.fsync(folder); os.close(folder)

def in_place(name):
    with open(name, 'r+b') as file:
        file.truncate(0); file.write(new); file.flush(); os.fsync(file.fileno())

def truncated_by_open(name):
    with open(name, 'wb') as file: file.write(new)

def backup_by_link_then_new(name):
    os.link(name, name + '~')
    with open(name + '.tmp', 'xb') as file: file.write(new)
    os.chmod(name + '.tmp', os.stat(name).st_mode & 0o7777)
    os.replace(name + '.tmp', name)

def backup_by_rename_then_new(name):
    os.rename(name, name + '~')
    with open(name, 'xb') as file: file.write(new)

def unnamed_then_linked(name):
    fd = os.open('.', os.O_TMPFILE | os.O_RDWR, 0o644)
    os.write(fd, new); os.fchmod(fd, 0o640); os.setxattr(fd, 'user.note', b'new'); os.fsync(fd)
    os.system(f'ln -L /proc/{os.getpid()}/fd/{fd} {name}.linked')
    os.close(fd)
    os.rename(name + '.linked', name)

for i, way in enumerate([temporary_and_rename, in_place, truncated_by_open, backup_by_link_then_new, backup_by_rename_then_new, unnamed_then_linked]):
    for name in ['plain', 'linked', 'mode', 'attributes', 'acl', 'owned', 'script']:
        shutil.copy2(name, f'{name}.{i}'); os.link(f'{name}.{i}', f'{name}.{i}.name')
        way(f'{name}.{i}')
    print(way.__name__, sorted(os.listdir('.')))
END
  cat calls/*.* | sha256sum
`;

const skip = await lacking('setfacl', 'setfattr', 'python3', 'perl', 'patch');

t.test('editors and tools that save', { skip }, async (t) => {
  const place = await Place.create(t);
  for (const [name, script, needs] of [
    ['vim', VIM, 'vim'],
    ['tools', TOOLS, 'sed'],
    ['calls', CALLS, 'ln'],
  ] as const)
    await t.test(name, { skip: await lacking(needs) }, async (t) => {
      const both = await runTwice(t, place, name, script, '');
      await sameTrees(t, both);
      await place.fresh();
      await sameTrees(t, both);
    });
});
