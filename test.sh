#!/usr/bin/env bash
# Builds everything in Release with warnings as errors and runs every test.
# The last line says `N passed, N failed, N skipped`; the exit code is 0 when nothing failed.
#   ./test.sh            everything
#   ./test.sh UnitTests  only the test projects whose name contains the word
set -uo pipefail
cd "$(dirname "$0")"

# Tests that need a Redis, Python or one of its modules skip, and say so, where these cannot be installed. The distribution's modules
# are those of its own Python, whatever else is on the path.
install_what_is_missing() {
  local missing=() package
  command -v redis-server >/dev/null || missing+=(redis-server)
  command -v python3 >/dev/null || missing+=(python3)
  for module in pytest numpy torch setuptools wheel zmq msgpack; do
    /usr/bin/python3 -c "import $module" >/dev/null 2>&1 || missing+=("python3-$module")
  done
  [ ${#missing[@]} -eq 0 ] && return
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "Not installed: ${missing[*]}; tests that need them will be skipped"
    return
  fi
  echo "Installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq >/dev/null 2>&1
  apt-get install -y -qq "${missing[@]}" >/dev/null 2>&1 && return
  for package in "${missing[@]}"; do
    apt-get install -y -qq "$package" >/dev/null 2>&1 || echo "$package could not be installed; tests that need it will be skipped"
  done
}

passed=0 failed=0 skipped=0
finish() {
  echo "$passed passed, $failed failed, $skipped skipped"
  [ "$failed" -eq 0 ]
  exit
}

install_what_is_missing & # while the compiler works
dotnet build KvCache.sln -c Release -v quiet -nologo || { failed=1; finish; }
wait

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
