//! Ways of reading: projections, limits, counts, keys, batches, native text.

use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type};
use datafusion::prelude::{col, lit};
use futures::TryStreamExt;

use crate::support::{Server, fails, open, read, read_all, rows, table};

#[tokio::test]
async fn projections_limits_and_counts() {
    let server = Server::shared();
    server.sql("CREATE TABLE counted AS SELECT g::int AS a, 'row ' || g AS b FROM generate_series(1, 20000) g; ALTER TABLE counted ADD PRIMARY KEY (a)").await;
    let catalog = server.catalog();
    let metadata = table(&catalog, "counted").await;
    let handle = &metadata.handle;
    for (projection, limit, expected) in [
        (vec![0, 1], None, 20_000),
        (vec![1], None, 20_000),
        (vec![1, 0], Some(5), 5),
        (vec![0], Some(15_000), 15_000),
        (vec![0], Some(0), 0),
        (vec![], None, 20_000),
        (vec![], Some(7), 7),
        (vec![], Some(0), 0),
    ] {
        let batches = read(&catalog, &metadata, handle, projection.clone(), limit)
            .await
            .unwrap();
        assert_eq!(rows(&batches), expected, "{projection:?} {limit:?}");
        assert!(
            batches
                .iter()
                .all(|batch| batch.num_rows() <= 8192 && batch.num_columns() == projection.len())
        );
    }
    let access = |handle, projection: &[usize], limit| {
        catalog.describe(handle, projection, limit).facts[0]
            .1
            .clone()
    };
    assert_eq!(access(handle, &[0], None), "binary COPY");
    assert_eq!(access(handle, &[0], Some(10)), "prepared statement");
    assert_eq!(access(handle, &[], None), "row count");

    let pushdown = catalog.pushdown().unwrap();
    let key = pushdown
        .apply_filter(&metadata, handle, &[col("a").eq(lit(4711))])
        .handle;
    assert_eq!(access(&key, &[1], None), "prepared statement");
    let batches = read(&catalog, &metadata, &key, vec![1], None)
        .await
        .unwrap();
    assert_eq!(batches[0].column(0).as_string_view().value(0), "row 4711");
    let range = pushdown
        .apply_filter(&metadata, handle, &[col("a").gt(lit(19_990))])
        .handle;
    assert_eq!(access(&range, &[1], None), "binary COPY");
    assert_eq!(
        rows(
            &read(&catalog, &metadata, &range, vec![], None)
                .await
                .unwrap()
        ),
        10
    );
    assert_eq!(
        rows(
            &read(&catalog, &metadata, &range, vec![1, 0], None)
                .await
                .unwrap()
        ),
        10
    );
}

#[tokio::test]
async fn types_that_the_client_must_look_up_do_not_stop_a_large_scan() {
    let server = Server::shared();
    server
        .sql(
            "CREATE TYPE side AS ENUM ('left', 'right'); CREATE TYPE spot AS (x int, y int);
             CREATE TABLE sided AS SELECT (ARRAY['left', 'right'])[1 + g % 2]::side AS a, ARRAY['left']::side[] AS b,
                 ROW(g, g)::spot AS c FROM generate_series(1, 200000) g",
        )
        .await;
    let catalog = server.catalog();
    let metadata = table(&catalog, "sided").await;
    let read = tokio::time::timeout(Duration::from_secs(30), read_all(&catalog, &metadata));
    assert_eq!(rows(&read.await.unwrap().unwrap()), 200_000);
}

#[tokio::test]
async fn wide_rows_make_small_batches() {
    let server = Server::shared();
    server
        .sql("CREATE TABLE wide AS SELECT repeat('x', 1000000) AS a FROM generate_series(1, 40)")
        .await;
    let catalog = server.catalog();
    let metadata = table(&catalog, "wide").await;
    for limit in [None, Some(100)] {
        let batches = read(&catalog, &metadata, &metadata.handle, vec![0], limit)
            .await
            .unwrap();
        assert_eq!(rows(&batches), 40);
        assert!(
            batches.iter().all(|batch| batch.num_rows() <= 9),
            "a batch is larger than 8 MiB"
        );
    }
}

#[tokio::test]
async fn a_table_that_changed_is_not_read_as_what_it_was() {
    let server = Server::shared();
    let catalog = server.catalog();
    server
        .sql("CREATE TABLE moving (a bigint, b int); INSERT INTO moving VALUES (1, 2)")
        .await;
    let metadata = table(&catalog, "moving").await;
    for limit in [None, Some(5)] {
        assert_eq!(
            rows(
                &read(&catalog, &metadata, &metadata.handle, vec![0], limit)
                    .await
                    .unwrap()
            ),
            1
        );
    }
    server
        .sql("ALTER TABLE moving ALTER a TYPE timestamp USING '2020-01-01'")
        .await;
    for limit in [None, Some(5)] {
        let error = fails(read(&catalog, &metadata, &metadata.handle, vec![0], limit).await);
        assert_eq!(error.code.code(), "55000", "{error:?}");
        assert!(error.message.contains("\"a\""), "{error:?}");
    }
    server.sql("ALTER TABLE moving DROP b").await;
    let error = fails(read(&catalog, &metadata, &metadata.handle, vec![1], Some(5)).await);
    assert_eq!(
        (error.code.code(), error.source_name.as_deref()),
        ("42703", Some("shop"))
    );
    assert!(error.hint.unwrap().contains("flush_metadata"));
}

