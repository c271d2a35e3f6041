//! Which way a read goes, native queries, and splits.

use datafusion::prelude::{col, lit};
use futures::TryStreamExt;
use sluice_spi::SplitRequest;

use crate::support::{
    catalog, catalog_with, fails, lines, open, read, read_all, rows, shared, table,
};

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_are_read_once_each() {
    let server = shared();
    server.query(
        "CREATE OR REPLACE TABLE lots (id int PRIMARY KEY, t varchar(40)) CHARACTER SET utf8mb4;
         INSERT INTO lots SELECT seq, concat('row ', seq) FROM seq_1_to_200000",
    );
    for (keys, splits) in [("", 1), ("consistency = 'relaxed'", 4)] {
        let catalog = catalog_with(&server, keys);
        let lots = table(&catalog, "lots").await;
        let request = SplitRequest {
            query_id: "q".into(),
            parallelism: 4,
            limit: None,
        };
        let found = catalog
            .splits()
            .splits(&lots.handle, &request)
            .await
            .unwrap();
        assert_eq!(found.len(), splits, "{keys}");
        let read = read_all(&catalog, &lots).await.unwrap();
        assert_eq!(rows(&read), 200_000);
        let mut ids: Vec<i32> = read
            .iter()
            .flat_map(|batch| {
                let ids = arrow::array::AsArray::as_primitive::<arrow::datatypes::Int32Type>(
                    batch.column(0),
                );
                ids.values().to_vec()
            })
            .collect();
        ids.sort_unstable();
        assert!(ids.iter().copied().eq(1..=200_000));
        let count = crate::support::read(&catalog, &lots, &lots.handle, vec![], None)
            .await
            .unwrap();
        assert_eq!(rows(&count), 200_000);
    }
}

#[tokio::test]
async fn a_key_is_looked_up_by_a_prepared_statement() {
    let server = shared();
    server.query(
        "CREATE OR REPLACE TABLE looked (id int PRIMARY KEY, code varchar(9) NOT NULL UNIQUE) CHARACTER SET utf8mb4;
         INSERT INTO looked VALUES (1, 'a'), (2, 'B')",
    );
    let catalog = catalog(&server);
    let looked = table(&catalog, "looked").await;
    for (filter, found) in [
        (col("id").eq(lit(2)), vec!["2|B"]),
        (col("code").eq(lit("a")), vec!["1|a"]),
        (col("code").eq(lit("A")), vec![]),
    ] {
        let handle = catalog
            .pushdown()
            .unwrap()
            .apply_filter(&looked, &looked.handle, &[filter])
            .handle;
        let description = catalog.describe(&handle, &[0, 1], None);
        assert_eq!(description.facts[0].1, "prepared statement");
        let read = read(&catalog, &looked, &handle, vec![0, 1], None)
            .await
            .unwrap();
        assert_eq!(lines(&read), found);
    }
}

#[tokio::test]
async fn native_text_is_a_table() {
    let server = shared();
    let catalog = catalog(&server);
    let native = catalog.passthrough().unwrap();
    let query = native
        .query("SELECT 1 AS a, 'it''s' AS b, 1.50 AS c, now(3) AS d -- a comment")
        .await
        .unwrap();
    let read = read(&catalog, &query, &query.handle, vec![1, 2], None)
        .await
        .unwrap();
    assert_eq!(lines(&read), ["it's|1.50"]);
    for (text, code) in [
        ("", "42601"),
        ("SELEC 1", "42601"),
        ("SELECT * FROM no_such_table", "42P01"),
        ("SELECT ?", "42P02"),
        ("SELECT 1; SELECT 2", "42601"),
        ("DROP TABLE looked", "0A000"),
        ("INSERT INTO looked VALUES (1)", "0A000"),
        ("SELECT 1 AS a, 2 AS A", "42701"),
        ("SELECT 1) AS q UNION (SELECT 2", "42601"),
    ] {
        let error = fails(native.query(text).await);
        assert_eq!(error.code.code(), code, "{text}: {error:?}");
        assert_eq!(error.source_name.as_deref(), Some("shop"));
    }
}

#[tokio::test]
async fn a_limit_ends_at_the_source() {
    let server = shared();
    server
        .query("CREATE OR REPLACE TABLE ten (a int); INSERT INTO ten SELECT seq FROM seq_1_to_10");
    let catalog = catalog(&server);
    let ten = table(&catalog, "ten").await;
    let stream = open(&catalog, &ten, &ten.handle, vec![0], Some(3))
        .await
        .unwrap();
    let batches: Vec<_> = stream.try_collect().await.unwrap();
    assert_eq!(rows(&batches), 3);
    let count = read(&catalog, &ten, &ten.handle, vec![], Some(4))
        .await
        .unwrap();
    assert_eq!(rows(&count), 4);
    let statistics = catalog.metadata().statistics(&ten).await.unwrap();
    assert!(matches!(statistics.rows, sluice_spi::Estimate::About(_)));
}
