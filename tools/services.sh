#!/usr/bin/env bash
# What the whole test suite talks to, on loopback only: PostgreSQL, MariaDB, Redis; and what it
# starts by itself: Chromium, nginx, Varnish, pgbouncer, and more servers that it may kill.
#
#   tools/services.sh start   leaves alone what answers already; installs what is missing (Debian's
#                             packages, as root or through sudo) and starts it, without a service
#                             manager, in a data directory of its own
#   tools/services.sh stop    stops what `start` started
#   tools/services.sh clusters installs what tests/clusters starts by itself, on ports of its own:
#                             PostgreSQL, MariaDB with Galera, etcd
#
# These are servers for tests: no passwords, and nothing kept safe from a crash. No configuration
# of the system is changed. Ports and the data directory may be set in the environment:
# POSTGRESQL_PORT, MARIADB_PORT, REDIS_PORT, SERVICES_DIR. A service whose URL is named by
# DEVICE_SESSIONS_TEST_POSTGRESQL, _MARIADB or _REDIS is somebody else's to run.
set -euo pipefail

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
POSTGRESQL_PORT=${POSTGRESQL_PORT:-5432}
MARIADB_PORT=${MARIADB_PORT:-3306}
REDIS_PORT=${REDIS_PORT:-6379}
if [ "$(id -u)" = 0 ]; then
  SERVICES_DIR=${SERVICES_DIR:-/var/lib/device-sessions-services}
else
  SERVICES_DIR=${SERVICES_DIR:-${XDG_DATA_HOME:-$HOME/.local/share}/device-sessions-services}
fi

say() { printf '%-11s %s\n' "$1" "$2"; }
die() { say "$1" "$2" >&2; exit 1; }
have() { command -v "$1" >/dev/null; }
listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# as USER COMMAND...: the servers refuse to run as root.
as() {
  local user=$1
  shift
  if [ "$(id -u)" = 0 ]; then (cd / && runuser -u "$user" -- "$@"); else "$@"; fi
}

# own_directory USER NAME: a private directory of that user's; prints its path.
own_directory() {
  mkdir -p "$SERVICES_DIR"
  if [ "$(id -u)" = 0 ]; then
    chmod 755 "$SERVICES_DIR"
    install -d -m 700 -o "$1" -g "$1" "$SERVICES_DIR/$2"
  else
    install -d -m 700 "$SERVICES_DIR/$2"
  fi
  echo "$SERVICES_DIR/$2"
}

