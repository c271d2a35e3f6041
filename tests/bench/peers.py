"""Who answers the rows of the sources suite, each behind the same three words.

`places` says where a peer finds the tables of a source: `pg` and `my` are the two servers, `lake` the Parquet files at
the servers' scale, `large` those at a scale of their own. A peer takes part in a row when it has all of its places.
`counted` has the places that lead through the counting proxy (wire.py).
"""

import os
from pathlib import Path

import duckdb
import duckdb_extension_mysql_scanner
import duckdb_extension_postgres_scanner
import psycopg

from bench import TABLES, scale_schema

# Whom the private MariaDB lets in (tests/scripts/lib.sh).
MARIADB_USER, MARIADB_PASSWORD = "bench", "bench"

# A peer that takes longer says so, and the bench goes on.
STATEMENT_SECONDS = 300


class Setting:
    """What the peers read: the servers' ports, the folder and the scales of the Parquet files."""

    def __init__(self, arguments, wire_port):
        self.postgres_port = arguments.postgres_port
        self.wire_port = wire_port
        self.mariadb_port = arguments.mariadb_port
        self.lake = arguments.lake
        self.schema = scale_schema(arguments.scale)
        self.large = scale_schema(arguments.lake_scale)

    def parquet(self, schema, table):
        return f"'{self.lake}/{schema}/{table}/*.parquet'"


class Peer:
    name = ""
    places = {}
    counted = {}
    # The form of a parameter in the lookup by key.
    parameter = "%s"

    def takes(self, text):
        return all("{%s}" % place not in text or place in self.places for place in ("pg", "my", "lake", "large"))

    def rows(self, text):
        """All rows of a statement."""
        raise NotImplementedError

    def look_up(self, text, key):
        """The rows of a statement with one parameter, as its users would run it many times."""
        raise NotImplementedError

    def remote_rows(self, text):
        """How many rows a statement fetches from MariaDB, where the server's own counter does not tell."""
        return None


class PostgresClient(Peer):
    """Whoever speaks PostgreSQL's protocol."""

    def __init__(self, port, user, database):
        self.session = psycopg.connect(host="127.0.0.1", port=port, user=user, dbname=database, autocommit=True)
        self.session.execute(f"SET statement_timeout = {STATEMENT_SECONDS * 1000}")
        self.prepared = self.session.cursor(binary=True)

    def rows(self, text):
        return self.session.execute(text).fetchall()

    def look_up(self, text, key):
        return self.prepared.execute(text, (key,), prepare=True).fetchall()


class Sluice(PostgresClient):
    name = "Sluice"
    parameter = "%b"

    def __init__(self, gateway, setting):
        super().__init__(gateway.port, "bench", "sluice")
        self.places = {
            "pg": "shop.public",
            "my": "my.shop",
            "lake": f"lake.{setting.schema}",
            "large": f"lake.{setting.large}",
        }
        self.counted = self.places | {"pg": "shop_wire.public"}

    @staticmethod
    def write_catalogs(folder, setting):
        """The catalog files of the gateway."""
        for name, port in (("shop", setting.postgres_port), ("shop_wire", setting.wire_port)):
            url = f"postgresql://postgres@127.0.0.1:{port}/shop"
            (folder / f"{name}.toml").write_text(f'connector = "postgres"\nurl = "{url}"\n')
        url = f"mysql://{MARIADB_USER}@127.0.0.1:{setting.mariadb_port}/shop"
        (folder / "my.toml").write_text(f'connector = "mysql"\nurl = "{url}"\npassword = "{MARIADB_PASSWORD}"\n')
        (folder / "lake.toml").write_text(f'connector = "lake"\nlocation = "file://{setting.lake}"\n')


class SluiceWith(Sluice):
    """The same gateway under a setting, on the rows whose statements have all of the marks."""

    def __init__(self, gateway, setting, name, statement, marks):
        super().__init__(gateway, setting)
        self.name = f"Sluice, {name}"
        self.marks = marks
        self.session.execute(statement)

    def takes(self, text):
        return all(mark in text for mark in self.marks)


class PostgreSql(PostgresClient):
    """The source itself, and the oracle: it has all tables, so it can answer every row at the servers' scale."""

    name = "PostgreSQL itself"
    places = {"pg": "public"}
    parameter = "%b"

    def __init__(self, setting):
        super().__init__(setting.postgres_port, "postgres", "shop")


