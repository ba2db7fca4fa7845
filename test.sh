#!/usr/bin/env bash
# Builds everything in Release with warnings as errors and runs every test.
# The last line says `N passed, N failed, N skipped`; the exit code is 0 when nothing failed.
#   ./test.sh            everything
#   ./test.sh UnitTests  only the test projects whose name contains the word
set -uo pipefail
cd "$(dirname "$0")"

# Tests that need a Redis, Python or one of its modules skip, and say so, where these cannot be installed.
need() {
  eval "$1" >/dev/null 2>&1 && return
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing $2"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$2"; } >/dev/null 2>&1 || echo "$2 could not be installed; tests that need it will be skipped"
  else
    echo "$2 is not installed; tests that need it will be skipped"
  fi
}
need "command -v redis-server" redis-server
need "command -v python3" python3
# The distribution's modules are those of its own Python, whatever else is on the path.
for module in pytest numpy torch setuptools wheel zmq msgpack; do
  need "/usr/bin/python3 -c 'import $module'" "python3-$module"
done

passed=0 failed=0 skipped=0
finish() {
  echo "$passed passed, $failed failed, $skipped skipped"
  [ "$failed" -eq 0 ]
  exit
}

dotnet build KvCache.sln -c Release -v quiet -nologo || { failed=1; finish; }

log=$(mktemp)
trap 'rm -f "$log"' EXIT
for project in tests/*"${1:-}"*/; do
  name=$(basename "$project")
  program="${project}bin/Release/net10.0/$name.dll"
  [ -f "$program" ] || continue
  echo "== $name"
  # A test project that hangs must not take the whole run with it.
  timeout --kill-after=10 720 dotnet "$program" -noColor -noLogo 2>&1 | tee "$log"
  summary=$(grep -E 'Total: [0-9]+, Errors: [0-9]+, Failed: [0-9]+, Skipped: [0-9]+' "$log" | tail -n 1)
  if [ -z "$summary" ]; then
    echo "$name ended without a summary"
    failed=$((failed + 1))
    continue
  fi
  number() { sed -E "s/.*$1: ([0-9]+).*/\1/" <<<"$summary"; }
  bad=$(($(number Failed) + $(number Errors)))
  failed=$((failed + bad))
  skipped=$((skipped + $(number Skipped)))
  passed=$((passed + $(number Total) - $(number Failed) - $(number Skipped)))
done
finish
