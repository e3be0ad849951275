#!/bin/sh
# Builds the module's plain C++ with a sanitizer and runs its tests. run.sh [address,undefined | thread]; the build goes to a temporary folder.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
sanitizer=${1:-address,undefined}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$here/.."
g++ -std=c++17 -O1 -g -Wall -Wextra -Werror -fno-omit-frame-pointer "-fsanitize=$sanitizer" -fno-sanitize-recover=all -I. \
  codec.cc engine.cc fetch.cc files.cc memory.cc remake.cc scan.cc service.cc shared-memory.cc stripe.cc test/native-io-test.cc -lisal -lpthread -o "$folder/test"
mkdir "$folder/disks"
"$folder/test" "$folder/disks"
