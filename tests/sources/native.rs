//! `SELECT … FROM catalog.system.query('…')`.

use sluice_tests::leaks;

use crate::{servers, sessions};

/// A statement with native texts, and the same in one PostgreSQL's words.
const QUERIES: [(&str, &str); 6] = [
    (
        "SELECT * FROM shop.system.query('SELECT id, price, made FROM goods WHERE id % 100 = 0') ORDER BY id",
        "SELECT id, price, made FROM goods WHERE id % 100 = 0 ORDER BY id",
    ),
    (
        "SELECT n.name, count(*), sum(g.price) FROM goods g JOIN \
         shop.system.query($$SELECT DISTINCT name FROM goods WHERE name LIKE '%7'$$) AS n ON n.name = g.name \
         GROUP BY n.name ORDER BY n.name",
        "SELECT name, count(*), sum(price) FROM goods WHERE name LIKE '%7' GROUP BY name ORDER BY name",
    ),
    (
        "SELECT a.id, b.twice FROM shop.system.query('SELECT id FROM goods WHERE id < 20') AS a \
         JOIN lent.system.query('SELECT id, id * 2 AS twice FROM goods WHERE id > 10') AS b ON a.id = b.id ORDER BY 1",
        "SELECT id, id * 2 FROM goods WHERE id > 10 AND id < 20 ORDER BY id",
    ),
    (
        "SELECT count(*) FROM goods WHERE id IN (SELECT id FROM sealed.system.query('TABLE dear')) \
         AND price < (SELECT max(m) FROM shop.system.query('VALUES (220.5), (230.0)') AS v(m))",
        "SELECT count(*) FROM goods WHERE price > 200 AND price < 230.0",
    ),
    (
        "WITH q AS (SELECT * FROM shop.system.query('SELECT made, count(*) FROM goods GROUP BY made;')) \
         SELECT count, count(*) FROM q GROUP BY count ORDER BY 1",
        "SELECT count, count(*) FROM (SELECT made, count(*) FROM goods GROUP BY made) AS q GROUP BY count ORDER BY 1",
    ),
    (
        "SELECT r.r_name, q.id FROM tpch.tiny.region AS r JOIN \
         shop.system.query('SELECT id, name FROM goods ORDER BY id -- the first ten\n LIMIT 10') AS q \
         ON q.id = r.r_regionkey WHERE q.name <> 'it''s' ORDER BY 2",
        "SELECT r, id FROM (VALUES (1, 'AMERICA'), (2, 'ASIA'), (3, 'EUROPE'), (4, 'MIDDLE EAST')) AS v(id, r) ORDER BY 2",
    ),
];

#[test]
fn native_texts_are_tables_wherever_tables_stand() {
    let _turn = leaks::alone();
    let servers = servers();
    let mut source = servers.source.connect("shop");
    for (gateway, mut session) in servers.gateways.iter().zip(sessions()) {
        for (ours, theirs) in QUERIES {
            let found = session
                .query(ours)
                .unwrap_or_else(|error| panic!("{ours}: {error}\n{}", gateway.logs()));
            let right = source.query(theirs).expect(theirs);
            assert_eq!(found.rows, right.rows, "{ours}");
        }
        leaks::assert_nothing_left(gateway, &[&servers.source]);
    }
}

#[test]
fn what_is_wrong_with_a_native_text_is_said_with_its_place() {
    let _turn = leaks::alone();
    let servers = servers();
    for (gateway, mut session) in servers.gateways.iter().zip(sessions()) {
        let error = session
            .query("SELECT 1, * FROM shop.system.query('SELECT id, ''é'', nmae FROM goods')")
            .expect_err("there is no such column");
        assert_eq!(error.code(), "42703", "{error}");
        assert_eq!(error.field('p'), "17");
        assert_eq!(error.field('q'), "SELECT id, 'é', nmae FROM goods");
        assert!(error.field('P').is_empty());
        for (sql, code, part) in [
            (
                "SELECT * FROM shop.system.query('SELECT 1 / (id - id) FROM goods')",
                "22012",
                "division by zero",
            ),
            (
                "SELECT * FROM shop.system.query('SELECT $1::int')",
                "42P02",
                "must not have parameters",
            ),
            (
                "SELECT * FROM shop.system.query('DELETE FROM goods RETURNING id')",
                "0A000",
                "must be a SELECT",
            ),
            (
                "SELECT * FROM shop.system.query('SELECT 1; SELECT 2')",
                "42601",
                "multiple commands",
            ),
            (
                "SELECT * FROM shop.system.query('SELECT 1) AS q, (SELECT 2')",
                "42601",
                "syntax error",
            ),
            (
                "SELECT * FROM shop.system.query('SET TIME ZONE 3')",
                "0A000",
                "must be a SELECT",
            ),
            ("SELECT * FROM shop.system.query('')", "42601", "empty"),
            (
                "SELECT * FROM shop.system.query('SELECT ' || '1')",
                "22023",
                "one text constant",
            ),
            (
                "PREPARE p AS SELECT * FROM shop.system.query($1)",
                "22023",
                "one text constant",
            ),
            (
                "SELECT * FROM tpch.system.query('SELECT 1')",
                "0A000",
                "no native query language",
            ),
            (
                "SELECT * FROM absent.system.query('SELECT 1')",
                "3D000",
                "absent",
            ),
        ] {
            let error = session.query(sql).expect_err(sql);
            assert_eq!(error.code(), code, "{sql}: {error}");
            assert!(error.message().contains(part), "{sql}: {error}");
        }
        leaks::assert_nothing_left(gateway, &[&servers.source]);
    }
}

#[test]
fn what_a_native_text_sets_is_gone_with_it() {
    let _turn = leaks::alone();
    let [mut session, _] = sessions();
    for _ in 0..4 {
        session
            .query("SELECT * FROM shop.system.query('SELECT set_config(''search_path'', ''nowhere'', false)')")
            .expect("a setting is a value");
    }
    let rows = session
        .query("SELECT DISTINCT path FROM shop.system.query('SELECT current_setting(''search_path'') AS path')")
        .expect("it answers");
    assert_eq!(rows.single(), "\"$user\", public");
}
