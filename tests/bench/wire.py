"""What crosses the wire between a source and whoever reads it.

PostgreSQL counts neither the rows of every kind of cursor nor any bytes, so a proxy stands before it and reads the
headers of its messages. MariaDB counts both by itself. Nothing here is used while time is taken: walking over six
million messages costs more than sending them.
"""

import socket
import struct
import subprocess
import threading

HEADER = struct.Struct("!BI")
COMMAND_COMPLETE, DATA_ROW = ord("C"), ord("D")
# Requests for TLS and for GSSAPI encryption, which the private server does not offer.
ENCRYPTION_REQUESTS = {80877103, 80877104}
CHUNK_BYTES = 1 << 20


class Messages:
    """Counts the rows in a server's stream of messages, however the stream is cut."""

    def __init__(self):
        self.rows = 0
        self.rest = b""
        self.skip = 0

    def feed(self, piece):
        if self.skip >= len(piece):
            self.skip -= len(piece)
            return
        data, at = self.rest + piece, self.skip
        size = len(data)
        while at + HEADER.size <= size:
            kind, length = HEADER.unpack_from(data, at)
            end = at + 1 + length
            if kind == DATA_ROW:
                self.rows += 1
            elif kind == COMMAND_COMPLETE:
                if end > size:
                    break  # The tag is read as a whole.
                tag = data[at + HEADER.size : end - 1].split()
                # COPY sends its rows as pieces of a file; its tag says how many they were.
                if tag[0] == b"COPY":
                    self.rows += int(tag[1])
            at = end
        self.skip = max(0, at - size)
        self.rest = data[at:]


class PostgresWire:
    """A proxy before a PostgreSQL. `port` is where it listens, `take` gives what came through since the last time."""

    def __init__(self, server_port):
        self.server_port = server_port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.lock = threading.Lock()
        self.rows = self.bytes = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def take(self):
        with self.lock:
            taken = {"rows": self.rows, "bytes": self.bytes}
            self.rows = self.bytes = 0
        return taken

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with client, socket.create_connection(("127.0.0.1", self.server_port)) as server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            first = client.recv(CHUNK_BYTES)
            while len(first) == 8 and struct.unpack("!II", first)[1] in ENCRYPTION_REQUESTS:
                client.sendall(b"N")
                first = client.recv(CHUNK_BYTES)
            server.sendall(first)
            upward = threading.Thread(target=self.pass_on, args=(client, server), daemon=True)
            upward.start()
            self.pass_on(server, client, Messages())
            upward.join()

    def pass_on(self, source, target, messages=None):
        buffer = memoryview(bytearray(CHUNK_BYTES))
        try:
            while count := source.recv_into(buffer):
                if messages:
                    # Counted before it is sent: who has the answer finds it counted.
                    before = messages.rows
                    messages.feed(bytes(buffer[:count]))
                    with self.lock:
                        self.rows += messages.rows - before
                        self.bytes += count
                target.sendall(buffer[:count])
            target.shutdown(socket.SHUT_WR)
        except OSError:
            # One end is gone, so the other has nobody to talk to.
            for end in (source, target):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass


class MariaDbWire:
    """The counters of a MariaDB that nobody else uses. `client` is its command-line client with all options."""

    def __init__(self, client):
        self.client = client
        # What asking adds: the difference between two questions.
        self.asking = (0, 0)
        self.before = self.counters()
        self.asking = tuple(after - before for before, after in zip(self.before, self.counters()))
        self.before = self.counters()

    def counters(self):
        text = "SHOW GLOBAL STATUS WHERE Variable_name IN ('Rows_sent', 'Bytes_sent')"
        output = subprocess.run([*self.client, "-e", text], stdout=subprocess.PIPE, text=True, check=True).stdout
        values = dict(line.split("\t") for line in output.splitlines())
        return int(values["Rows_sent"]), int(values["Bytes_sent"])

    def take(self):
        now = self.counters()
        rows, sent = (max(0, a - b - c) for a, b, c in zip(now, self.before, self.asking))
        self.before = now
        return {"rows": rows, "bytes": sent}
