"""The benchmark of the sources: the same tables in PostgreSQL, MariaDB and Parquet files, read by Sluice and its peers.

Each row is one statement. A peer's rows are compared with what PostgreSQL itself answers before any time is taken; then
one run is counted at the sources (wire.py), and more are timed. Prints one table: a ratio below 1 says that Sluice is
faster than that peer. `--json` writes the same with exact numbers.
"""

import argparse
import json
import math
import os
import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb

from bench import TABLES, Sluice as Gateway, facts, query_text
from peers import MARIADB_PASSWORD, MARIADB_USER, DuckDb, MySqlFdw, PostgreSql, Setting, Sluice, SluiceWith, Trino
from wire import MariaDbWire, PostgresWire

# Key lookups are timed until one of these is reached.
LOOKUPS, LOOKUP_SECONDS = 1000, 5
# A peer that takes longer than this is timed once.
SLOW_SECONDS = 20
# One that takes longer than this is counted without a run that fills its caches.
WALK_SECONDS = 2
REST_SECONDS = 1

FIRST = "first"
KEYS = "first; <= 0.4x Trino"


@dataclass
class Row:
    what: str
    text: str
    aim: str = FIRST
    # One lookup by key with a parameter, many times.
    lookup: bool = False
    # What no reader can beat by much, as (name, command).
    ceiling: tuple = ()

    def run(self, peer, places, number):
        if self.lookup:
            # Orders have the first eight keys of each 32.
            return peer.look_up(self.text.format(**places, key=peer.parameter), number % 1000 * 32 + 1)
        return peer.rows(self.text.format(**places))


def full_scan(place, table, columns):
    """Reads every column of every row. No source can be asked for a volatile filter, so all rows must come."""
    words = {"VARCHAR": "sum(length({}))", "DATE": "max({})"}
    values = ", ".join(words.get(kind, "sum({})").format(name) for name, kind in columns(table))
    return f"SELECT {values} FROM {{{place}}}.{table} WHERE random() > -1"


def rows_of_the_suite(setting, queries, columns):
    """Each row for PostgreSQL and for MariaDB where both can be the source."""
    rows = []
    for place, source in (("pg", "PostgreSQL"), ("my", "MariaDB")):
        t = "{%s}" % place
        rows += [
            Row(
                f"selective filter, {source}",
                "SELECT l_orderkey, l_linenumber, l_quantity, l_extendedprice, l_shipdate "
                f"FROM {t}.lineitem WHERE l_partkey BETWEEN 1000 AND 1009",
            ),
            Row(
                f"join and aggregate, {source}",
                "SELECT c_nationkey, count(*), sum(o_totalprice) "
                f"FROM {t}.customer JOIN {t}.orders ON c_custkey = o_custkey "
                "WHERE o_orderdate >= DATE '1995-01-01' AND o_orderdate < DATE '1996-01-01' "
                "GROUP BY c_nationkey ORDER BY c_nationkey",
            ),
            Row(
                f"top ten, {source}",
                f"SELECT o_orderkey, o_totalprice, o_orderdate FROM {t}.orders "
                "ORDER BY o_totalprice DESC, o_orderkey LIMIT 10",
            ),
            Row(f"count, {source}", f"SELECT count(*) FROM {t}.lineitem"),
            Row(
                f"group-by, {source}",
                "SELECT l_linenumber, count(*), sum(l_quantity), max(l_shipdate) "
                f"FROM {t}.lineitem GROUP BY l_linenumber ORDER BY l_linenumber",
            ),
            Row(
                f"Parquet customers' orders in {source}",
                "SELECT c_custkey, count(*), sum(o_totalprice) "
                f"FROM {{lake}}.customer JOIN {t}.orders ON c_custkey = o_custkey "
                "WHERE c_acctbal > 9990 GROUP BY c_custkey ORDER BY c_custkey",
                KEYS,
            ),
            Row(
                f"lookup by key, prepared, {source}",
                f"SELECT o_totalprice, o_orderdate FROM {t}.orders WHERE o_orderkey = {{key}}",
                "p50 <= 3x native" if place == "pg" else FIRST,
                lookup=True,
            ),
        ]
    return rows + [
        Row(
            "join over PostgreSQL, MariaDB, Parquet",
            "SELECT c_nationkey, count(*), sum(l_extendedprice * (1 - l_discount)) "
            "FROM {pg}.customer, {my}.orders, {lake}.lineitem "
            "WHERE c_custkey = o_custkey AND l_orderkey = o_orderkey AND c_mktsegment = 'BUILDING' "
            "AND o_orderdate >= DATE '1995-01-01' AND o_orderdate < DATE '1995-02-01' "
            "GROUP BY c_nationkey ORDER BY c_nationkey",
        ),
        Row(
            "full scan of lineitem, PostgreSQL",
            full_scan("pg", "lineitem", columns),
            "<= 0.59x COPY",
            ceiling=("COPY binary to /dev/null", [
                "psql", "-X", "-q", "-h", "127.0.0.1", "-p", str(setting.postgres_port), "-U", "postgres", "-d", "shop",
                "-c", "COPY lineitem TO STDOUT (FORMAT binary)",
            ]),
        ),
        Row(
            "full scan of orders, MariaDB",
            full_scan("my", "orders", columns),
            "faster than its client",
            ceiling=("mariadb --quick to /dev/null", [*mariadb(setting), "--quick", "-e", "SELECT * FROM orders"]),
        ),
        *(
            Row(
                f"TPC-H Q{number} on Parquet {setting.large}",
                rename(query_text(queries, number), lambda name: "{large}." + name),
                "<= 1.2x DuckDB",
            )
            for number in (17, 18)
        ),
    ]


