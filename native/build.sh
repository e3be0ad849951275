#!/bin/sh
# Builds the native modules with node-gyp, only what changed. Node's headers are taken from the installation that runs us where it has
# them (Debian's and NodeSource's packages do); otherwise node-gyp fetches them.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
prefix=$(node -p 'require("path").dirname(require("path").dirname(process.execPath))')
nodedir=
[ -f "$prefix/include/node/node_api.h" ] && nodedir="--nodedir=$prefix"
for module in io fuse; do
  cd "$here/$module"
  [ -d build ] || "$here/../node_modules/.bin/node-gyp" configure --silent $nodedir
  "$here/../node_modules/.bin/node-gyp" build --silent --jobs=2
done
