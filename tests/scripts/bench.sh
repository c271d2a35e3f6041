#!/usr/bin/env bash
# `make bench`: starts the peers, loads the same data everywhere, and prints a table for each suite:
#   gateway  what clients see of one gateway, against PostgreSQL, DataFusion and DuckDB (tests/bench/bench.py)
#   sources  PostgreSQL, MariaDB and Parquet read by Sluice, DuckDB, mysql_fdw and Trino (tests/bench/sources.py)
# SLUICE_BENCH_SUITES chooses suites (both), SLUICE_BENCH_SCALE the TPC-H scale factor (1), SLUICE_BENCH_RUNS how
# often each query runs (3), SLUICE_BENCH_ONLY a regular expression for the names of the sources' rows.
# `make bench SF=10` runs queries 17 and 18 over Parquet files of that scale; the servers keep theirs.
# Trino takes part when `tests/scripts/setup.sh trino` has fetched it.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

SUITES=${SLUICE_BENCH_SUITES:-gateway sources}
SCALE=${SLUICE_BENCH_SCALE:-1}
LAKE_SCALE=${SF:-$SCALE}
RUNS=${SLUICE_BENCH_RUNS:-3}
TABLES=(region nation part supplier partsupp customer orders lineitem)

tests/scripts/setup.sh bench
say "Build"
cargo build --release --locked --bin sluice --bin sample-data --bin plain-datafusion --features sluice-tests/bench

say "Data (TPC-H, scale $SCALE)"
"$BIN/sample-data" --scale "$SCALE" --format parquet --out "$DATA/bench-lake"
"$BIN/sample-data" --scale "$LAKE_SCALE" --format parquet --out "$DATA/bench-lake"
"$BIN/sample-data" --scale "$SCALE" --format csv --out "$DATA/bench-csv"
CSV=$DATA/bench-csv/$(scale_schema "$SCALE")

open_scratch
say "A private PostgreSQL with the same tables"
start_postgres
private() { psql -X -q -h 127.0.0.1 -p "$PGPORT_PRIVATE" -U postgres -v ON_ERROR_STOP=1 "$@"; }
private -d postgres -c 'CREATE DATABASE shop'
private -d shop -f tests/tpch/schema.sql
for table in "${TABLES[@]}"; do
  for file in "$CSV/$table"/*.csv; do
    private -d shop -c "\\copy $table FROM '$file' WITH (FORMAT csv, HEADER true)"
  done
done
private -d shop -f tests/tpch/indexes.sql -c 'VACUUM ANALYZE'

measure() {
  local suite=$1
  shift
  "$CACHE/python-bench/bin/python" "tests/bench/$suite" --programs "$BIN" --lake "$DATA/bench-lake" \
    --postgres-port "$PGPORT_PRIVATE" --scratch "$SCRATCH" --queries tests/tpch --scale "$SCALE" --runs "$RUNS" "$@"
}

status=0
if [[ " $SUITES " == *" gateway "* ]]; then
  say "Measure the gateway"
  measure bench.py || status=1
fi
if [[ " $SUITES " == *" sources "* ]]; then
  say "A private MariaDB with the same tables"
  start_mariadb
  # The same statements: MariaDB wants a name where PostgreSQL finds one. Primary keys come first, since its
  # tables are ordered by them; the other indexes after the rows.
  mariadb_client <tests/tpch/schema.sql
  grep 'PRIMARY KEY' tests/tpch/indexes.sql | mariadb_client
  for table in "${TABLES[@]}"; do
    for file in "$CSV/$table"/*.csv; do
      mariadb_client -e "LOAD DATA LOCAL INFILE '$file' INTO TABLE $table CHARACTER SET utf8mb4
        FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\"' ESCAPED BY '' IGNORE 1 LINES"
    done
  done
  sed -n 's/^CREATE INDEX ON \([a-z]*\) \(.*\)$/ALTER TABLE \1 ADD INDEX \2/p' tests/tpch/indexes.sql | mariadb_client
  mariadb_client -e "ANALYZE TABLE $(IFS=,; echo "${TABLES[*]}")" >/dev/null

  say "Measure the sources"
  measure sources.py --mariadb-port "$MARIADB_PORT" --lake-scale "$LAKE_SCALE" --trino "$CACHE/trino-476" \
    --only "${SLUICE_BENCH_ONLY:-}" --json "$DATA/bench-sources.json" || status=1
  note "with exact numbers: $DATA/bench-sources.json"
fi
exit "$status"