def rename(sql, place):
    """Puts place(table) where a table is named, outside quotes."""
    parts = sql.split("'")
    for index in range(0, len(parts), 2):
        parts[index] = re.sub(r"\b(%s)\b" % "|".join(TABLES), lambda match: place(match.group(1)), parts[index])
    return "'".join(parts)


def mariadb(setting):
    """The command-line client, which prints rows in lines without a header."""
    return [
        "mariadb", "--no-defaults", "--batch", "--skip-column-names", "-h", "127.0.0.1", f"-P{setting.mariadb_port}",
        f"-u{MARIADB_USER}", f"-p{MARIADB_PASSWORD}", "shop",
    ]


def same(rows, expected, ordered):
    rows, expected = ([tuple(row) for row in some] for some in (rows, expected))
    if not ordered:
        rows, expected = sorted(rows), sorted(expected)
    return len(rows) == len(expected) and all(
        len(row) == len(other) and all(map(same_value, row, other)) for row, other in zip(rows, expected)
    )


def same_value(value, expected):
    # A quotient of decimals is a float in some engines.
    if isinstance(value, float) or isinstance(expected, float):
        return math.isclose(value, expected, rel_tol=1e-9)
    return value == expected


class Suite:
    """The peers that are there, the counters at the sources, and what was measured."""

    def __init__(self, peers, oracle, wires, runs):
        self.peers = peers
        self.oracle = oracle
        self.wires = wires
        self.runs = runs
        self.results = []

    def measure(self, row):
        """One row, one peer after the other: its rows, then what they cost the sources, then its time."""
        print(f"   {row.what}", flush=True)
        # The last peer of the row before compiles its code in the background for a while.
        time.sleep(REST_SECONDS)
        expected = self.expected(row)
        for peer in self.peers:
            if peer.takes(row.text):
                self.add(row, peer.name, lambda result: self.measure_peer(row, peer, expected, result))
        if row.ceiling:
            name, command = row.ceiling
            self.add(row, name, lambda result: self.measure_command(command, result))

    def add(self, row, name, measure):
        result = {"measurement": row.what, "aim": row.aim, "peer": name}
        self.results.append(result)
        try:
            measure(result)
        except Exception as error:  # The others still say something.
            result["failed"] = first_line(error)

    def measure_peer(self, row, peer, expected, result):
        begin = time.perf_counter()
        rows = row.run(peer, peer.places, 0)
        first = time.perf_counter() - begin
        if not same(rows, expected, "ORDER BY" in row.text):
            raise RuntimeError("other rows than PostgreSQL's")
        result["fetched"] = self.count(row, peer, first > WALK_SECONDS)
        runs, limit = (LOOKUPS, LOOKUP_SECONDS) if row.lookup else (1 if first > SLOW_SECONDS else self.runs, math.inf)
        result["seconds"] = median_seconds(runs, lambda number: row.run(peer, peer.places, number), limit)

    def measure_command(self, command, result):
        with open(os.devnull, "w") as nothing:
            result["seconds"] = median_seconds(
                self.runs, lambda number: subprocess.run(command, stdout=nothing, check=True)
            )

    def expected(self, row):
        if "{large}" in row.text:
            duck = next(peer for peer in self.peers if peer.name == DuckDb.name)
            return row.run(duck, duck.places, 0)
        return row.run(self.oracle, {"pg": "public", "my": "public", "lake": "public"}, 0)

    def count(self, row, peer, slow):
        """What one run fetches from each source, its catalog queries included."""
        if not peer.counted or "{large}" in row.text:
            return {}
        # The places behind the proxy have caches of their own. They are filled first, but for a few rows of a
        # catalog nobody walks over a whole table's messages once more.
        if not slow:
            row.run(peer, peer.counted, 1)
        for wire in self.wires.values():
            wire.take()
        row.run(peer, peer.counted, 2)
        fetched = {source: wire.take() for source, wire in self.wires.items()}
        if "{my}" in row.text:
            rows = peer.remote_rows(row.text.format(**peer.places, key=1))
            fetched["MariaDB"]["rows"] = fetched["MariaDB"]["rows"] if rows is None else rows
        return {source: taken for source, taken in fetched.items() if taken["rows"]}

    def add_ratios(self):
        ours = {r["measurement"]: r.get("seconds") for r in self.results if r["peer"] == Sluice.name}
        for result in self.results:
            if result["peer"] != Sluice.name and result.get("seconds") and ours.get(result["measurement"]):
                result["ratio"] = ours[result["measurement"]] / result["seconds"]

    def print(self):
        table = [("measurement", "who", "median", "Sluice / it", "from PostgreSQL", "from MariaDB", "aim")]
        for result in self.results:
            ours = result["peer"] == Sluice.name
            fetched = result.get("fetched", {})
            table.append((
                result["measurement"] if ours else "",
                result["peer"],
                show_time(result["seconds"]) if "seconds" in result else "FAILED: " + result["failed"][:60],
                f"{result['ratio']:.2g}" if "ratio" in result else "",
                *(show_fetched(fetched.get(source)) for source in ("PostgreSQL", "MariaDB")),
                result["aim"] if ours else "",
            ))
        widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
        for number, line in enumerate(table):
            print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |")
            if number == 0:
                print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def median_seconds(runs, action, limit_seconds=math.inf):
    """Of action(0), action(1) and so on; fewer of them when the limit is reached."""
    times, stop = [], time.perf_counter() + limit_seconds
    while len(times) < runs and (begin := time.perf_counter()) < stop:
        action(len(times))
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def first_line(error):
    return (str(error).strip().splitlines() or [repr(error)])[0]


