#!/usr/bin/env bash
# std.sh RUNLOOP [PACKAGE...]: Go's own tests of the standard library, compiled for
# wasip1, under `runloop wasi` and under wazero's own command, and where the two differ.
# Differences that std.expect lists are denied on purpose (docs/sandbox.md says why);
# any other fails. WORK keeps compiled tests between runs.
set -u
here=$(cd "$(dirname "$0")" && pwd)
runloop=$(realpath "$1"); shift
packages=${*:-os io io/fs path/filepath time bufio strings encoding/json}
goroot=$(go env GOROOT)
work=${WORK:-$(mktemp -d)}; mkdir -p "$work"
export HOME=$work/home XDG_CACHE_HOME=$work/cache; mkdir -p "$HOME" "$XDG_CACHE_HOME"
wazero=$work/wazero
[ -x "$wazero" ] || (cd "$(cd "$here" && go list -m -f '{{.Dir}}' github.com/tetratelabs/wazero)" &&
  GOFLAGS=-mod=mod go build -o "$wazero" ./cmd/wazero) || exit 2

# results FILE: one line for each test, sorted.
results() { sed -nE 's/^ *--- (PASS|FAIL|SKIP): ([^ ]+) .*/\2 \1/p' "$1" | sort; }

bad=0
for p in $packages; do
  name=${p//\//_}
  [ -f "$work/$name.wasm" ] || GOOS=wasip1 GOARCH=wasm CGO_ENABLED=0 go test -c -o "$work/$name.wasm" "$p" || exit 2
  cd "$goroot/src/$p" || exit 2
  args="-test.v -test.short -test.run=^Test -test.timeout=20m"
  tmp=$work/tmp.ours; rm -rf "$tmp"; mkdir -p "$tmp"
  "$runloop" wasi --time --memory 1024 --timeout 20m --ro "$goroot" --dir "$tmp" --env PWD="$PWD" \
    --env TMPDIR="$tmp" --env GOROOT="$goroot" "$work/$name.wasm" $args >"$work/$name.ours" 2>"$work/$name.ours.err"
  ours=$?
  tmp=$work/tmp.theirs; rm -rf "$tmp"; mkdir -p "$tmp"
  "$wazero" run -mount /:/ -env PWD="$PWD" -env TMPDIR="$tmp" -env GOROOT="$goroot" -cachedir "$work/wz" \
    "$work/$name.wasm" $args >"$work/$name.theirs" 2>"$work/$name.theirs.err"
  theirs=$?
  results "$work/$name.ours" >"$work/$name.ours.list"
  results "$work/$name.theirs" >"$work/$name.theirs.list"
  diff "$work/$name.theirs.list" "$work/$name.ours.list" | sed -n "s|^> |$p |p" >"$work/$name.diff"
  new=$(grep -vxEf <(grep -v -e "^#" -e "^$" "$here/std.expect") "$work/$name.diff")
  printf '%-14s %4d tests here (exit %d), %4d under wazero (exit %d), %d differ\n' "$p" \
    "$(wc -l <"$work/$name.ours.list")" $ours "$(wc -l <"$work/$name.theirs.list")" $theirs "$(wc -l <"$work/$name.diff")"
  [ -z "$new" ] || { bad=1; echo "$new" | sed 's/^/  not expected: /'; }
done
exit $bad
