#!/bin/sh
# Builds the module's plain C++ with a sanitizer and runs its tests. run.sh [address,undefined | thread]; the build goes to a temporary folder.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
sanitizer=${1:-address,undefined}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$here/.."
g++ -std=c++17 -O1 -g -Wall -Wextra -Werror -fno-omit-frame-pointer "-fsanitize=$sanitizer" -fno-sanitize-recover=all \
  device.cc mount.cc test/device_test.cc -lpthread -o "$folder/test"
"$folder/test"
