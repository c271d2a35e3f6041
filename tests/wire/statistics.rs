//! `SHOW STATS FOR table`.

use crate::session;

#[test]
fn figures_of_a_table_are_shown() {
    let mut session = session();
    let names =
        "column_name data_size distinct_values_count nulls_fraction row_count low_value high_value";
    for table in ["tiny.nation", "tpch.tiny.nation", "\"tpch\".Tiny.NATION"] {
        let shown = session
            .query(&format!("SHOW STATS FOR {table}"))
            .unwrap_or_else(|error| panic!("{table}: {error}"));
        let columns: Vec<&str> = shown.columns.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(columns.join(" "), names);
        assert_eq!(shown.rows.len(), 5, "four columns and the table");
        assert_eq!(shown.value(0, "column_name"), Some("n_nationkey"));
        assert_eq!(shown.value(0, "distinct_values_count"), Some("25"));
        assert_eq!(shown.value(0, "nulls_fraction"), Some("0"));
        assert_eq!(shown.value(0, "low_value"), Some("0"));
        assert_eq!(shown.value(0, "high_value"), Some("24"));
        assert_eq!(shown.value(4, "column_name"), None);
        assert_eq!(shown.value(4, "row_count"), Some("25"));
    }
    for (sql, code) in [
        ("SHOW STATS FOR tiny.absent", "42P01"),
        ("SHOW STATS FOR tiny.nation + 1", "42601"),
        ("SHOW STATS FOR", "42601"),
        ("SHOW STATS FOR pg_catalog.pg_class", "42809"),
    ] {
        let error = session.query(sql).expect_err(sql);
        assert_eq!(error.code(), code, "{sql}: {error}");
    }
}
