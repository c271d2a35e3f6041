# shellcheck shell=bash
# What the scripts share: words to the reader, paths, packages, and a fleet of processes that always ends.
# Sourced, never run.

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/sluice
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
BIN=$TARGET/release
# Generated data sets, shared by the tests, the demo and the benchmark.
DATA=$TARGET/sluice-data
export ROOT CACHE TARGET BIN DATA
cd "$ROOT"

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
note() { printf '   %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command as root: directly, or through sudo.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif have sudo; then sudo "$@"
  else die "this needs root and there is no sudo: $*"
  fi
}

APT_UPDATED=
# apt_install PACKAGE…: Debian packages, the package lists refreshed once.
apt_install() {
  have apt-get || die "please install what Debian calls: $* (there is no apt-get on this machine)"
  note "installing Debian packages: $*"
  if [ -z "$APT_UPDATED" ]; then
    as_root apt-get update -qq || note "the package lists could not be refreshed; trying with the ones at hand"
    APT_UPDATED=1
  fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# need COMMAND PACKAGE: makes sure that a command is there.
need() {
  if have "$1"; then note "$1: $(command -v "$1")"; else apt_install "$2"; fi
}

# The folder of the newest PostgreSQL server's programs; empty when there is none.
postgres_bin() {
  local folder
  for folder in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV); do
    if [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ]; then echo "$folder"; return; fi
  done
}

# The value of a text key of a flat JSON file (an announcement).
json_text() { sed -n "s/.*\"$2\" *: *\"\([^\"]*\)\".*/\1/p" "$1" | head -n 1; }

# A scratch folder that goes away with the script. Mode 755: the server's own user reads below it.
SCRATCH=
# Process ids of servers that the script started, in the order in which they started.
STARTED=()

