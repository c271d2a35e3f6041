#!/usr/bin/env bash
# `make bench`: starts the peers, loads the same data everywhere, and prints one table (tests/bench/bench.py).
# SLUICE_BENCH_SCALE chooses the TPC-H scale factor (1), SLUICE_BENCH_RUNS how often each query runs (3).
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

SCALE=${SLUICE_BENCH_SCALE:-1}
tests/scripts/setup.sh bench
say "Build"
cargo build --release --locked --bin sluice --bin sample-data --bin plain-datafusion --features sluice-tests/bench

say "Data (TPC-H, scale $SCALE)"
"$BIN/sample-data" --scale "$SCALE" --format parquet --out "$DATA/bench-lake"
"$BIN/sample-data" --scale "$SCALE" --format csv --out "$DATA/bench-csv"

open_scratch
say "A private PostgreSQL with the same tables"
start_postgres
private() { psql -X -q -h 127.0.0.1 -p "$PGPORT_PRIVATE" -U postgres -v ON_ERROR_STOP=1 "$@"; }
private -d postgres -c 'CREATE DATABASE shop'
private -d shop -f tests/tpch/schema.sql
for table in region nation part supplier partsupp customer orders lineitem; do
  for file in "$DATA"/bench-csv/*/"$table"/*.csv; do
    private -d shop -c "\\copy $table FROM '$file' WITH (FORMAT csv, HEADER true)"
  done
done
private -d shop -f tests/tpch/indexes.sql -c 'VACUUM ANALYZE'

say "Measure"
"$CACHE/python-bench/bin/python" tests/bench/bench.py \
  --programs "$BIN" --lake "$DATA/bench-lake" --postgres-port "$PGPORT_PRIVATE" --scratch "$SCRATCH" \
  --queries tests/tpch --scale "$SCALE" --runs "${SLUICE_BENCH_RUNS:-3}"