# install_packages SERVICE PACKAGE...: from Debian, without starting the system's own servers.
install_packages() {
  local service=$1 root=() keep=/usr/sbin/policy-rc.d started=0
  shift
  have apt-get || die "$service" "missing, and this is no Debian: install it yourself ($*)"
  if [ "$(id -u)" != 0 ]; then
    have sudo || die "$service" "missing: as root, apt-get install $*"
    root=(sudo)
  fi
  if [ ! -e "$keep" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee "$keep" >/dev/null
    "${root[@]}" chmod 755 "$keep"
    started=1
  fi
  local log status=0
  log=$(mktemp)
  {
    "${root[@]}" apt-get -q update &&
      "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get -q install -y --no-install-recommends "$@"
  } >"$log" 2>&1 </dev/null || status=$?
  [ "$started" = 0 ] || "${root[@]}" rm -f "$keep"
  if [ "$status" != 0 ]; then
    tail -n 20 "$log" >&2
    die "$service" "apt-get install $* failed (all of it in $log)"
  fi
  rm -f "$log"
  say "$service" "installed $*"
}

# ensure SERVICE PORT: SERVICE_answers, or SERVICE_install and SERVICE_start until it does.
ensure() {
  local service=$1 port=$2 named=DEVICE_SESSIONS_TEST_${1^^}
  if [ -n "${!named:-}" ]; then
    say "$service" "left to $named"
    return
  fi
  if "${service}_answers"; then
    say "$service" "answers on 127.0.0.1:$port"
    return
  fi
  if listening "$port"; then
    die "$service" "127.0.0.1:$port is taken by something that refuses us: set $named to a URL that works"
  fi
  "${service}_install"
  "${service}_start"
  local deadline=$((SECONDS + 60))
  until "${service}_answers"; do
    [ "$SECONDS" -lt "$deadline" ] ||
      die "$service" "started, but does not answer on 127.0.0.1:$port: look into $SERVICES_DIR/$service"
    sleep 0.2
  done
  say "$service" "started on 127.0.0.1:$port, data in $SERVICES_DIR/$service"
}

postgresql_bin() {
  local program
  program=$(printf '%s\n' /usr/lib/postgresql/*/bin/"$1" | sort -V | tail -n 1)
  [ -x "$program" ] || program=$(command -v "$1") || return 1
  echo "$program"
}
postgresql_answers() {
  listening "$POSTGRESQL_PORT" || return 1
  ! have psql || PGCONNECT_TIMEOUT=3 psql -w -h 127.0.0.1 -p "$POSTGRESQL_PORT" -U postgres \
    -d postgres -Atqc 'SELECT 1' >/dev/null 2>&1 </dev/null
}
postgresql_install() {
  postgresql_bin initdb >/dev/null || install_packages postgresql postgresql
}
postgresql_start() {
  local data
  data=$(own_directory postgres postgresql)
  [ -e "$data/PG_VERSION" ] ||
    as postgres "$(postgresql_bin initdb)" -D "$data" -U postgres -A trust -E UTF8 \
      --locale=C.UTF-8 --no-sync >/dev/null
  as postgres "$(postgresql_bin pg_ctl)" -D "$data" -l "$data/server.log" -w -o \
    "-p $POSTGRESQL_PORT -c listen_addresses=127.0.0.1 -k $data -c fsync=off" \
    start >/dev/null 2>&1 </dev/null ||
    die postgresql "does not start: look into $data/server.log"
}
postgresql_stop() {
  as postgres "$(postgresql_bin pg_ctl)" -D "$SERVICES_DIR/postgresql" -m fast -w stop >/dev/null
}

mariadb_answers() {
  listening "$MARIADB_PORT" || return 1
  ! have mariadb || mariadb --no-defaults -h 127.0.0.1 -P "$MARIADB_PORT" -u root \
    --connect-timeout=3 -e 'SELECT 1' >/dev/null 2>&1 </dev/null
}
mariadb_install() {
  have mariadbd || install_packages mariadb mariadb-server
}
mariadb_start() {
  local data
  data=$(own_directory mysql mariadb)
  [ -d "$data/mysql" ] ||
    as mysql mariadb-install-db --no-defaults --datadir="$data" --skip-test-db \
      --auth-root-authentication-method=normal >"/dev/null" 2>&1 ||
    die mariadb "mariadb-install-db failed in $data"
  as mysql setsid --fork mariadbd --no-defaults --datadir="$data" --port="$MARIADB_PORT" \
    --bind-address=127.0.0.1 --socket="$data/server.sock" --pid-file="$data/server.pid" \
    --log-error="$data/server.log" --character-set-server=utf8mb4 \
    --innodb-flush-log-at-trx-commit=0 >/dev/null 2>&1 </dev/null
}
mariadb_stop() {
  mariadb-admin --no-defaults -S "$SERVICES_DIR/mariadb/server.sock" -u root shutdown
}

redis_answers() {
  local answer
  answer=$( (exec 3<>"/dev/tcp/127.0.0.1/$REDIS_PORT" && printf 'PING\r\n' >&3 &&
    read -r -t 3 line <&3 && echo "$line") 2>/dev/null) || return 1
  [ "${answer%$'\r'}" = +PONG ]
}
redis_install() {
  have redis-server || install_packages redis redis-server
}
redis_start() {
  local data
  data=$(own_directory redis redis)
  as redis redis-server --daemonize yes --bind 127.0.0.1 --port "$REDIS_PORT" --save '' \
    --appendonly no --dir "$data" --logfile "$data/server.log" --pidfile "$data/server.pid" \
    >/dev/null </dev/null
}
redis_stop() {
  kill "$(cat "$SERVICES_DIR/redis/server.pid")"
}

browser() {
  if have chromium && have chromedriver; then
    say chromium "$(command -v chromium), $(command -v chromedriver)"
  else
    install_packages chromium chromium chromium-driver
  fi
}

# The suite starts these itself: a pool in front of PostgreSQL, caches in front of the app.
bouncer() {
  if have pgbouncer; then
    say pgbouncer "$(command -v pgbouncer)"
  else
    install_packages pgbouncer pgbouncer
  fi
}

caches() {
  if have nginx && have varnishd; then
    say caches "$(command -v nginx), $(command -v varnishd)"
  else
    install_packages caches nginx-light varnish
  fi
}

# The tests of clusters start these themselves, several of each.
clusters() {
  postgresql_install
  mariadb_install
  local missing=()
  [ -e /usr/lib/galera/libgalera_smm.so ] || missing+=(galera-4)
  local program
  for program in rsync socat lsof; do have "$program" || missing+=("$program"); done
  have ss || missing+=(iproute2)
  have etcd || missing+=(etcd-server)
  [ "${#missing[@]}" = 0 ] || install_packages clusters "${missing[@]}"
  say clusters "PostgreSQL, MariaDB, Galera, etcd are installed"
}

# stop SERVICE PID_FILE: only a server of ours has its process id there.
stop() {
  local pid_file=$SERVICES_DIR/$1/$2
  if [ -s "$pid_file" ] && kill -0 "$(head -n 1 "$pid_file")" 2>/dev/null; then
    "${1}_stop"
    say "$1" "stopped"
  else
    say "$1" "none of ours runs"
  fi
}

case ${1:-start} in
  start)
    ensure postgresql "$POSTGRESQL_PORT"
    ensure mariadb "$MARIADB_PORT"
    ensure redis "$REDIS_PORT"
    browser
    bouncer
    caches
    ;;
  clusters) clusters ;;
  stop)
    stop postgresql postmaster.pid
    stop mariadb server.pid
    stop redis server.pid
    ;;
  *)
    echo "usage: tools/services.sh [start|stop|clusters]" >&2
    exit 2
    ;;
esac