open_scratch() {
  SCRATCH=$(mktemp -d "${TMPDIR:-/tmp}/sluice-XXXXXX")
  chmod 755 "$SCRATCH"
  trap stop_all EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

# Ends what was started, the last first, and removes the scratch folder.
stop_all() {
  local status=$? index pid waited
  trap - EXIT INT TERM
  for ((index = ${#STARTED[@]} - 1; index >= 0; index--)); do
    pid=${STARTED[index]}
    kill -TERM "$pid" 2>/dev/null || continue
    waited=0
    while kill -0 "$pid" 2>/dev/null; do
      sleep 0.1
      waited=$((waited + 1))
      # Ten seconds: a drain has a shorter grace than that when nothing runs any more.
      if [ "$waited" = 100 ]; then kill -KILL "$pid" 2>/dev/null || true; fi
    done
    wait "$pid" 2>/dev/null || true
  done
  [ -z "$SCRATCH" ] || rm -rf "$SCRATCH"
  exit "$status"
}

# start NAME COMMAND…: a server in the background, in a process group of its own so that Ctrl-C reaches
# this script alone, which then ends the servers in order. Its output goes to SCRATCH/NAME.log.
start() {
  local name=$1
  shift
  setsid "$@" >"$SCRATCH/$name.log" 2>&1 </dev/null &
  STARTED+=($!)
}

# wait_for NAME SECONDS COMMAND…: until the command succeeds; shows the log of NAME when it does not.
wait_for() {
  local name=$1 tries=$(($2 * 20)) server=${STARTED[-1]}
  shift 2
  until "$@" >/dev/null 2>&1; do
    tries=$((tries - 1))
    if [ "$tries" -le 0 ] || ! kill -0 "$server" 2>/dev/null; then
      tail -n 40 "$SCRATCH/$name.log" >&2 || true
      die "$name did not become ready"
    fi
    sleep 0.05
  done
}

# start_postgres: a private PostgreSQL with throw-away data. Sets PGPORT_PRIVATE; user `postgres`, no password.
start_postgres() {
  local programs folder as=()
  programs=$(postgres_bin)
  [ -n "$programs" ] || die "no PostgreSQL server programs under /usr/lib/postgresql"
  folder=$SCRATCH/postgres
  mkdir -p "$folder"
  # The server refuses to run as root.
  if [ "$(id -u)" = 0 ]; then
    chown postgres: "$folder"
    as=(setpriv --reuid=postgres --regid=postgres --init-groups --)
  fi
  PGPORT_PRIVATE=$(free_port)
  (cd "$folder" && "${as[@]}" "$programs/initdb" -D "$folder/data" -U postgres --auth=trust \
    --encoding=UTF8 --locale=C.UTF-8 --no-sync >"$SCRATCH/initdb.log" 2>&1) ||
    { cat "$SCRATCH/initdb.log" >&2; die "initdb failed"; }
  start postgres "${as[@]}" "$programs/postgres" -D "$folder/data" -p "$PGPORT_PRIVATE" \
    -c listen_addresses=127.0.0.1 -c "unix_socket_directories=$folder" -c fsync=off \
    -c shared_buffers=256MB -c max_wal_size=4GB -c autovacuum=off
  wait_for postgres 20 psql -h 127.0.0.1 -p "$PGPORT_PRIVATE" -U postgres -Atc 'SELECT 1'
}

# start_mariadb: a private MariaDB with throw-away data and an empty database `shop`. Sets MARIADB_PORT; user and
# password are `bench`.
start_mariadb() {
  local folder=$SCRATCH/mariadb as=()
  mkdir -p "$folder"
  if [ "$(id -u)" = 0 ]; then
    chown mysql: "$folder"
    as=(setpriv --reuid=mysql --regid=mysql --init-groups --)
  fi
  MARIADB_PORT=$(free_port)
  (cd / && "${as[@]}" mariadb-install-db --no-defaults --datadir="$folder/data" --skip-test-db \
    --auth-root-authentication-method=normal >"$SCRATCH/mariadb-install-db.log" 2>&1) ||
    { cat "$SCRATCH/mariadb-install-db.log" >&2; die "mariadb-install-db failed"; }
  printf '%s\n' "CREATE USER IF NOT EXISTS bench@'127.0.0.1' IDENTIFIED BY 'bench';" \
    "GRANT ALL ON *.* TO bench@'127.0.0.1';" 'CREATE DATABASE IF NOT EXISTS shop;' >"$folder/first.sql"
  start mariadb "${as[@]}" /usr/sbin/mariadbd --no-defaults --datadir="$folder/data" \
    --socket="$folder/socket" --pid-file="$folder/pid" --init-file="$folder/first.sql" \
    --port="$MARIADB_PORT" --bind-address=127.0.0.1 --local-infile=ON --skip-log-bin \
    --character-set-server=utf8mb4 --collation-server=utf8mb4_general_ci \
    --innodb-buffer-pool-size=2G --innodb-flush-log-at-trx-commit=0 --innodb-doublewrite=OFF
  wait_for mariadb 60 mariadb_client -e 'SELECT 1'
}

# The command-line client of the private MariaDB.
mariadb_client() {
  mariadb --no-defaults --local-infile --default-character-set=utf8mb4 -h 127.0.0.1 -P "$MARIADB_PORT" -ubench -pbench shop "$@"
}

# The schema of a TPC-H scale factor, as the tpch catalog and sample-data name it.
scale_schema() {
  if [ "$1" = 0.01 ]; then echo tiny; else echo "sf${1//./_}"; fi
}

# A TCP port of the loopback that nobody uses right now.
free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then echo "$port"; return; fi
  done
}

# start_fleet WORKERS: `sluice serve` and its workers over the folder SCRATCH/config.
# Sets SLUICE_HOST and SLUICE_PORT.
start_fleet() {
  local workers=$1 number rpc address
  start gateway "$BIN/sluice" serve --config "$SCRATCH/config" --announce "$SCRATCH/gateway.json" \
    "${SERVE_SETTINGS[@]}"
  wait_for gateway 20 test -s "$SCRATCH/gateway.json"
  address=$(json_text "$SCRATCH/gateway.json" postgres)
  rpc=$(json_text "$SCRATCH/gateway.json" rpc)
  SLUICE_HOST=${address%:*}
  SLUICE_PORT=${address##*:}
  note "gateway: PostgreSQL protocol on $address, HTTP on $(json_text "$SCRATCH/gateway.json" http)"
  for ((number = 1; number <= workers; number++)); do
    start "worker-$number" "$BIN/sluice" worker --coordinator "http://$rpc" --config "$SCRATCH/config" \
      --set rpc.listen=127.0.0.1:0 --announce "$SCRATCH/worker-$number.json"
    wait_for "worker-$number" 20 test -s "$SCRATCH/worker-$number.json"
    note "worker $number: $(json_text "$SCRATCH/worker-$number.json" rpc)"
  done
  # A worker announces itself when it is registered; the gateway's own list is what counts.
  wait_for gateway 10 fleet_has "$workers"
}

fleet_has() {
  local members
  members=$(sql 'SELECT count(*) FROM system.runtime.workers' -At)
  [ "${members:-0}" -ge "$1" ]
}

# sql TEXT [PSQL OPTION…]: runs a statement through the gateway.
sql() {
  local text=$1
  shift
  PGCONNECT_TIMEOUT=10 psql -X -h "$SLUICE_HOST" -p "$SLUICE_PORT" -U "${USER:-sluice}" -d sluice -v ON_ERROR_STOP=1 "$@" -c "$text"
}

# What the workers did for the statements so far.
export TASKS_BY_WORKER="SELECT worker_id, count(*) AS tasks, sum(input_rows) AS rows_read, sum(output_rows) AS rows_sent
FROM system.runtime.tasks GROUP BY worker_id ORDER BY worker_id"

# Ports of the fleet: the well-known ones when they are free, so that the printed psql line is easy to
# remember; any free ones otherwise.
choose_ports() {
  SERVE_SETTINGS=()
  local key port
  for pair in postgres=5480 http=8480 rpc=9480; do
    key=${pair%=*}
    port=${pair#*=}
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then port=0; fi
    SERVE_SETTINGS+=(--set "$key.listen=127.0.0.1:$port")
  done
}

# Stays until Ctrl-C when somebody sits at the terminal.
stay_up() {
  if [ -t 0 ]; then
    say "Up. Press Ctrl-C to stop."
    # `wait` returns when the gateway ends by itself, too: then there is nothing to stay for.
    wait "$1" || true
  else
    say "No terminal on standard input: stopping."
  fi
}
