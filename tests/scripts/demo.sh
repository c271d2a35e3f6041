#!/usr/bin/env bash
# `make demo`: customer and orders in a private real PostgreSQL, lineitem as Parquet files, the rest generated.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

tests/scripts/setup.sh demo
say "Build"
cargo build --release --locked --bin sluice --bin sample-data

open_scratch
say "Data (TPC-H, scale 0.1)"
"$BIN/sample-data" --scale 0.1 --format parquet --tables lineitem --out "$SCRATCH/lake"
"$BIN/sample-data" --scale 0.1 --format csv --tables customer,orders --out "$SCRATCH/csv"

say "A private PostgreSQL"
start_postgres
private() { psql -X -q -h 127.0.0.1 -p "$PGPORT_PRIVATE" -U postgres -v ON_ERROR_STOP=1 "$@"; }
private -d postgres -c 'CREATE DATABASE shop'
private -d shop -f tests/tpch/schema.sql
for table in customer orders; do
  while IFS= read -r file; do
    private -d shop -c "\\copy $table FROM '$file' WITH (FORMAT csv, HEADER true)"
  done < <(find "$SCRATCH/csv" -path "*$table*" -name '*.csv' | sort)
done
private -d shop -c 'ALTER TABLE customer ADD PRIMARY KEY (c_custkey)' \
  -c 'ALTER TABLE orders ADD PRIMARY KEY (o_orderkey)' -c 'ANALYZE'
note "PostgreSQL $(private -d shop -Atc 'SHOW server_version') on port $PGPORT_PRIVATE: customer, orders"

mkdir -p "$SCRATCH/config/catalogs"
cat >"$SCRATCH/config/catalogs/shop.toml" <<TOML
connector = "postgres"
url = "postgresql://postgres@127.0.0.1:$PGPORT_PRIVATE/shop"
TOML
cat >"$SCRATCH/config/catalogs/lake.toml" <<TOML
connector = "lake"
location = "file://$SCRATCH/lake"
TOML
echo 'connector = "tpch"' >"$SCRATCH/config/catalogs/tpch.toml"
echo 'connector = "memory"' >"$SCRATCH/config/catalogs/memory.toml"

say "Start: one gateway, two workers"
choose_ports
start_fleet 2

QUERY="SELECT n.n_name, count(DISTINCT o.o_orderkey) AS orders,
       sum(l.l_extendedprice * (1 - l.l_discount)) AS revenue
FROM shop.public.customer c
JOIN shop.public.orders o ON o.o_custkey = c.c_custkey
JOIN lake.sf0_1.lineitem l ON l.l_orderkey = o.o_orderkey
JOIN tpch.sf0_1.nation n ON n.n_nationkey = c.c_nationkey
WHERE o.o_orderdate >= DATE '1995-01-01' AND o.o_orderdate < DATE '1996-01-01'
  AND c.c_mktsegment = 'BUILDING' AND l.l_returnflag = 'R'
GROUP BY n.n_name ORDER BY revenue DESC LIMIT 10"
say "PostgreSQL rows, Parquet files and generated rows in one statement"
echo "$QUERY"
sql "$QUERY"
say "What was pushed to each source, and the exchanges between the stages"
sql "EXPLAIN (TYPE DISTRIBUTED) $QUERY" -At
say "Who worked"
sql "$TASKS_BY_WORKER"

say "Connect with:  psql -h $SLUICE_HOST -p $SLUICE_PORT -d shop"
stay_up "${STARTED[1]}"