class MySqlFdw(PostgresClient):
    """MariaDB's tables as foreign tables of the PostgreSQL that has the others."""

    name = "mysql_fdw"
    places = {"pg": "public", "my": "my"}
    counted = places

    def __init__(self, setting):
        super().__init__(setting.postgres_port, "postgres", "shop")
        for statement in (
            "CREATE EXTENSION IF NOT EXISTS mysql_fdw",
            "DROP SERVER IF EXISTS my CASCADE",
            "DROP SCHEMA IF EXISTS my",
            # A hundred rows at a time is the default and slow.
            "CREATE SERVER my FOREIGN DATA WRAPPER mysql_fdw "
            f"OPTIONS (host '127.0.0.1', port '{setting.mariadb_port}', fetch_size '10000')",
            "CREATE USER MAPPING FOR postgres SERVER my "
            f"OPTIONS (username '{MARIADB_USER}', password '{MARIADB_PASSWORD}')",
            "CREATE SCHEMA my",
            "IMPORT FOREIGN SCHEMA shop FROM SERVER my INTO my",
        ):
            self.session.execute(statement)

    def takes(self, text):
        return "{my}" in text and super().takes(text)

    def remote_rows(self, text):
        # MariaDB does not count the rows that a cursor gives out; the plan does.
        plan = self.rows(f"EXPLAIN (ANALYZE, FORMAT JSON, TIMING off) {text}")[0][0][0]["Plan"]
        return sum(foreign_rows(plan))


def foreign_rows(plan):
    """The rows of each foreign scan in a plan."""
    if plan["Node Type"] == "Foreign Scan":
        yield plan["Actual Rows"] * plan["Actual Loops"]
    for child in plan.get("Plans", ()):
        yield from foreign_rows(child)


class DuckDb(Peer):
    name = "DuckDB"
    places = {"pg": "shop.public", "my": "my.shop", "lake": "lake", "large": "large"}
    counted = places | {"pg": "shop_wire.public"}
    parameter = "?"

    def __init__(self, setting):
        self.duck = duckdb.connect(config={"threads": os.cpu_count(), "allow_unsigned_extensions": True})
        for package in (duckdb_extension_postgres_scanner, duckdb_extension_mysql_scanner):
            folder = Path(package.__file__).parent / "extensions"
            self.duck.execute(f"LOAD '{next(folder.rglob('*.duckdb_extension'))}'")
        for name, port in (("shop", setting.postgres_port), ("shop_wire", setting.wire_port)):
            address = f"host=127.0.0.1 port={port} user=postgres dbname=shop"
            self.duck.execute(f"ATTACH '{address}' AS {name} (TYPE postgres, READ_ONLY)")
        # Compressed, which is the default, a full read takes eight times as long.
        address = (
            f"host=127.0.0.1 port={setting.mariadb_port} user={MARIADB_USER} password={MARIADB_PASSWORD} "
            "database=shop compression=DISABLED"
        )
        self.duck.execute(f"ATTACH '{address}' AS my (TYPE mysql, READ_ONLY)")
        for place, schema in (("lake", setting.schema), ("large", setting.large)):
            self.duck.execute(f"CREATE SCHEMA {place}")
            for table in TABLES:
                self.duck.execute(f"CREATE VIEW {place}.{table} AS FROM {setting.parquet(schema, table)}")

    def rows(self, text):
        return self.duck.execute(text).fetchall()

    def look_up(self, text, key):
        return self.duck.execute(text, [key]).fetchall()

    def columns(self, table):
        """Names and types of a table of the lake."""
        return [row[:2] for row in self.rows(f"DESCRIBE lake.{table}")]


class Trino(Peer):
    name = "Trino"
    parameter = "?"

    def __init__(self, server, setting):
        self.server = server
        self.session = server.connect()
        self.places = {"pg": "shop.public", "my": "my.shop", "lake": f"lake.{setting.schema}"}
        self.counted = self.places | {"pg": "shop_wire.public"}

    def rows(self, text):
        return self.session.cursor().execute(text).fetchall()

    def look_up(self, text, key):
        # Its client prepares and executes in one request when a statement has parameters.
        return self.session.cursor().execute(text, (key,)).fetchall()

    @staticmethod
    def catalogs(setting):
        """The properties of its catalogs."""
        catalogs = {
            name: {
                "connector.name": "postgresql",
                "connection-url": f"jdbc:postgresql://127.0.0.1:{port}/shop",
                "connection-user": "postgres",
                "connection-password": "",
            }
            for name, port in (("shop", setting.postgres_port), ("shop_wire", setting.wire_port))
        }
        catalogs["my"] = {
            "connector.name": "mariadb",
            "connection-url": f"jdbc:mariadb://127.0.0.1:{setting.mariadb_port}",
            "connection-user": MARIADB_USER,
            "connection-password": MARIADB_PASSWORD,
        }
        return catalogs
