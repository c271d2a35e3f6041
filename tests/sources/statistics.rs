//! `ANALYZE catalog.schema.table` and what `SHOW STATS FOR` says afterwards.

use sluice_tests::Connection;
use sluice_tests::client::Rows;
use sluice_tests::leaks;

use crate::{servers, sessions};

fn shown(session: &mut Connection, table: &str) -> Rows {
    session
        .query(&format!("SHOW STATS FOR {table}"))
        .unwrap_or_else(|error| panic!("{table}: {error}"))
}

#[test]
fn a_source_is_asked_to_analyze() {
    let _turn = leaks::alone();
    let mut source = servers().source.connect("shop");
    source
        .query(
            "CREATE TABLE fresh (id int, word text) WITH (autovacuum_enabled = off);
             INSERT INTO fresh SELECT i, CASE WHEN i % 2 = 0 THEN 'even' END FROM generate_series(1, 4000) AS i",
        )
        .expect("the table can be made");
    let known = "SELECT count(*) FROM pg_stats WHERE tablename = 'fresh'";
    for mut session in sessions() {
        let before = shown(&mut session, "shop.public.fresh");
        let done = session
            .query("ANALYZE shop.public.fresh")
            .expect("ANALYZE runs");
        assert_eq!(done.tag, "ANALYZE");
        assert_eq!(source.query(known).expect("it answers").single(), "2");
        let after = shown(&mut session, "shop.public.fresh");
        assert_eq!(after.value(0, "distinct_values_count"), Some("4000"));
        assert_eq!(after.value(1, "distinct_values_count"), Some("1"));
        assert_eq!(after.value(1, "nulls_fraction"), Some("0.5"));
        assert_eq!(after.value(2, "row_count"), Some("4000"));
        assert_eq!(before.value(0, "distinct_values_count"), None);
        source
            .query("DELETE FROM pg_statistic WHERE starelid = 'fresh'::regclass")
            .expect("the superuser may");
    }
}

#[test]
fn a_table_is_read_where_its_source_is_not_to_be_asked() {
    let _turn = leaks::alone();
    let mut source = servers().source.connect("shop");
    for mut session in sessions() {
        // A sealed catalog, a role without the right, a view, a source without statistics of its own.
        for table in ["sealed.public.goods", "lent.public.goods"] {
            session
                .query(&format!("ANALYZE {table}"))
                .expect("ANALYZE runs");
            let stats = shown(&mut session, table);
            for (row, name, distinct, nulls, low, high) in [
                (0, "id", Some("about 1000"), "0", Some("1"), Some("1000")),
                (1, "name", Some("about 50"), "0", None, None),
                (
                    2,
                    "price",
                    Some("about 750"),
                    "0.25",
                    Some("0.25"),
                    Some("249.75"),
                ),
                (
                    3,
                    "made",
                    Some("about 100"),
                    "0",
                    Some("2024-01-01"),
                    Some("2024-04-09"),
                ),
                (4, "share", None, "0", Some("1"), Some("1000")),
            ] {
                let value = |column| stats.value(row, column);
                assert_eq!(value("column_name"), Some(name));
                assert_eq!(value("nulls_fraction"), Some(nulls), "{table}.{name}");
                let bound = |text: Option<&str>| text.map(|t| t.trim_end_matches(".0").to_owned());
                assert_eq!(bound(value("low_value")).as_deref(), low, "{table}.{name}");
                assert_eq!(
                    bound(value("high_value")).as_deref(),
                    high,
                    "{table}.{name}"
                );
                let close = distinct.map(|text| text.trim_start_matches("about ").parse::<f64>());
                match (value("distinct_values_count"), close) {
                    (None, None) => {}
                    (Some(found), Some(Ok(right))) => {
                        let found: f64 = found.parse().expect("a count is a number");
                        assert!(
                            (found / right - 1.0).abs() < 0.05,
                            "{table}.{name}: {found}"
                        );
                    }
                    other => panic!("{table}.{name}: {other:?}"),
                }
            }
            assert_eq!(stats.value(5, "row_count"), Some("1000"));
        }
        session
            .query("ANALYZE shop.public.dear")
            .expect("a view can be read");
        assert_eq!(
            shown(&mut session, "shop.public.dear").value(2, "row_count"),
            Some("150")
        );
        session
            .query("ANALYZE tpch.tiny.nation")
            .expect("ANALYZE runs");
        assert_eq!(
            shown(&mut session, "tpch.tiny.nation").value(4, "row_count"),
            Some("25")
        );
    }
    let analyzed =
        "SELECT count(*) FROM pg_stats WHERE tablename = 'goods' AND most_common_vals IS NOT NULL";
    assert_eq!(
        source.query(analyzed).expect("it answers").single(),
        "0",
        "nobody may have analyzed it"
    );
}

#[test]
fn what_analyze_does_not_know_it_refuses() {
    let _turn = leaks::alone();
    let [mut session, _] = sessions();
    for (sql, code) in [
        ("ANALYZE", "0A000"),
        ("ANALYZE shop.public.goods (id)", "0A000"),
        ("ANALYZE shop.public.absent", "42P01"),
        ("ANALYZE pg_catalog.pg_class", "42809"),
        ("ANALYZE a.b.c.d", "42601"),
        ("EXPLAIN ANALYZE ANALYZE shop.public.goods", "0A000"),
    ] {
        let error = session.query(sql).expect_err(sql);
        assert_eq!(error.code(), code, "{sql}: {error}");
    }
}
