#!/usr/bin/env bash
# Runs `make demo` as a stranger would, until its page answers; then stops it.
set -euo pipefail
cd "$(dirname "$0")/.."

address=http://127.0.0.1:5000/
log=$(mktemp)
if (exec 3<>/dev/tcp/127.0.0.1/5000) 2>/dev/null; then
  echo "127.0.0.1:5000 is taken already" >&2
  exit 1
fi
setsid make demo >"$log" 2>&1 </dev/null &
demo=$!
trap 'kill -- "-$demo" 2>/dev/null || true; rm -f "$log"' EXIT

deadline=$((SECONDS + 300))
until "${PYTHON:-python3}" -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=10)' \
  "$address" 2>/dev/null; do
  if ! kill -0 "$demo" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
    cat "$log" >&2
    echo "make demo does not serve $address" >&2
    exit 1
  fi
  sleep 0.5
done
echo "make demo serves $address"
