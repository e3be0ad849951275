#!/bin/sh
# Runs the tests of the native modules' plain C++ under the address, undefined-behaviour and thread sanitizers. The last one does not run everywhere
# (it wants its own layout of memory): where a program that does nothing fails under it, that is said and it is left out.
set -eu
cd "$(dirname "$0")"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
runs() { # SANITIZER
  echo 'int main() { return 0; }' >"$folder/nothing.cc"
  g++ "-fsanitize=$1" "$folder/nothing.cc" -o "$folder/nothing" 2>"$folder/why" && "$folder/nothing" 2>"$folder/why"
}

for sanitizer in address,undefined thread; do
  if ! runs "$sanitizer"; then
    [ "$sanitizer" = thread ] || { cat "$folder/why"; exit 1; }
    echo "thread sanitizer: left out, it does not run here: $(head -n 1 "$folder/why")"
    continue
  fi
  for module in io fuse; do
    echo "== native/$module under $sanitizer"
    sh "$module/test/run.sh" "$sanitizer"
  done
done
