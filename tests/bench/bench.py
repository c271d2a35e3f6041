"""The benchmark of a gateway: Sluice and its peers on the same machine, over the same data, in one run.

Prints the machine's facts and one table of ratios; a ratio above 1 is in favour of Sluice's peer. Peers are
the real PostgreSQL, plain DataFusion (`plain-datafusion`, the same version and the same files) and DuckDB.
A part that fails is reported as failed; it does not stop the others.
"""

import argparse
import json
import os
import platform
import re
import selectors
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import psycopg

TABLES = ["region", "nation", "part", "supplier", "partsupp", "customer", "orders", "lineitem"]
POINT_QUERIES = 2000
WARM_UP = 200
CONNECTIONS = 16


class Table:
    """Rows of the result: what, ours, the peer's, their ratio, and the aim."""

    def __init__(self):
        self.rows = []

    def add(self, what, ours, peer, peer_name, unit, aim=""):
        ratio = f"{ours / peer:.2f}" if peer else ""
        shown = f"{peer:.4g} {unit} ({peer_name})" if peer else peer_name
        self.rows.append((what, f"{ours:.4g} {unit}", shown, ratio, aim))
        print(f"   {what}: {ours:.4g} {unit}, {shown}, ratio {ratio}", flush=True)

    def fail(self, what, error):
        line = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        self.rows.append((what, "FAILED", line[:80], "", ""))
        print(f"   {what}: FAILED: {line}", flush=True)

    def print(self):
        head = ("measurement", "sluice", "peer", "ratio", "aim")
        widths = [max(len(row[i]) for row in [head, *self.rows]) for i in range(5)]
        line = "| " + " | ".join("{:<%d}" % width for width in widths) + " |"
        print(line.format(*head))
        print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
        for row in self.rows:
            print(line.format(*row))


class Sluice:
    """A running `sluice serve`."""

    def __init__(self, programs, config, scratch):
        self.announce = scratch / "bench-gateway.json"
        self.announce.unlink(missing_ok=True)
        self.log = open(scratch / "bench-gateway.log", "w")
        listen = [part for key in ("postgres", "http", "rpc") for part in ("--set", f"{key}.listen=127.0.0.1:0")]
        self.begin = time.perf_counter()
        self.process = subprocess.Popen(
            [programs / "sluice", "serve", "--config", config, "--announce", self.announce, *listen],
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        while True:
            try:
                facts = json.loads(self.announce.read_text())
                break
            except (FileNotFoundError, json.JSONDecodeError):
                if self.process.poll() is not None:
                    raise SystemExit(Path(self.log.name).read_text())
                time.sleep(0.002)
        self.port = int(facts["postgres"].rsplit(":", 1)[1])

    def connect(self, database="sluice"):
        return psycopg.connect(host="127.0.0.1", port=self.port, user="bench", dbname=database, autocommit=True)

    def resident(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()


def facts():
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    memory = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text()).group(1)) / 1024**2
    load = os.getloadavg()[0]
    print(f"machine: {cpu.group(1) if cpu else platform.machine()}, {os.cpu_count()} CPUs, {memory:.0f} GiB memory,"
          f" {platform.system()} {platform.release()}, load before {load:.1f}")


