//! One script, run on both sides.

use sluice_tests::{Connection, GatewayOptions, leaks};

use crate::source;

/// Before a statement that both servers are asked directly.
const AT_THE_SOURCE: &str = "AT THE SOURCE ";

/// What both sides must answer alike, statement by statement.
const SCRIPT: &[&str] = &[
    "CREATE TABLE plain (id int PRIMARY KEY, name varchar(5) NOT NULL DEFAULT 'none', price numeric(6,2), ok boolean DEFAULT true, born date, at timestamptz, data bytea)",
    "INSERT INTO plain VALUES (1, 'one', 1.25, true, '2020-02-29', '2020-02-29 12:00:00+02', '\\x00ff'::bytea)",
    "INSERT INTO plain (id) VALUES (2)",
    "INSERT INTO plain (price, id) VALUES (3.999, 3), (NULL, 4)",
    "INSERT INTO plain (id, name) VALUES (5, DEFAULT)",
    "INSERT INTO plain (id, name) SELECT g, 'n' || g FROM generate_series(6, 9) AS g",
    "SELECT id, name, price, ok, born, at, data FROM plain ORDER BY id",
    // Numbers are rounded, and refused, as the column's type says.
    "INSERT INTO nums (s) VALUES (2.5), (3.5), (-0.5), ('7'), (NULL)",
    "INSERT INTO nums (s) SELECT x FROM (VALUES (1.5), (2.5)) AS v (x)",
    "INSERT INTO nums (s) SELECT x FROM (VALUES (1.5::double precision), (2.5)) AS v (x)",
    "INSERT INTO nums (s) VALUES (40000)",
    "INSERT INTO nums (s) SELECT 40000",
    "INSERT INTO nums (s) VALUES ('seven')",
    "INSERT INTO nums (i) SELECT 2147483647 + 1",
    "INSERT INTO nums (n) VALUES (12345678901234567890.12345), ('1e-7'), (0)",
    "INSERT INTO nums (f, d) VALUES ('NaN', '-Infinity'), (0.1, '1e308'), (1e30, 0.1)",
    "INSERT INTO nums (f) VALUES ('1e300')",
    "INSERT INTO nums (i) SELECT true",
    "INSERT INTO plain (id, born) VALUES (60, 5)",
    "INSERT INTO plain (id, born) SELECT 60, 5",
    "INSERT INTO plain (id, ok) SELECT 60, 1",
    "INSERT INTO plain (id, name) SELECT 60, 123456",
    "SELECT i, s, n, f, d FROM nums ORDER BY s, n, f, i",
    // Types, constraints and columns of the source's own.
    "INSERT INTO strict (id, m, p) VALUES (1, 'sad', 5), (2, NULL, NULL)",
    "INSERT INTO strict (id, m) VALUES (3, 'none')",
    "INSERT INTO strict (id, p) VALUES (3, -1)",
    "INSERT INTO strict (id) VALUES (100)",
    "INSERT INTO strict (id, o) VALUES (3, 7)",
    "INSERT INTO strict (id, twice) VALUES (3, 6)",
    "INSERT INTO strict (id, j) VALUES (3, '{')",
    "INSERT INTO strict (id, u) VALUES (3, 'xyz')",
    "INSERT INTO strict (id, u) SELECT 3, 5",
    "INSERT INTO strict (id, j, u, c) VALUES (3, '{\"a\": 1}', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 'ab'), (4, 'null', NULL, 'abcd  ')",
    "INSERT INTO strict (id, v) VALUES (5, 'abc   '), (6, '')",
    "INSERT INTO strict (id, v) VALUES (7, 'abc d')",
    "WITH x AS (SELECT 8 AS id) INSERT INTO strict (id) SELECT id FROM x",
    "SELECT id, twice, m, p, j, u, c, v FROM strict ORDER BY id",
    // Constants that only the source's types can read.
    "INSERT INTO held VALUES (1, '{1,NULL,3}', '{\"a b\",c}', 'infinity', '-infinity', 'NaN', '\\x00ff')",
    "INSERT INTO held VALUES (2, '{}', '{{a,b},{c,d}}', '0044-03-15 BC', '2020-01-01 12:00+02', 1.5, 'a\\\\b')",
    "INSERT INTO held VALUES (3, ARRAY[1, 2], ARRAY['x', NULL], '2020-01-01', '2020-01-01 12:00:00', '-2', NULL), (4, NULL, NULL, NULL, NULL, 3, '')",
    "INSERT INTO held (id, l) VALUES (5, '{1')",
    "INSERT INTO held (id, n) VALUES (5, 'nano')",
    "INSERT INTO held (id, b) VALUES (5, '\\xf')",
    "UPDATE held SET l = '{9}', d = '-infinity', n = 'NaN', b = '\\x01' WHERE id = 3",
    "AT THE SOURCE SELECT id, l::text, t::text, d::text, at::text, n::text, b::text FROM held ORDER BY id",
    // Names that need quotes.
    "CREATE TABLE \"Odd \"\"one\" (\"a b\" int PRIMARY KEY, \"select\" text, \"Ü;--\" int DEFAULT 3)",
    "INSERT INTO \"Odd \"\"one\" (\"a b\", \"select\") VALUES (1, 'it''s'), (2, E'\\\\.'), (3, E'a\\tb\\n')",
    "UPDATE \"Odd \"\"one\" SET \"select\" = '\"' WHERE \"a b\" = 1",
    "INSERT INTO \"Odd \"\"one\" (\"a b\") VALUES (1) ON CONFLICT (\"a b\") DO UPDATE SET \"Ü;--\" = 4",
    "SELECT * FROM \"Odd \"\"one\" ORDER BY 1",
    "ALTER TABLE \"Odd \"\"one\" RENAME COLUMN \"Ü;--\" TO \"'\"",
    "SELECT \"'\" FROM \"Odd \"\"one\" ORDER BY 1",
    "DROP TABLE \"Odd \"\"one\"",
    // What is refused.
    "INSERT INTO plain (id) VALUES (1)",
    "INSERT INTO plain (id, name) VALUES (10, 'too long')",
    "INSERT INTO plain (id, name) VALUES (10, NULL)",
    "INSERT INTO plain (id, price) VALUES (10, 12345.6)",
    "INSERT INTO plain (id, gone) VALUES (10, 1)",
    "INSERT INTO plain (id, id) VALUES (10, 1)",
    "INSERT INTO plain (id, name) VALUES (10)",
    "INSERT INTO plain (id) VALUES (10, 'x')",
    "INSERT INTO gone VALUES (1)",
    // One bad row of many takes all of them along.
    "INSERT INTO plain (id) SELECT CASE WHEN g = 5000 THEN 1 ELSE g + 100 END FROM generate_series(1, 10000) AS g",
    "SELECT count(*) FROM plain",
    // Conflicts.
    "INSERT INTO plain (id, name) VALUES (1, 'uno'), (20, 'new') ON CONFLICT (id) DO NOTHING",
    "INSERT INTO plain (id, name) VALUES (1, 'uno'), (21, 'new') ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name, ok = false",
    "INSERT INTO plain (id, name) VALUES (1, 'x') ON CONFLICT DO UPDATE SET name = 'y'",
    "SELECT id, name, ok FROM plain ORDER BY id",
    // Changes in place.
    "UPDATE plain SET name = 'upd', price = 7 WHERE id IN (2, 3) AND price IS NULL",
    "UPDATE plain SET ok = NULL, name = DEFAULT WHERE name = 'n7'",
    "UPDATE plain SET id = 1 WHERE id = 2",
    "UPDATE plain SET name = 'too long' WHERE id = 2",
    "UPDATE plain SET price = price WHERE id > 100",
    "UPDATE plain SET price = price + 1 WHERE id <= 3",
    "UPDATE plain SET price = price * 1.005, id = id + 1000 - 1000 WHERE id IN (1, 2)",
    "UPDATE plain SET price = price * 100000",
    "UPDATE plain SET price = id * 2 WHERE id = 3",
    "UPDATE nums SET s = s + 1, i = i * 2, n = n + 0.5",
    "UPDATE nums SET s = s * 1.5, i = n",
    "SELECT i, s, n FROM nums ORDER BY s, n, i",
    "UPDATE plain SET gone = 1",
    "UPDATE plain SET ok = true WHERE false",
    "DELETE FROM plain WHERE id >= 20",
    "DELETE FROM plain p WHERE p.born < '1900-01-01'",
    "SELECT id, name, price, ok FROM plain ORDER BY id",
    // Definitions.
    "CREATE TABLE made AS SELECT id, name, price * 2 AS twice FROM plain WHERE id < 5",
    "CREATE TABLE IF NOT EXISTS made AS SELECT 1 AS x",
    "CREATE TABLE bare AS SELECT id, name FROM plain WHERE id > 5 WITH DATA",
    "SELECT count(*) FROM bare",
    "DROP TABLE bare",
    "CREATE TABLE bare AS SELECT id, name FROM plain WITH NO DATA",
    "SELECT count(*) FROM bare",
    "DROP TABLE bare",
    "CREATE TABLE bare AS SELECT id, name FROM plain LIMIT 0",
    "DROP TABLE bare",
    "CREATE TABLE made (x int)",
    "SELECT * FROM made ORDER BY id",
    "ALTER TABLE made ADD COLUMN extra bigint DEFAULT 5, DROP COLUMN twice",
    "ALTER TABLE made RENAME COLUMN name TO label",
    "ALTER TABLE made ALTER COLUMN id SET NOT NULL",
    "INSERT INTO made (id) VALUES (NULL)",
    "INSERT INTO made VALUES (50, 'fifty')",
    "SELECT * FROM made ORDER BY id",
    "ALTER TABLE made DROP COLUMN gone",
    "ALTER TABLE IF EXISTS gone ADD COLUMN x int",
    "ALTER TABLE gone ADD COLUMN x int",
    "CREATE VIEW few AS SELECT label, id FROM made WHERE id <= 2",
    "SELECT * FROM few ORDER BY id",
    "CREATE OR REPLACE VIEW few AS SELECT label, id FROM made WHERE id = 1",
    "SELECT * FROM few",
    "DROP TABLE made",
    "DROP VIEW few",
    "DROP VIEW IF EXISTS few",
    "ALTER TABLE made RENAME TO again",
    "TRUNCATE again",
    "SELECT count(*) FROM again",
    "CREATE TABLE counted (id int GENERATED ALWAYS AS IDENTITY, n int, UNIQUE (n))",
    "INSERT INTO counted (n) VALUES (10), (20)",
    "INSERT INTO counted (id, n) VALUES (1, 30)",
    "INSERT INTO counted (n) VALUES (10)",
    "INSERT INTO counted DEFAULT VALUES",
    "SELECT n FROM counted ORDER BY n",
    "TRUNCATE counted RESTART IDENTITY",
    "INSERT INTO counted (n) VALUES (1)",
    "SELECT id, n FROM counted",
    "CREATE SCHEMA side",
    "CREATE SCHEMA side",
    "CREATE SCHEMA IF NOT EXISTS side",
    "CREATE TABLE side.t (a int, b text[])",
    "INSERT INTO side.t VALUES (1, ARRAY['a', NULL, 'b,\"c']), (2, NULL)",
    "SELECT * FROM side.t ORDER BY a",
    "DROP SCHEMA side",
    "DROP SCHEMA side CASCADE",
    "DROP TABLE again",
    "DROP TABLE again",
    "DROP TABLE IF EXISTS again",
];