def show_time(seconds):
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def show_fetched(taken):
    if not taken:
        return ""
    size = taken["bytes"]
    shown = f"{size} B" if size < 10_000 else f"{size / 1e3:.0f} kB" if size < 10_000_000 else f"{size / 1e6:.0f} MB"
    return f"{taken['rows']} rows, {shown}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", type=Path, required=True)
    parser.add_argument("--lake", type=Path, required=True)
    parser.add_argument("--queries", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--postgres-port", type=int, required=True)
    parser.add_argument("--mariadb-port", type=int, required=True)
    parser.add_argument("--trino", type=Path, help="a folder made by tests/scripts/setup.sh trino")
    parser.add_argument("--scale", default="1", help="of the tables in the servers, and in the lake beside them")
    parser.add_argument("--lake-scale", default="1", help="of the Parquet files of Q17 and Q18")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="", help="a regular expression that a row's name must match")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    facts()
    proxy = PostgresWire(arguments.postgres_port)
    setting = Setting(arguments, proxy.port)
    config = arguments.scratch / "sources-config"
    (config / "catalogs").mkdir(parents=True)
    Sluice.write_catalogs(config / "catalogs", setting)
    gateway = Gateway(arguments.programs, config, arguments.scratch)
    trino = None
    try:
        duck, oracle = DuckDb(setting), PostgreSql(setting)
        peers = [
            Sluice(gateway, setting),
            SluiceWith(gateway, setting, "one split", "SET sluice.target_partitions = 1", ("{pg}", "random()")),
            SluiceWith(gateway, setting, "reduction off", "SET sluice.semi_join_reduction = off", ("{large}",)),
            duck,
            oracle,
        ]
        absent = {}
        try:
            peers.append(MySqlFdw(setting))
        except Exception as error:
            absent[MySqlFdw.name] = first_line(error)
        try:
            trino = start_trino(arguments, setting, duck)
            peers.append(Trino(trino, setting))
        except Exception as error:
            absent[Trino.name] = first_line(error)
        print(f"peers: {', '.join(peer.name for peer in peers)}; DuckDB {duckdb.__version__}; scale {arguments.scale}")
        for name, reason in absent.items():
            print(f"not present: {name}: {reason}")
        wires = {"PostgreSQL": proxy, "MariaDB": MariaDbWire(mariadb(setting))}
        suite = Suite(peers, oracle, wires, arguments.runs)
        for row in rows_of_the_suite(setting, arguments.queries, duck.columns):
            if re.search(arguments.only, row.what):
                suite.measure(row)
    finally:
        gateway.stop()
        if trino:
            trino.stop()
    suite.add_ratios()
    print()
    suite.print()
    if arguments.json:
        head = {key: getattr(arguments, key) for key in ("scale", "lake_scale", "runs")}
        head |= {"cpus": os.cpu_count(), "duckdb": duckdb.__version__, "not_present": absent}
        arguments.json.write_text(json.dumps(head | {"rows": suite.results}, indent=1) + "\n")
    return 1 if any("failed" in result for result in suite.results if result["peer"] == Sluice.name) else 0


def start_trino(arguments, setting, duck):
    if not arguments.trino or not (arguments.trino / "java").exists():
        raise RuntimeError("tests/scripts/setup.sh trino fetches it")
    from trino_server import TrinoServer

    server = TrinoServer(arguments.trino, arguments.scratch, Trino.catalogs(setting))
    try:
        columns = {table: duck.columns(table) for table in TABLES}
        server.add_tables(setting.schema, arguments.lake / setting.schema, columns)
    except Exception:
        server.stop()
        raise
    return server


if __name__ == "__main__":
    sys.exit(main())
