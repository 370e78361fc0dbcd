#!/usr/bin/env bash
# store_test.sh [LAR] - pulling, listing, verifying and removing models against a server that goes wrong
# in every way that servers do. Runs from the repository root; see store_test.py.
exec python3 tests/store_test.py "${1:-./lar}"
