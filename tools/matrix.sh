#!/usr/bin/env bash
# The suite on the other Pythons, with the newest dependencies, and once on the lowest versions.
#
#   tools/matrix.sh PYTHON [pytest options]   PYTHON is the one that `make test` has covered
#
# The lowest versions run on every engine, each other Python on some of the engines' variants
# (tests/engines.py); all without the browser, what is slow, faults of real servers, and the coverage
# gate. WORKERS sets the number of pytest-xdist processes. LOWEST_PYTHON (default: the oldest found)
# runs the lowest versions.
set -euo pipefail
cd "$(dirname "$0")/.."

covered_python=$1
shift
supported=(3.10 3.11 3.12 3.13)
declare -A engines=(
  [3.10]=sqlite-wal,sqlite-memory
  [3.12]=postgresql-psycopg2
  [3.13]=mariadb-latin1
)
environments=.venvs
workers=${WORKERS:-2}

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

# find_python 3.12: on PATH, else among pyenv's versions (newest patch first); prints its path.
find_python() {
  local candidate versions=${PYENV_ROOT:-$HOME/.pyenv}/versions
  for candidate in "$(command -v "python$1" || true)" \
    $(printf '%s\n' "$versions/$1".*/bin/python | sort -rV); do
    if [ -x "$candidate" ] && [ "$(version_of "$candidate")" = "$1" ]; then
      echo "$candidate"
      return
    fi
  done
  return 1
}

# run_suite NAME PYTHON CONSTRAINTS [pytest options]: in an environment of its own, made anew when
# pyproject.toml, the constraints (a file, or none) or the Python have changed.
run_suite() {
  local name=$1 python=$2 constraints=$3 environment=$environments/$1 started=$SECONDS stamp
  shift 3
  stamp=$(cat pyproject.toml ${constraints:+"$constraints"} <("$python" -VV) | cksum)
  printf '\n=== %s: %s\n' "$name" "$("$python" -V)"
  if [ "$(cat "$environment/stamp" 2>/dev/null)" != "$stamp" ]; then
    rm -rf "$environment"
    "$python" -m venv "$environment"
    "$environment/bin/python" -m pip install -q ${constraints:+-c "$constraints"} -e '.[dev]'
    echo "$stamp" >"$environment/stamp"
  fi
  if DEVICE_SESSIONS_TEST=all "$environment/bin/python" -m pytest -q -n "$workers" \
    --dist loadgroup -m "not browser and not slow and not faults" "$@" </dev/null; then
    results+=("$name: passed in $((SECONDS - started)) s")
  else
    results+=("$name: FAILED")
    failed=1
  fi
}

mkdir -p "$environments"
covered=$(version_of "$covered_python")
oldest=${LOWEST_PYTHON:-}
missing=()
results=()
failed=0
for version in "${supported[@]}"; do
  if [ "$version" = "$covered" ]; then
    [ -n "$oldest" ] || oldest=$covered_python
  elif python=$(find_python "$version"); then
    [ -n "$oldest" ] || oldest=$python
    DEVICE_SESSIONS_TEST_ENGINES=${engines[$version]:-sqlite} run_suite "$version" "$python" "" "$@"
  else
    missing+=("$version (${engines[$version]:-sqlite})")
  fi
done

"$covered_python" tools/lowest.py >"$environments/lowest.txt"
run_suite lowest "$oldest" "$environments/lowest.txt" "$@"

echo
printf '%s\n' "${results[@]}"
if [ "${#missing[@]}" != 0 ]; then
  echo "NOT TESTED: no Python ${missing[*]} on this machine (neither on PATH nor in pyenv)." >&2
fi
exit "$failed"
