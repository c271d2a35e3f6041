"""A private Trino, where `tests/scripts/setup.sh trino` has put one: a folder with lib, plugin and java.

Its catalogs have the names that the gateway's have, so that the same statements run in both. The lake is the hive
connector over the same Parquet files, with a metastore of its own in the scratch folder.
"""

import socket
import subprocess
import time

import trino

# Half of the smallest machine that the bench runs on; the tables of scale 1 need far less.
HEAP = "4G"
START_SECONDS = 180
# What the Parquet files' types are called in Trino.
TYPES = {"HUGEINT": "bigint", "VARCHAR": "varchar"}


class TrinoServer:
    def __init__(self, home, scratch, catalogs):
        self.folder = scratch / "trino"
        (self.folder / "etc/catalog").mkdir(parents=True)
        (self.folder / "lake").mkdir()
        for name, keys in catalogs.items():
            self.write(f"catalog/{name}", keys)
        self.write("catalog/lake", {
            "connector.name": "hive",
            "hive.metastore": "file",
            "hive.metastore.catalog.dir": "local:///metastore",
            "hive.non-managed-table-writes-enabled": "true",
            "fs.native-local.enabled": "true",
            "local.location": self.folder / "lake",
        })
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.write("config", {
            "coordinator": "true",
            "node-scheduler.include-coordinator": "true",
            "http-server.http.port": self.port,
            "discovery.uri": f"http://127.0.0.1:{self.port}",
            "plugin.dir": home / "plugin",
            "catalog.config-dir": self.folder / "etc/catalog",
        })
        properties = {
            "config": self.folder / "etc/config.properties",
            "node.environment": "bench",
            "node.data-dir": self.folder / "data",
            "node.bind-ip": "127.0.0.1",
            "node.internal-address": "127.0.0.1",
            "jdk.attach.allowAttachSelf": "true",
        }
        self.log = open(self.folder / "log", "w")
        self.process = subprocess.Popen(
            [
                home / "java", f"-Xmx{HEAP}", "-XX:+UseG1GC", "-XX:+ExitOnOutOfMemoryError",
                "-XX:ReservedCodeCacheSize=512M", "--enable-native-access=ALL-UNNAMED",
                *(f"-D{key}={value}" for key, value in properties.items()),
                "-cp", f"{home}/lib/*", "io.trino.server.TrinoServer",
            ],
            cwd=self.folder,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        self.wait()

    def write(self, name, keys):
        (self.folder / f"etc/{name}.properties").write_text("".join(f"{key}={value}\n" for key, value in keys.items()))

    def wait(self):
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.execute("SELECT 1")
                return
            except Exception as error:  # The client has many, from a refused connection to "starting up".
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise RuntimeError(f"Trino does not answer: {self.complaint() or error}") from error
                time.sleep(0.5)

    def complaint(self):
        """The first thing that its log calls an error."""
        lines = iter((self.folder / "log").read_text().splitlines())
        return next((" ".join([line, *lines][:4]) for line in lines if "\tERROR\t" in line), None)

    def add_tables(self, schema, folder, columns):
        """Parquet files in folder/TABLE as tables of a schema of the lake. `columns`: table -> [(name, type)]."""
        (self.folder / "lake" / schema).symlink_to(folder)
        self.execute(f"CREATE SCHEMA lake.{schema}")
        for table, described in columns.items():
            listed = ", ".join(f"{name} {TYPES.get(kind, kind)}" for name, kind in described)
            self.execute(
                f"CREATE TABLE lake.{schema}.{table} ({listed}) "
                f"WITH (format = 'PARQUET', external_location = 'local:///{schema}/{table}')"
            )
            self.execute(f"ANALYZE lake.{schema}.{table}")

    def connect(self):
        return trino.dbapi.connect(host="127.0.0.1", port=self.port, user="bench")

    def execute(self, text):
        """The rows of a statement, which is tried again while a busy server does not count itself among its nodes."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with self.connect() as connection:
                    return connection.cursor().execute(text).fetchall()
            except trino.exceptions.TrinoQueryError as error:
                if error.error_name != "NO_NODES_AVAILABLE" or time.monotonic() > deadline:
                    raise
                time.sleep(1)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
