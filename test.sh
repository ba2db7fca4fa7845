#!/usr/bin/env bash
# Builds everything in Release with warnings as errors and runs every test, in lanes that share the cores.
# The last line says `N passed, N failed, N skipped`; the exit code is 0 when nothing failed.
#   ./test.sh             everything but the long forms
#   ./test.sh --fast      what fails most often: units, simulation, Redis, grains, and the Python client against a real silo
#   ./test.sh --long      everything, with soaks, many more schedules and tests marked [Trait("run", "long")]
#   ./test.sh UnitTests   only the test projects whose name contains the word; Python is the name of the Python tests
set -uo pipefail
cd "$(dirname "$0")"

fast='' long='' word='' limit=720
for argument in "$@"; do
  case $argument in
    --fast) fast=1 ;;
    --long) long=1 limit=36000 ;;
    -*) echo "'$argument' is not an option; ./test.sh [--fast | --long] [WORD] was expected." >&2 && exit 2 ;;
    *) word=$argument ;;
  esac
done

# Tests that need a Redis, Python or one of its modules skip, and say so, where these cannot be installed. The distribution's modules
# are those of its own Python, whatever else is on the path.
install_what_is_missing() {
  local missing=() program package
  for program in redis-server redis-sentinel faketime python3; do
    command -v "$program" >/dev/null || missing+=("$program")
  done
  for module in pytest numpy torch setuptools wheel zmq msgpack redis; do
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

# What generates and lints clients of the HTTP API, and clients of Redis, where there is Node.js. Kept from run to run.
npm_tools=${XDG_CACHE_HOME:-$HOME/.cache}/kvcache-npm-tools
install_npm_tools() {
  command -v npm >/dev/null && [ ! -d "$npm_tools/node_modules/ioredis" ] || return
  mkdir -p "$npm_tools"
  npm install --prefix "$npm_tools" --no-audit --no-fund --silent openapi-typescript@7 typescript@5 @redocly/cli@2 ioredis@5 redis@5 >/dev/null 2>&1 ||
    rm -rf "$npm_tools"
}

work=$(mktemp -d)
touch "$work/counts" "$work/running"
trap 'rm -rf "$work"' EXIT
# Every program runs in a process group of its own (timeout makes it), which the terminal's Ctrl-C does not reach.
stop() {
  local pid
  for pid in $(<"$work/running"); do
    [ "$(ps -o comm= -p "$pid")" = timeout ] && kill "$pid"
  done
  exit 130
}
trap stop INT TERM

finish() {
  awk '{ passed += $1; failed += $2; skipped += $3 } END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped; exit failed > 0 }' "$work/counts"
  exit
}

count() { echo "$1 $2 $3" >>"$work/counts"; }

# The figure before a word, or after "word: ", in the last line of a log that has a pattern; 0 where there is none.
figure() { grep -oE "$1" <<<"$2" | grep -oE '[0-9]+' | tail -n 1 || echo 0; }

# Runs a program to its end or to the limit (one that hangs must not take the whole run with it), and leaves its output in $log.
# The lanes print one after the other, each program whole.
run() {
  local name=$1 began=$SECONDS code
  shift
  log=$(mktemp "$work/XXXXXX" 2>/dev/null) || exit 130 # the run was stopped
  timeout --kill-after=10 "$limit" "$@" >"$log" 2>&1 &
  echo $! >>"$work/running"
  wait $!
  code=$?
  [ $code -eq 124 ] || [ $code -eq 137 ] && echo "$name was ended after $limit s" >>"$log"
  (
    flock 9
    echo "== $name: $((SECONDS - began)) s"
    cat "$log"
  ) 9>"$work/printing"
}

wanted() { [[ $1 == *"$word"* ]]; }

# A test project, with further arguments of its runner.
project() {
  local name=KvCache.$1 title summary bad
  local program=tests/$name/bin/Release/net10.0/$name.dll
  wanted "$name" && [ -f "$program" ] || return 0
  title=$*
  shift
  [ -n "$long" ] || set -- "$@" -trait- run=long
  run "$title" dotnet "$program" -noColor -noLogo "$@"
  summary=$(grep -E 'Total: [0-9]+, Errors: [0-9]+, Failed: [0-9]+, Skipped: [0-9]+' "$log" | tail -n 1)
  if [ -z "$summary" ]; then
    echo "$name ended without a summary"
    count 0 1 0
    return
  fi
  bad=$(($(figure 'Failed: [0-9]+' "$summary") + $(figure 'Errors: [0-9]+' "$summary")))
  count $(($(figure 'Total: [0-9]+' "$summary") - $(figure 'Failed: [0-9]+' "$summary") - $(figure 'Skipped: [0-9]+' "$summary"))) "$bad" "$(figure 'Skipped: [0-9]+' "$summary")"
}

# The tests of python/, against silos of the build. The system's Python first: that is the one which the distribution's packages are for.
python() {
  wanted Python || return 0
  local python summary bad
  for python in /usr/bin/python3 python3; do
    "$python" -c 'import pytest' >/dev/null 2>&1 && break
    python=''
  done
  if [ -z "$python" ]; then
    echo "== Python: there is no pytest (on Debian: python3-pytest, python3-numpy, python3-torch); its tests are skipped"
    count 0 0 1
    return
  fi
  # Nothing is written beside the sources; tests that skip say why.
  KVCACHE_SILO_DLL=$PWD/$silo PYTHONDONTWRITEBYTECODE=1 run Python "$python" -B -m pytest -q -rs -p no:cacheprovider python/tests "$@"
  summary=$(grep -E '^=* *([0-9]+ [a-z]+,? )+in [0-9.]+s' "$log" | tail -n 1)
  if [ -z "$summary" ]; then
    echo "The Python tests ended without a summary"
    count 0 1 0
    return
  fi
  bad=$(($(figure '[0-9]+ failed' "$summary") + $(figure '[0-9]+ error' "$summary")))
  count "$(figure '[0-9]+ passed' "$summary")" "$bad" "$(figure '[0-9]+ skipped' "$summary")"
}

# Those that keep the cores busy, one after the other.
compute() {
  local folder
  for folder in tests/KvCache.*Tests; do
    [[ $folder == *.ProcessTests || $folder == *.RedisTests ]] || project "${folder#tests/KvCache.}"
  done
}

# Silos of the process tests live for seconds, and were compiled beforehand: compiling anew what they call often takes them a quarter of
# their processor time. The runtime puts that off for as long as this (hexadecimal milliseconds).
short_lived() { DOTNET_TC_CallCountingDelayMs=100000 "$@"; }

install_what_is_missing & # while the compiler works
[ -n "$fast" ] || install_npm_tools &
target=KvCache.sln silo=tests/KvCache.ProcessTests/bin/Release/net10.0/KvCache.Silo.dll
[ -z "$fast" ] || target=tests/fast.slnf silo=src/Silo/bin/Release/net10.0/KvCache.Silo.dll
# One compiler for all projects, and links instead of copies of libtorch. Profiles for a later optimisation cost short programs, the
# compiler and the silos of the tests alike, more than they ever give back.
export DOTNET_TieredPGO=0
if ! dotnet build "$target" -c Release -v quiet -nologo -p:UseSharedCompilation=true -p:CreateHardLinksForCopyLocalIfPossible=true; then
  count 0 1 0
  finish
fi
wait
[ ! -x "$npm_tools/node_modules/.bin/redocly" ] || export KVCACHE_NPM_TOOLS=$npm_tools
echo "Built in $SECONDS s"

if [ -n "$fast" ]; then
  export KVCACHE_SIM_SCHEDULES=${KVCACHE_SIM_SCHEDULES:-2000}
  python --ignore=python/tests/test_processes.py --ignore=python/tests/test_attack_cost.py --ignore=python/tests/test_attack_doors.py &
  project RedisTests & # it mostly waits
  for name in UnitTests ClusterTests SimulationTests; do
    project $name
  done
  wait
  finish
fi
if [ -n "$long" ]; then
  export KVCACHE_SIM_SCHEDULES=${KVCACHE_SIM_SCHEDULES:-1000000} KVCACHE_STRESS_SECONDS=${KVCACHE_STRESS_SECONDS:-600}
  export KVCACHE_ATTACK_LONG=${KVCACHE_ATTACK_LONG:-1} KVCACHE_TEST_DEPTH=${KVCACHE_TEST_DEPTH:-20}
fi
short_lived python &
short_lived project ProcessTests -trait- run=apart -trait- run=kills &
project RedisTests & # it mostly waits
compute
wait
# Those that kill silos have deadlines to keep, and those that judge times, allocations and memory the machine for themselves.
short_lived project ProcessTests -trait run=kills
project ProcessTests -trait run=apart
finish
