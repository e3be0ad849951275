#!/bin/sh
# Sets up a checkout on Debian with Node 20 or newer: Debian packages, npm packages, native and TypeScript build. Does only what is missing
# and says what and why; when nothing is, it takes a moment. setup.sh [test|service|long|bench] adds the programs that tests, the test of
# the service, all long tests and benchmarks run.
set -eu
cd "$(dirname "$0")/.."

say() { printf 'ostraka set-up: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

command -v node >/dev/null 2>&1 || fail 'Node 20 or newer is needed, and no "node" is on the PATH.'
node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 20 ? 0 : 1)' || fail "Node 20 or newer is needed, this is $(node --version)."

packages=
why=
need() { # PACKAGE REASON
  packages="$packages $1"
  why="$why
    $1: $2"
}
{ command -v make && command -v g++; } >/dev/null 2>&1 || need build-essential 'compiles the native modules'
command -v python3 >/dev/null 2>&1 || need python3 'runs node-gyp, which builds them'
[ -f /usr/include/isa-l.h ] || need libisal-dev 'erasure code and checksums (Intel ISA-L)'
command -v fusermount3 >/dev/null 2>&1 || need fuse3 'mounts without being root'
case "${1:-}" in
  test | service | long | bench)
    command -v git >/dev/null 2>&1 || need git 'a program that the tests run on a mount'
    command -v rsync >/dev/null 2>&1 || need rsync 'a program that the tests run on a mount'
    command -v setfacl >/dev/null 2>&1 || need acl 'a program that the tests run on a mount'
    command -v setfattr >/dev/null 2>&1 || need attr 'a program that the tests run on a mount'
    [ -e "$(echo /usr/lib/*/libfuse.so.2)" ] || need libfuse2 'what the npm package fuse-native mounts with (ostraka mount --binding fuse-native)'
    ;;
esac
case "${1:-}" in
  long | service)
    command -v debootstrap >/dev/null 2>&1 || need debootstrap 'makes the Debian whose systemd the long tests boot'
    command -v systemd-nspawn >/dev/null 2>&1 || need systemd-container 'boots it'
    ;;
esac
if [ "${1:-}" = long ]; then
  command -v mkfs.xfs >/dev/null 2>&1 || need xfsprogs 'makes the file systems of disks that tests use beside ext4'
  command -v bindfs >/dev/null 2>&1 || need bindfs 'makes a disk slow for the long tests'
  [ -d /usr/lib/postgresql ] || need postgresql 'a database that the long tests run on a mount'
  command -v restic >/dev/null 2>&1 || need restic 'backs up to a mount, and from it'
  command -v borg >/dev/null 2>&1 || need borgbackup 'backs up to a mount, and from it'
  { command -v smbd && [ -f "$(echo /usr/lib/*/samba/vfs/streams_xattr.so)" ]; } >/dev/null 2>&1 || need 'samba samba-vfs-modules' 'exports a mount'
  command -v vim >/dev/null 2>&1 || need vim 'edits files on a mount'
  command -v smbclient >/dev/null 2>&1 || need smbclient 'uses what it exports'
fi
if [ "${1:-}" = bench ]; then
  command -v bindfs >/dev/null 2>&1 || need bindfs 'what the benchmark compares with'
  command -v mergerfs >/dev/null 2>&1 || need mergerfs 'what the benchmark compares with'
  command -v mkfs.btrfs >/dev/null 2>&1 || need btrfs-progs 'what the benchmark compares with'
fi

if [ -n "$packages" ]; then
  install="apt-get install -y --no-install-recommends$packages"
  say "these Debian packages are missing:$why"
  command -v apt-get >/dev/null 2>&1 || fail "there is no apt-get here; install them in your system's way."
  if [ "$(id -u)" -eq 0 ]; then
    sudo=
  elif command -v sudo >/dev/null 2>&1; then
    sudo='sudo '
    say 'sudo may ask for your password now.'
  else
    fail "you are not root and there is no sudo. Run this as root, then start again:
    apt-get update && $install"
  fi
  say "running: ${sudo}apt-get update && $sudo$install"
  # shellcheck disable=SC2086 # words are meant
  { ${sudo}apt-get update -q && ${sudo}env DEBIAN_FRONTEND=noninteractive $install; } >&2 ||
    fail "apt-get failed. Once it works, run: ${sudo}apt-get update && $sudo$install"
fi

# Modules that npm compiles take Node's headers from the installation that runs us, as native/build.sh does.
prefix=$(node -p 'require("path").dirname(require("path").dirname(process.execPath))')
if [ -f "$prefix/include/node/node_api.h" ]; then
  npm_config_nodedir=$prefix
  export npm_config_nodedir
fi
if ! [ node_modules/.package-lock.json -nt package-lock.json ] ||
  ! node -e 'new (require("better-sqlite3"))(":memory:").close()' >/dev/null 2>&1; then
  say 'installing npm packages (npm ci)'
  npm ci --include=dev --no-audit --no-fund >&2
  touch node_modules/.package-lock.json
fi

sh native/build.sh

# The list of sources is part of the stamp: what was built from a source that is gone must go too.
sources=$(find src test -name '*.ts' | LC_ALL=C sort | cksum)
if [ "$(cat dist/.built 2>/dev/null || true)" != "$sources" ]; then
  rm -rf dist
fi
if ! [ -f dist/.built ] || [ -n "$(find src test tsconfig.json package-lock.json -newer dist/.built -type f -print -quit)" ]; then
  say 'building (tsc)'
  mkdir -p dist
  touch dist/.building
  npm run --silent compile
  # Older than anything that changed while the compiler ran.
  printf '%s\n' "$sources" >dist/.built
  touch -r dist/.building dist/.built
  rm dist/.building
fi
