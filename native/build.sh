#!/bin/sh
# Builds the native modules with node-gyp, only what changed. Node's headers are taken from the installation that runs us where it has
# them (Debian's and NodeSource's packages do); otherwise node-gyp fetches them.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
gyp="$here/../node_modules/.bin/node-gyp"
prefix=$(node -p 'require("path").dirname(require("path").dirname(process.execPath))')
nodedir=
[ -f "$prefix/include/node/node_api.h" ] && nodedir="--nodedir=$prefix"
for module in io fuse; do
  cd "$here/$module"
  built="build/Release/ostraka_$module.node"
  if [ -f "$built" ] && [ -z "$(find . -path ./build -prune -o -type f -newer "$built" -print -quit)" ]; then continue; fi
  printf 'building native/%s\n' "$module" >&2
  # The makefiles hold relative paths: a tree that was moved or copied needs them anew.
  if ! [ build/Makefile -nt binding.gyp ] || [ "$(cat build/configured-in 2>/dev/null)" != "$PWD" ]; then
    # shellcheck disable=SC2086 # empty is no argument
    "$gyp" configure --silent $nodedir
    pwd >build/configured-in
  fi
  "$gyp" build --silent --jobs=2 >/dev/null
  # A file that needs no new object leaves the module as it is.
  touch "$built"
done