/// What only the source itself can make, in both databases.
const SETUP: &str = "
CREATE TYPE mood AS ENUM ('ok', 'sad');
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE TABLE other (id int PRIMARY KEY);
CREATE TABLE nums (i int, s smallint, n numeric, f real, d double precision);
CREATE TABLE held (id int, l int[], t text[], d date, at timestamptz, n numeric(10, 2), b bytea);
CREATE TABLE strict (
    id int PRIMARY KEY CHECK (id < 100), m mood, p positive, o int REFERENCES other,
    twice int GENERATED ALWAYS AS (id * 2) STORED, j jsonb, u uuid, c char(4), v varchar(3)
);";

/// A line for what a statement gave.
fn answer(session: &mut Connection, sql: &str) -> String {
    match session.query(sql) {
        Ok(rows) => {
            let lines = rows.rows.iter().map(|row| {
                let values = row.iter().map(|v| v.as_deref().unwrap_or("NULL"));
                format!("\n    {}", values.collect::<Vec<_>>().join(" | "))
            });
            format!("{}{}", rows.tag, lines.collect::<String>())
        }
        Err(error) => format!("ERROR {}", error.code()),
    }
}

#[test]
fn statements_do_what_they_do_in_postgresql() {
    let source = source();
    let gateway = GatewayOptions::new()
        .catalog("shop", source.catalog("shop"))
        .start();
    for database in ["native", "shop"] {
        source
            .connect(database)
            .batch(SETUP)
            .expect("the tables can be made");
    }
    let (mut native, mut ours) = (source.connect("native"), gateway.connect("shop"));
    let mut written = source.connect("shop");
    let mut differences = Vec::new();
    for sql in SCRIPT {
        let (expected, found) = match sql.strip_prefix(AT_THE_SOURCE) {
            Some(sql) => (answer(&mut native, sql), answer(&mut written, sql)),
            None => (answer(&mut native, sql), answer(&mut ours, sql)),
        };
        if expected != found {
            let words = match ours.query("SELECT 1") {
                Ok(_) => String::new(),
                Err(error) => format!(" (then: {error})"),
            };
            differences.push(format!(
                "{sql}\n  PostgreSQL: {expected}\n  Sluice:     {found}{words}"
            ));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
    drop((native, written));
    leaks::assert_nothing_left(&gateway, &[&source]);
}

/// Statements that only the source could run as a whole, and cannot say exactly.
#[test]
fn what_cannot_run_whole_is_refused_with_the_reason() {
    let source = source();
    source
        .connect("shop")
        .query("CREATE TABLE t AS SELECT 1 AS id, 'a' AS v; CREATE TABLE u AS SELECT 1 AS id")
        .expect("the tables can be made");
    let gateway = GatewayOptions::new()
        .catalog("shop", source.catalog("shop"))
        .catalog(
            "closed",
            format!("{}read_only = true\n", source.catalog("shop")),
        )
        .catalog("memory", "connector = \"memory\"\n")
        .catalog("tpch", "connector = \"tpch\"\n")
        .start();
    let mut session = gateway.connect("shop");
    for (sql, code) in [
        ("UPDATE t SET v = 'x' FROM u WHERE t.id = u.id", "0A000"),
        (
            "UPDATE t SET v = 'x' WHERE id IN (SELECT id FROM u)",
            "0A000",
        ),
        ("DELETE FROM t USING u WHERE t.id = u.id", "0A000"),
        ("DELETE FROM t WHERE sin(id) > 0", "0A000"),
        ("INSERT INTO t VALUES (1, 'b') RETURNING id", "0A000"),
        ("CREATE TABLE x (a int CHECK (a > 0))", "0A000"),
        ("CREATE TABLE x (a int REFERENCES t)", "0A000"),
        ("CREATE TEMPORARY TABLE x (a int)", "0A000"),
        (
            "CREATE VIEW w AS SELECT t.id FROM t JOIN u ON t.id = u.id",
            "0A000",
        ),
        ("TRUNCATE t, memory.public.t", "0A000"),
        ("INSERT INTO tpch.tiny.region VALUES (9, 'x', 'y')", "0A000"),
        ("INSERT INTO closed.public.t VALUES (9, 'x')", "25006"),
        ("CREATE TABLE closed.public.n (a int)", "25006"),
        ("CALL closed.system.execute('SELECT 1')", "25006"),
        ("CALL shop.system.execute('SELECT 1')", "42501"),
        (
            "INSERT INTO pg_catalog.pg_class (relname) VALUES ('x')",
            "42501",
        ),
    ] {
        let error = session.query(sql).expect_err(sql);
        assert_eq!(error.code(), code, "{sql}: {error}");
    }
    assert_eq!(
        session
            .query("SELECT count(*) FROM t")
            .expect("it is there")
            .single(),
        "1"
    );
    session.query("BEGIN").expect("a block");
    let error = session
        .query("INSERT INTO t VALUES (2, 'b')")
        .expect_err("in a block");
    assert_eq!(error.code(), "25001");
    session.query("ROLLBACK").expect("the block ends");
    session
        .batch("SET sluice.writes_in_transactions = 'commit'; BEGIN; INSERT INTO t VALUES (2, 'b'); ROLLBACK")
        .expect("the client asked for it");
    assert_eq!(
        session
            .query("SELECT count(*) FROM t")
            .expect("it is there")
            .single(),
        "2"
    );
    leaks::assert_nothing_left(&gateway, &[&source]);
}

#[test]
fn rows_of_other_catalogs_and_workers_are_written_once() {
    let source = source();
    let gateway = GatewayOptions::new()
        .catalog("shop", source.catalog("shop"))
        .catalog("tpch", "connector = \"tpch\"\n")
        .workers(2)
        .start();
    let mut session = gateway.connect("shop");
    session
        .query("SET sluice.distribute_above = 0")
        .expect("a setting");
    let made = session
        .query("CREATE TABLE lineitem AS SELECT * FROM tpch.tiny.lineitem")
        .expect("the rows are written");
    let count = session
        .query("SELECT count(*) FROM tpch.tiny.lineitem")
        .expect("they can be counted")
        .single()
        .to_owned();
    assert_eq!(made.tag, format!("SELECT {count}"));
    let sums = |from: &str| {
        format!(
            "SELECT count(*), sum(l_orderkey), sum(l_extendedprice), sum(l_discount * l_tax), min(l_shipdate), \
             max(l_comment) FROM {from}"
        )
    };
    let there = session.query(&sums("lineitem")).expect("they are there");
    let here = session
        .query(&sums("tpch.tiny.lineitem"))
        .expect("they are here");
    assert_eq!(there.rows, here.rows);
    let native = source
        .connect("shop")
        .query(&sums("lineitem"))
        .expect("they are there");
    assert_eq!(native.rows[0][..4], here.rows[0][..4]);
    // Another session sees the table at once.
    let again = gateway
        .connect("shop")
        .query("SELECT count(*) FROM lineitem");
    assert_eq!(again.expect("it is there").single(), count);
    let joined = session
        .query(
            "INSERT INTO lineitem SELECT l.* FROM tpch.tiny.lineitem l JOIN tpch.tiny.orders o \
             ON l_orderkey = o_orderkey WHERE o_orderstatus = 'F'",
        )
        .expect("the rows of a join are written");
    let expected = session
        .query(
            "SELECT count(*) FROM tpch.tiny.lineitem l JOIN tpch.tiny.orders o ON l_orderkey = o_orderkey \
             WHERE o_orderstatus = 'F'",
        )
        .expect("they can be counted");
    assert_eq!(joined.tag, format!("INSERT 0 {}", expected.single()));
    leaks::assert_nothing_left(&gateway, &[&source]);
}
