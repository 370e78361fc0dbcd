#!/usr/bin/env bash
# serve_test.sh [LAR] - `lar serve` from outside (tests/serve_test.py), where the command has a server.
lar=${1:-./lar}
if ! "$lar" help 2>/dev/null | grep -q '^ *serve '; then
    echo "0 passed, 0 failed, 1 skipped: $lar has no server (libmicrohttpd)"
    exit 0
fi
exec python3 tests/serve_test.py "$lar"