def quantiles(times):
    """p50 and p99 in microseconds."""
    times.sort()
    return times[len(times) // 2] * 1e6, times[len(times) * 99 // 100] * 1e6


def prepared(connection, statement, parameters):
    """Seconds of each run of a prepared statement over one connection."""
    times = []
    with connection.cursor(binary=True) as cursor:
        for number in range(WARM_UP + POINT_QUERIES):
            begin = time.perf_counter()
            cursor.execute(statement, parameters(number), prepare=True)
            cursor.fetchall()
            if number >= WARM_UP:
                times.append(time.perf_counter() - begin)
    return times


def simple(connection, text):
    """Seconds of each run of a text of its own in the simple protocol."""
    times = []
    with connection.cursor() as cursor:
        for number in range(WARM_UP + POINT_QUERIES):
            own = text(number)
            begin = time.perf_counter()
            cursor.execute(own)
            cursor.fetchall()
            if number >= WARM_UP:
                times.append(time.perf_counter() - begin)
    return times


def message(tag, body):
    return tag + struct.pack("!i", len(body) + 4) + body


def open_raw(port, user, database):
    """A logged-in connection without a driver."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    body = struct.pack("!i", 196608) + f"user\0{user}\0database\0{database}\0\0".encode()
    connection.sendall(message(b"", body))
    read_until_ready(connection)
    return connection


def concurrent(port, user, database, statement, parameter):
    """Seconds of each run of a prepared statement with one bigint, over many connections at once."""
    connections = [open_raw(port, user, database) for _ in range(CONNECTIONS)]
    selector = selectors.DefaultSelector()
    for connection in connections:
        parse = b"s\0" + statement.encode() + b"\0" + struct.pack("!hi", 1, 20)
        connection.sendall(message(b"P", parse) + message(b"S", b""))
        _, error = read_until_ready(connection)
        if error:
            raise RuntimeError(error)
        selector.register(connection, selectors.EVENT_READ)
    tail = message(b"E", b"\0" + struct.pack("!i", 0)) + message(b"S", b"")

    def run(number):
        value = struct.pack("!hhhiq", 1, 1, 1, 8, parameter(number))
        return message(b"B", b"\0s\0" + value + struct.pack("!hh", 1, 1)) + tail

    total, sent, times, begun = WARM_UP + POINT_QUERIES * 4, 0, [], {}
    begin = None
    for connection in connections:
        begun[connection] = time.perf_counter()
        connection.sendall(run(sent))
        sent += 1
    done = 0
    while done < total:
        for key, _ in selector.select():
            connection = key.fileobj
            answer = connection.recv(65536)
            if answer[-6:-1] != b"Z\0\0\0\5" or b"D" not in answer[:16]:
                raise RuntimeError(f"not the row that was asked for: {answer[:200]!r}")
            now = time.perf_counter()
            done += 1
            if done > WARM_UP:
                begin = begin or now
                times.append(now - begun[connection])
            if sent < total:
                begun[connection] = time.perf_counter()
                connection.sendall(run(sent))
                sent += 1
    rate = (len(times) - 1) / (time.perf_counter() - begin)
    for connection in connections:
        connection.close()
    return times, rate


def drain(port, user, database, sql):
    """Seconds for a whole result over a raw socket: bytes are read and thrown away."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        body = struct.pack("!i", 196608) + f"user\0{user}\0database\0{database}\0\0".encode()
        connection.sendall(struct.pack("!i", len(body) + 4) + body)
        read_until_ready(connection)
        text = sql.encode() + b"\0"
        begin = time.perf_counter()
        connection.sendall(b"Q" + struct.pack("!i", len(text) + 4) + text)
        size, error = read_until_ready(connection)
        if error:
            raise RuntimeError(error)
        return time.perf_counter() - begin, size


def read_until_ready(connection):
    """Reads up to ReadyForQuery; gives the bytes read, and the start of an ErrorResponse at the result's start."""
    buffer = bytearray(1 << 20)
    size, tail, first = 0, b"", b""
    while True:
        count = connection.recv_into(buffer)
        if count == 0:
            raise RuntimeError(f"the connection was closed: {first[:200]!r}")
        if size == 0:
            first = bytes(buffer[: min(count, 400)])
        size += count
        tail = (tail + bytes(buffer[max(0, count - 6) : count]))[-6:]
        if tail[:5] == b"Z\0\0\0\5" and tail[5:6] in (b"I", b"T", b"E"):
            return size, first.decode("utf-8", "replace") if first[:1] == b"E" else None


def best(runs, action):
    """The best of some runs, in seconds."""
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        action()
        times.append(time.perf_counter() - begin)
    return min(times)


def query_text(folder, number):
    return (folder / f"q{number:02}.sql").read_text()


def measure_start(arguments, config, table):
    times = []
    for _ in range(5):
        gateway = Sluice(arguments.programs, config, arguments.scratch)
        with gateway.connect() as session:
            session.execute("SELECT 1").fetchall()
        times.append(time.perf_counter() - gateway.begin)
        time.sleep(0.5)
        resident = gateway.resident()
        gateway.stop()
    times.sort()
    table.add("exec to first answer (median of 5)", times[2], None, "", "s", "< 1 s")
    table.add("resident memory when idle", resident, None, "", "MiB", "< 100 MiB")


def measure_points(gateway, arguments, postgres, table):
    lookup = "SELECT o_totalprice, o_orderdate FROM public.orders WHERE o_orderkey = "
    key = lambda number: number % 1000 * 32 + 1

    def both(what, measure, aim):
        with gateway.connect("shop") as session:
            our_p50, our_p99 = quantiles(measure(session))
        with postgres() as session:
            peer_p50, peer_p99 = quantiles(measure(session))
        table.add(f"{what}, p50", our_p50, peer_p50, "PostgreSQL", "us", aim)
        table.add(f"{what}, p99", our_p99, peer_p99, "PostgreSQL", "us")

    both("SELECT 1, prepared", lambda session: prepared(session, "SELECT 1", lambda number: ()), "p50 <= 5x")
    both("SELECT 1, simple protocol", lambda session: simple(session, lambda number: "SELECT 1"), "p50 <= 5x")
    both(
        "primary-key lookup, prepared",
        lambda session: prepared(session, lookup + "%b", lambda number: (key(number),)),
        "p50 <= 3x",
    )
    both(
        "primary-key lookup, simple protocol",
        lambda session: simple(session, lambda number: lookup + str(key(number))),
        "",
    )
    ours, our_rate = concurrent(gateway.port, "bench", "shop", lookup + "$1", key)
    peer, peer_rate = concurrent(arguments.postgres_port, "postgres", "shop", lookup + "$1", key)
    what = f"primary-key lookup, {CONNECTIONS} connections"
    for name, our, their in zip(("p50", "p99"), quantiles(ours), quantiles(peer)):
        table.add(f"{what}, {name}", our, their, "PostgreSQL", "us")
    table.add(f"{what}, one takes", 1e6 / our_rate, 1e6 / peer_rate, "PostgreSQL", "us")


def measure_stream(gateway, arguments, runs, table):
    schema = scale_schema(arguments.scale)
    ours = min(drain(gateway.port, "bench", "lake", f"SELECT * FROM {schema}.lineitem")[0] for _ in range(runs))
    peer = min(
        drain(arguments.postgres_port, "postgres", "shop", "SELECT * FROM lineitem")[0] for _ in range(runs)
    )
    table.add("all rows of lineitem to a client", ours, peer, "PostgreSQL's own", "s", "<= 1x")


WRITTEN = "l_orderkey, l_partkey, l_suppkey, l_linenumber, l_quantity, l_extendedprice, l_discount, l_shipdate, l_shipmode, l_comment"
WRITTEN_ROWS = 1_000_000


def measure_write(gateway, arguments, postgres, runs, table):
    """A million rows of ten columns into PostgreSQL, against COPY FROM a binary file of the same rows."""
    schema = scale_schema(arguments.scale)
    made = f"SELECT {WRITTEN} FROM lake.{schema}.lineitem LIMIT {WRITTEN_ROWS}"
    file = arguments.scratch / "written.copy"

    def write(session):
        session.execute("DROP TABLE IF EXISTS shop.public.written")
        begin = time.perf_counter()
        count = session.execute(f"CREATE TABLE shop.public.written AS {made}").rowcount
        return time.perf_counter() - begin, count

    with gateway.connect("shop") as session:
        times = [write(session) for _ in range(runs)]
        ours, rows = min(seconds for seconds, _ in times), times[0][1]
    with postgres() as session:
        with session.cursor().copy("COPY written TO STDOUT (FORMAT binary)") as copy, open(file, "wb") as out:
            for piece in copy:
                out.write(piece)
        session.execute("DROP TABLE IF EXISTS copied")
        session.execute("CREATE TABLE copied (LIKE written)")
    psql = ["psql", "-X", "-q", "-h", "127.0.0.1", "-p", str(arguments.postgres_port), "-U", "postgres", "-d", "shop"]
    text = "BEGIN; TRUNCATE copied; COPY copied FROM STDIN (FORMAT binary); COMMIT"

    def copy_in():
        with open(file, "rb") as data:
            subprocess.run([*psql, "-c", text], stdin=data, check=True)

    peer = best(runs, copy_in)
    with postgres() as session:
        same = session.execute(
            "SELECT (SELECT count(*) FROM written), (SELECT count(*) FROM copied), "
            "(SELECT count(*) FROM (SELECT * FROM written EXCEPT SELECT * FROM copied) AS d)"
        ).fetchone()
        if same != (rows, rows, 0):
            raise RuntimeError(f"the written rows differ: {same}")
        session.execute("DROP TABLE written, copied")
    file.unlink()
    table.add(f"CREATE TABLE AS, {rows} rows from Parquet to PostgreSQL", ours, peer, "COPY FROM the same rows", "s")


def scale_schema(scale):
    return "tiny" if scale == "0.01" else "sf" + scale.replace(".", "_")


def measure_tpch(gateway, arguments, runs, table):
    schema = scale_schema(arguments.scale)
    output = subprocess.run(
        [arguments.programs / "plain-datafusion", arguments.lake / schema, arguments.queries, str(runs)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    plain = {int(number): float(seconds) for number, seconds in (line.split() for line in output.splitlines())}

    duck = duckdb.connect(config={"threads": os.cpu_count()})
    for name in TABLES:
        duck.execute(f"CREATE VIEW {name} AS SELECT * FROM '{arguments.lake}/{schema}/{name}/*.parquet'")
    ours, ducks = {}, {}
    with gateway.connect("lake") as session:
        session.execute("SET sluice.workers = 0")
        session.execute(f"SET search_path = {schema}")
        for number in range(1, 23):
            text = query_text(arguments.queries, number)
            ducks[number] = best(runs, lambda: duck.execute(text).fetchall())
            ours[number] = best(runs, lambda: session.execute(text).fetchall())
    print("   query   sluice  datafusion  duckdb  (seconds, best of %d)" % runs)
    for number in range(1, 23):
        print(f"   q{number:02}    {ours[number]:7.3f}     {plain[number]:7.3f} {ducks[number]:7.3f}")
    table.add("TPC-H 22 on Parquet, sum", sum(ours.values()), sum(plain.values()), "plain DataFusion", "s", "<= 1.1x")
    table.add("TPC-H 22 on Parquet, sum", sum(ours.values()), sum(ducks.values()), "DuckDB", "s")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", type=Path, required=True)
    parser.add_argument("--lake", type=Path, required=True)
    parser.add_argument("--queries", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--postgres-port", type=int, required=True)
    parser.add_argument("--scale", default="1")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()

    facts()
    config = arguments.scratch / "bench-config"
    (config / "catalogs").mkdir(parents=True, exist_ok=True)
    (config / "catalogs/shop.toml").write_text(
        f'connector = "postgres"\nurl = "postgresql://postgres@127.0.0.1:{arguments.postgres_port}/shop"\n'
    )
    (config / "catalogs/lake.toml").write_text(f'connector = "lake"\nlocation = "file://{arguments.lake}"\n')
    (config / "catalogs/tpch.toml").write_text('connector = "tpch"\n')

    def postgres():
        return psycopg.connect(
            host="127.0.0.1", port=arguments.postgres_port, user="postgres", dbname="shop", autocommit=True
        )

    with postgres() as session:
        version = session.execute("SHOW server_version").fetchone()[0]
    print(f"peers: PostgreSQL {version}, DuckDB {duckdb.__version__}, DataFusion of this build; scale {arguments.scale}")
    table = Table()
    failed = 0

    def part(what, action):
        nonlocal failed
        try:
            action()
        except Exception as error:  # The other parts still say something.
            failed += 1
            table.fail(what, error)

    part("start", lambda: measure_start(arguments, config, table))
    gateway = Sluice(arguments.programs, config, arguments.scratch)
    try:
        part("point queries", lambda: measure_points(gateway, arguments, postgres, table))
        part("stream", lambda: measure_stream(gateway, arguments, arguments.runs, table))
        part("write", lambda: measure_write(gateway, arguments, postgres, arguments.runs, table))
        part("TPC-H", lambda: measure_tpch(gateway, arguments, arguments.runs, table))
    finally:
        gateway.stop()
    print()
    table.print()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
