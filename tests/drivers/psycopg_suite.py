"""psycopg 3 against the gateway, with the real PostgreSQL beside it: both must give the same Python values.

Usage: psycopg_suite.py GATEWAY_PORT POSTGRES_PORT. Runs every function whose name starts with `check_`.
"""

import sys
import traceback
from decimal import Decimal

import psycopg

GATEWAY, POSTGRES = int(sys.argv[1]), int(sys.argv[2])
COLUMNS = (
    "id, small, big, price, ratio, share, ok, name, code, day, clock, at, zoned, tag, doc, bytes, list, words"
)


def gateway(database="shop", **options):
    return psycopg.connect(host="127.0.0.1", port=GATEWAY, user="tester", dbname=database, **options)


def postgres():
    return psycopg.connect(host="127.0.0.1", port=POSTGRES, user="postgres", dbname="shop")


def check_values_in_text_and_binary():
    query = f"SELECT {COLUMNS} FROM kinds ORDER BY id"
    with gateway() as ours, postgres() as theirs:
        for binary in (False, True):
            with ours.cursor(binary=binary) as cursor:
                got = cursor.execute(query).fetchall()
                types = [column.type_code for column in cursor.description]
            with theirs.cursor(binary=binary) as cursor:
                wanted = cursor.execute(query).fetchall()
                wanted_types = [column.type_code for column in cursor.description]
            assert types == wanted_types, f"binary={binary}: types {types}, wanted {wanted_types}"
            assert got == wanted, f"binary={binary}:\n{got}\nwanted\n{wanted}"


def check_parameters():
    with gateway() as session:
        for column, value in [
            ("id", 1),
            ("big", 9007199254740993),
            ("price", Decimal("1234567890.12")),
            ("name", "héllo"),
            ("ok", True),
        ]:
            for binary in (False, True):
                placeholder = "%b" if binary else "%s"
                found = session.execute(
                    f"SELECT id FROM kinds WHERE {column} = {placeholder}", (value,)
                ).fetchall()
                assert found == [(1,)], f"{column} = {value!r} (binary={binary}): {found}"
        day = session.execute("SELECT day FROM kinds WHERE id = 1").fetchone()[0]
        assert session.execute("SELECT id FROM kinds WHERE day = %s", (day,)).fetchall() == [(1,)]


def check_prepared_statements():
    with gateway() as session:
        for number in range(20):
            row = session.execute("SELECT %s::int + 1", (number,), prepare=True).fetchone()
            assert row == (number + 1,), row


def check_server_side_cursor():
    with gateway("tpch") as session, session.cursor(name="big") as cursor:
        cursor.itersize = 500
        cursor.execute("SELECT o_orderkey FROM tiny.orders ORDER BY o_orderkey")
        keys = [key for (key,) in cursor]
        assert len(keys) == 15000 and keys == sorted(keys), len(keys)


def check_streaming():
    with gateway("tpch") as session, session.cursor() as cursor:
        count = sum(1 for _ in cursor.stream("SELECT l_orderkey, l_comment FROM tiny.lineitem"))
        assert count > 59000, count


def check_transactions_and_errors():
    with gateway() as session:
        try:
            session.execute("SELECT nothing FROM kinds")
            raise AssertionError("no error")
        except psycopg.errors.UndefinedColumn:
            pass
        try:
            session.execute("SELECT 1")
            raise AssertionError("no error in a failed transaction")
        except psycopg.errors.InFailedSqlTransaction:
            session.rollback()
        assert session.execute("SELECT 1").fetchone() == (1,)
        with session.transaction():
            try:
                with session.transaction():
                    session.execute("SELECT * FROM nowhere")
            except psycopg.errors.UndefinedTable:
                pass
            assert session.execute("SELECT 2").fetchone() == (2,)


def check_pipeline_mode():
    with gateway() as session, session.pipeline():
        cursors = [session.execute("SELECT %s::int", (number,)) for number in range(10)]
        assert [cursor.fetchone()[0] for cursor in cursors] == list(range(10))


def check_cancel():
    import threading
    import time

    with gateway("tpch") as session:
        threading.Timer(0.5, session.cancel).start()
        begin = time.monotonic()
        try:
            session.execute(
                "SELECT count(*) FROM sf10.lineitem a, tiny.nation b WHERE a.l_comment < b.n_comment"
            )
            raise AssertionError("it was not cancelled")
        except psycopg.errors.QueryCanceled:
            pass
        assert time.monotonic() - begin < 5


def check_memory_tables():
    with gateway("memory", autocommit=True) as session:
        session.execute("DROP TABLE IF EXISTS public.psycopg_made")
        session.execute("CREATE TABLE public.psycopg_made AS SELECT id, name FROM shop.public.kinds")
        assert session.execute("SELECT count(*) FROM public.psycopg_made").fetchone() == (2,)
        inserted = session.execute("INSERT INTO public.psycopg_made SELECT 3, 'three'")
        assert inserted.rowcount == 1, inserted.rowcount
        session.execute("DROP TABLE public.psycopg_made")


def main():
    checks = [(name, check) for name, check in globals().items() if name.startswith("check_")]
    failed = []
    for name, check in checks:
        try:
            check()
            print(f"ok   {name}")
        except Exception:  # Every check runs; the last line tells how many failed.
            failed.append(name)
            print(f"FAIL {name}\n{traceback.format_exc()}")
    print(f"{len(checks)} checks, {len(failed)} failed")
    return 1 if failed or not checks else 0


if __name__ == "__main__":
    sys.exit(main())
