#!/usr/bin/env bash
# `make run`: from a clone to a federated join, with catalogs that need no other server.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

tests/scripts/setup.sh run
say "Build (the first time compiles about 500 crates: 10 to 20 minutes on two cores)"
cargo build --release --locked --bin sluice --bin sample-data

open_scratch
say "Sample files"
"$BIN/sample-data" --demo --out "$SCRATCH/lake"
(cd "$SCRATCH/lake" && find . -type f | sort | sed 's/^/   /')

mkdir -p "$SCRATCH/config/catalogs"
# Workers take part in anything, however small: here they are to be seen.
printf '[planner]\ndistribute_above = 0\n' >"$SCRATCH/config/sluice.toml"
cat >"$SCRATCH/config/catalogs/lake.toml" <<TOML
connector = "lake"
location = "file://$SCRATCH/lake"
TOML
echo 'connector = "tpch"' >"$SCRATCH/config/catalogs/tpch.toml"
echo 'connector = "memory"' >"$SCRATCH/config/catalogs/memory.toml"

say "Start: one gateway, two workers"
choose_ports
start_fleet 2

say "A table in the memory catalog"
sql "CREATE TABLE memory.public.watched AS
     SELECT n_nationkey AS nation, n_name AS country FROM tpch.sf1.nation WHERE n_regionkey = 3"

# CSV and JSON files, generated TPC-H rows, and the table in memory.
QUERY="SELECT w.country, s.segment, count(*) AS customers, sum(o.spent)::numeric(18,2) AS spent
FROM memory.public.watched w
JOIN tpch.sf1.customer c ON c.c_nationkey = w.nation
JOIN lake.ref.segments s ON s.code = c.c_mktsegment
JOIN (SELECT o_custkey, sum(o_totalprice) AS spent FROM tpch.sf1.orders GROUP BY o_custkey) o
  ON o.o_custkey = c.c_custkey
GROUP BY w.country, s.segment
ORDER BY spent DESC
LIMIT 10"
say "One join over three catalogs"
echo "$QUERY"
sql "$QUERY"
say "How it ran"
sql "EXPLAIN (TYPE DISTRIBUTED) $QUERY" -At
say "Who worked"
sql "$TASKS_BY_WORKER"

say "Connect with:  psql -h $SLUICE_HOST -p $SLUICE_PORT -d sluice"
stay_up "${STARTED[0]}"