#[tokio::test]
async fn native_text_is_a_table() {
    let server = Server::shared();
    let catalog = server.catalog();
    let native = catalog.passthrough().unwrap();
    for text in [
        "SELECT 1 AS a, 'x'::varchar(3) AS b, 2 AS a, 3",
        "  VALUES (1, 'x', 2, 3) ; ",
        "WITH w AS (SELECT 1, 'x', 2, 3) SELECT * FROM w -- done",
        "SELECT 1, 'x', 2, 3 /* ) ; */",
    ] {
        let metadata = native
            .query(text)
            .await
            .unwrap_or_else(|e| panic!("{text}: {e:?}"));
        let batches = read_all(&catalog, &metadata)
            .await
            .unwrap_or_else(|e| panic!("{text}: {e:?}"));
        assert_eq!(batches[0].column(0).as_primitive::<Int32Type>().value(0), 1);
        assert_eq!(batches[0].column(3).as_primitive::<Int32Type>().value(0), 3);
        assert_eq!(batches[0].column(1).as_string_view().value(0), "x");
    }
    let named = native
        .query("SELECT 1 AS a, 2 AS a, 'ä' AS t, 3")
        .await
        .unwrap();
    let names: Vec<_> = named
        .columns
        .iter()
        .map(|c| c.field.name().as_str())
        .collect();
    assert_eq!(names, ["a", "a_1", "t", "?column?"]);
    let pushed = catalog.pushdown().unwrap().apply_filter(
        &named,
        &named.handle,
        &[col("t").eq(lit("ä")), col("a_1").gt(lit(1))],
    );
    assert_eq!(
        rows(
            &read(&catalog, &named, &pushed.handle, vec![], None)
                .await
                .unwrap()
        ),
        1
    );
    assert_eq!(
        rows(
            &read(&catalog, &named, &pushed.handle, vec![2], Some(3))
                .await
                .unwrap()
        ),
        1
    );

    server.sql("CREATE TABLE precious (a int)").await;
    for (text, code) in [
        ("DROP TABLE precious", "0A000"),
        ("SELECT 1; DROP TABLE precious", "42601"),
        ("SELECT 1) AS q; DROP TABLE precious; --", "42601"),
        ("SELECT 1 /*", "42601"),
        ("INSERT INTO precious VALUES (1) RETURNING a", "0A000"),
        (
            "WITH w AS (DELETE FROM precious RETURNING a) SELECT * FROM w",
            "0A000",
        ),
        ("SELECT $1::int", "42P02"),
        ("SELECT nonsense", "42703"),
        ("", "42601"),
    ] {
        let error = fails(native.query(text).await);
        assert_eq!(error.code.code(), code, "{text}: {error:?}");
    }
    // A function that writes is stopped by the read-only transaction, and cannot lift it for others.
    server.sql("CREATE FUNCTION sneak() RETURNS int LANGUAGE sql AS 'INSERT INTO precious VALUES (1) RETURNING a'").await;
    for limit in [None, Some(1)] {
        let off = native
            .query("SELECT set_config('default_transaction_read_only', 'off', false)")
            .await
            .unwrap();
        read(&catalog, &off, &off.handle, vec![0], limit)
            .await
            .unwrap();
        let sneak = native.query("SELECT sneak()").await.unwrap();
        let error = fails(read(&catalog, &sneak, &sneak.handle, vec![0], limit).await);
        assert_eq!(error.code.code(), "25006", "{error:?}");
    }
}

#[tokio::test]
async fn a_stream_asks_nothing_before_its_first_poll() {
    let server = Server::shared();
    server
        .sql("CREATE TABLE lazy AS SELECT g::bigint AS a FROM generate_series(1, 3) g")
        .await;
    let catalog = server.catalog();
    let metadata = table(&catalog, "lazy").await;
    let stream = open(&catalog, &metadata, &metadata.handle, vec![0], None)
        .await
        .unwrap();
    server.sql("INSERT INTO lazy VALUES (4)").await;
    let batches: Vec<_> = stream.try_collect().await.unwrap();
    let values = batches[0]
        .column(0)
        .as_primitive::<Int64Type>()
        .values()
        .to_vec();
    assert_eq!(values, [1, 2, 3, 4]);
}
