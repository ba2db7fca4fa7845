#!/usr/bin/env bash
# The quick start. Says what happens before the first build, which prints nothing for minutes.
#   ./run.sh [-- options of the quick start; --help lists them]
cd "$(dirname "$0")" || exit
[ -f samples/QuickStart/bin/Release/net10.0/KvCache.QuickStart.dll ] || echo "Building; the first time takes two to four minutes and prints nothing until it is done."
[ "${1:-}" = "--" ] && shift
exec dotnet run -c Release --project samples/QuickStart -- "$@"
