//! Tables in pieces, and the snapshot that the pieces share.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use datafusion::prelude::{col, lit};
use futures::{StreamExt, TryStreamExt};
use sluice_spi::{Connector, Result, SnapshotToken, Split, TableHandle, TableMetadata};

use crate::support::{Server, fails, open_split, read_all, rows, snapshot, splits, table};

/// Small pieces, so that small tables have several.
const SMALL: &str = "split_size = '64KiB'";

const PIECES: &str = "
CREATE TABLE heap AS SELECT g::bigint AS id, g % 10 AS ten, repeat('x', 100) AS pad FROM generate_series(1, 20000) g;
ALTER TABLE heap ADD PRIMARY KEY (id); CREATE INDEX ON heap (pad, id); ANALYZE heap;
CREATE TABLE parts (id bigint, ten int, pad text) PARTITION BY RANGE (id);
CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (5000);
CREATE TABLE parts_more (pad text, gone int, ten int, id bigint); ALTER TABLE parts_more DROP gone;
ALTER TABLE parts ATTACH PARTITION parts_more FOR VALUES FROM (5000) TO (15000);
CREATE TABLE parts_high PARTITION OF parts FOR VALUES FROM (15000) TO (30000) PARTITION BY LIST (ten);
CREATE TABLE parts_high_odd PARTITION OF parts_high FOR VALUES IN (1, 3, 5, 7, 9);
CREATE TABLE parts_high_even PARTITION OF parts_high DEFAULT;
INSERT INTO parts (id, ten, pad) SELECT id, ten, pad FROM heap; ANALYZE parts;
CREATE TABLE heir (more int) INHERITS (heap);
INSERT INTO heir (id, ten, pad, more) SELECT id + 100000, ten, pad, 1 FROM parts;
CREATE TABLE alone AS SELECT id, ten, pad FROM parts; ANALYZE alone;
CREATE MATERIALIZED VIEW kept AS SELECT id, ten, pad FROM alone;
CREATE VIEW shown AS SELECT * FROM alone;
CREATE TABLE tiny AS SELECT 1::bigint AS id;
CREATE TABLE pad_index AS SELECT * FROM alone; CREATE INDEX ON pad_index (id); ANALYZE pad_index;";

async fn piece(
    catalog: &Arc<dyn Connector>,
    metadata: &TableMetadata,
    handle: &TableHandle,
    split: Split,
    token: Option<SnapshotToken>,
) -> Result<Vec<i64>> {
    let batches: Vec<_> = open_split(catalog, metadata, handle, split, vec![0], None, token)?
        .try_collect()
        .await?;
    Ok(batches
        .iter()
        .flat_map(|batch| {
            batch
                .column(0)
                .as_primitive::<Int64Type>()
                .values()
                .to_vec()
        })
        .collect())
}

/// Every id, read in `pieces` under one snapshot.
async fn ids(
    catalog: &Arc<dyn Connector>,
    metadata: &TableMetadata,
    handle: &TableHandle,
    pieces: &[Split],
) -> Result<Vec<i64>> {
    let snapshot = snapshot(catalog, handle, pieces).await?.unwrap();
    let reads = pieces.iter().map(|split| {
        piece(
            catalog,
            metadata,
            handle,
            split.clone(),
            Some(snapshot.token.clone()),
        )
    });
    let mut ids = futures::future::try_join_all(reads).await?.concat();
    ids.sort_unstable();
    Ok(ids)
}

#[tokio::test(flavor = "multi_thread")]
async fn large_tables_are_read_in_pieces_and_each_row_once() {
    let server = Server::start();
    server.sql(PIECES).await;
    let catalog = server.catalog_with(SMALL);
    for (name, several, count) in [
        ("heap", true, 40_000),
        ("parts", true, 20_000),
        ("parts_high", true, 5_001),
        ("alone", true, 20_000),
        ("kept", true, 20_000),
        ("shown", false, 20_000),
        ("tiny", false, 1),
    ] {
        let metadata = table(&catalog, name).await;
        let handle = &metadata.handle;
        for parallelism in [1, 2, 3, 7, 100] {
            let pieces = splits(&catalog, handle, parallelism, None).await.unwrap();
            let expected = if several && parallelism > 1 { 2 } else { 1 };
            assert!(
                pieces.len() >= expected && pieces.len() <= parallelism.min(15),
                "{name} {parallelism}: {pieces:?}"
            );
            if expected > 1 {
                assert!(
                    pieces.iter().all(|split| split.bytes > Some(0)),
                    "{pieces:?}"
                );
            }
            let ids = ids(&catalog, &metadata, handle, &pieces).await.unwrap();
            assert_eq!(ids.len(), count, "{name} {parallelism}");
            assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{name} twice");
        }
        let limited = splits(&catalog, handle, 8, Some(10)).await.unwrap();
        assert_eq!(limited.len(), 1, "a LIMIT reads one piece");
    }
    server.wait_until_idle(Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_decide_how_a_table_is_cut() {
    let server = Server::start();
    server.sql(PIECES).await;
    let catalog = server.catalog_with(SMALL);
    let pushdown = catalog.pushdown().unwrap();
    for (name, filter, cut, expected) in [
        ("alone", col("ten").eq(lit(3)), true, 2_000),
        ("pad_index", col("id").lt(lit(50i64)), false, 49),
        ("pad_index", col("id").gt(lit(50i64)), true, 19_950),
        ("parts", col("id").lt(lit(5_000i64)), true, 4_999),
        ("parts", col("id").gt_eq(lit(12_000i64)), true, 8_001),
        ("parts", col("id").gt(lit(90_000i64)), false, 0),
        ("heap", col("id").eq(lit(7i64)), false, 1),
    ] {
        let metadata = table(&catalog, name).await;
        let handle = pushdown
            .apply_filter(&metadata, &metadata.handle, std::slice::from_ref(&filter))
            .handle;
        let pieces = splits(&catalog, &handle, 4, None).await.unwrap();
        assert_eq!(pieces.len() > 1, cut, "{name} {filter}: {pieces:?}");
        let ids = ids(&catalog, &metadata, &handle, &pieces).await.unwrap();
        assert_eq!(ids.len(), expected, "{name} {filter}");
    }
    // Only partitions that may hold such rows are read.
    let metadata = table(&catalog, "parts").await;
    let filter = col("id").gt_eq(lit(12_000i64));
    let handle = pushdown
        .apply_filter(&metadata, &metadata.handle, &[filter])
        .handle;
    let pieces = splits(&catalog, &handle, 4, None).await.unwrap();
    assert!(
        pieces
            .iter()
            .all(|split| !split.label.contains("parts_low")),
        "{pieces:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_the_catalog_are_obeyed() {
    let server = Server::start();
    server.sql(PIECES).await;
    for (keys, most) in [
        ("splits = 'off'", 1),
        ("snapshot = 'statement'", 1),
        ("max_connections = 1", 1),
        ("max_connections = 3", 2),
        ("split_size = '1GiB'", 1),
    ] {
        let size = if keys.contains("split_size") {
            ""
        } else {
            SMALL
        };
        let catalog = server.catalog_with(&format!("{keys}\n{size}"));
        let metadata = table(&catalog, "alone").await;
        let pieces = splits(&catalog, &metadata.handle, 8, None).await.unwrap();
        assert_eq!(pieces.len(), most, "{keys}");
        let opened = snapshot(&catalog, &metadata.handle, &pieces).await.unwrap();
        let shares =
            !keys.contains("statement") && !keys.contains("= 1\n") && keys != "max_connections = 1";
        assert_eq!(opened.is_some(), shares, "{keys}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_see_one_moment() {
    let server = Server::start();
    server.sql(PIECES).await;
    let catalog = server.catalog_with(SMALL);
    let metadata = table(&catalog, "alone").await;
    let pieces = splits(&catalog, &metadata.handle, 4, None).await.unwrap();
    assert_eq!(pieces.len(), 4);
    let opened = snapshot(&catalog, &metadata.handle, &pieces)
        .await
        .unwrap()
        .unwrap();
    // Rows move to other pages, go and come while the pieces are read one after the other.
    let mut seen = Vec::new();
    for (number, split) in pieces.iter().enumerate() {
        server
            .sql(&format!(
                "UPDATE alone SET ten = ten + 1; DELETE FROM alone WHERE id % 7 = {number}; \
                 INSERT INTO alone SELECT g + 1000000 * {}, 0, 'new' FROM generate_series(1, 3000) g",
                number + 1
            ))
            .await;
        let token = Some(opened.token.clone());
        seen.extend(
            piece(&catalog, &metadata, &metadata.handle, split.clone(), token)
                .await
                .unwrap(),
        );
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=20_000).collect::<Vec<i64>>());
    drop(opened);
    server.wait_until_idle(Duration::from_secs(2)).await;
    let open: i64 = server
        .client()
        .await
        .query_one("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sluice' AND xact_start IS NOT NULL", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(open, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_rewritten_meanwhile_is_planned_again() {
    let server = Server::start();
    server.sql(PIECES).await;
    let catalog = server.catalog_with(SMALL);
    let metadata = table(&catalog, "parts").await;
    let handle = &metadata.handle;
    let pieces = splits(&catalog, handle, 4, None).await.unwrap();

    // A partition more than the splits were cut from.
    server
        .sql("CREATE TABLE parts_late PARTITION OF parts FOR VALUES FROM (30000) TO (40000); INSERT INTO parts VALUES (35000, 1, 'late')")
        .await;
    let error = fails(snapshot(&catalog, handle, &pieces).await);
    assert!(error.stale_plan, "{error:?}");
    catalog.forget();
    let pieces = splits(&catalog, handle, 4, None).await.unwrap();
    assert_eq!(
        ids(&catalog, &metadata, handle, &pieces)
            .await
            .unwrap()
            .len(),
        20_001
    );

    // VACUUM FULL would move rows between the pieces: it has to wait, and pieces that come after it in the
    // queue give up rather than wait for it.
    let opened = snapshot(&catalog, handle, &pieces).await.unwrap().unwrap();
    let client = server.client().await;
    let vacuum = tokio::spawn(async move { client.batch_execute("VACUUM FULL parts_more").await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!vacuum.is_finished(), "the snapshot's lock keeps it out");
    let touched = pieces
        .iter()
        .find(|split| split.label.contains("parts_more"))
        .unwrap();
    let token = Some(opened.token.clone());
    let error = fails(piece(&catalog, &metadata, handle, touched.clone(), token).await);
    assert!(error.stale_plan, "{error:?}");
    assert_eq!(error.code.code(), "55P03");
    drop(opened);
    vacuum.await.unwrap().unwrap();

    // A dropped partition.
    let pieces = splits(&catalog, handle, 4, None).await.unwrap();
    server.sql("DROP TABLE parts_late").await;
    let error = fails(snapshot(&catalog, handle, &pieces).await);
    assert!(error.stale_plan, "{error:?}");
    catalog.forget();
    let pieces = splits(&catalog, handle, 4, None).await.unwrap();
    assert_eq!(
        ids(&catalog, &metadata, handle, &pieces)
            .await
            .unwrap()
            .len(),
        20_000
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_read_the_parent_reads_it_whole() {
    let server = Server::start();
    server.sql(PIECES).await;
    server
        .sql(
            "CREATE ROLE clerk LOGIN PASSWORD 'clerk'; GRANT USAGE ON SCHEMA public TO clerk;
             GRANT SELECT ON parts, alone TO clerk; GRANT SELECT (id) ON kept TO clerk;
             CREATE TABLE guarded AS SELECT * FROM alone; GRANT SELECT ON guarded TO clerk;
             ALTER TABLE guarded ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON guarded USING (id <= 100)",
        )
        .await;
    let url = format!("postgresql://clerk@127.0.0.1:{}/postgres", server.port);
    let catalog = server.catalog_with(&format!("url = '{url}'\npassword = 'clerk'\n{SMALL}"));
    for (name, pieces, expected) in [
        ("parts", 1, 20_000),
        ("alone", 4, 20_000),
        ("guarded", 1, 100),
        ("kept", 1, 20_000),
    ] {
        let metadata = table(&catalog, name).await;
        let cut = splits(&catalog, &metadata.handle, 4, None).await.unwrap();
        assert_eq!(cut.len(), pieces, "{name}");
        let ids = ids(&catalog, &metadata, &metadata.handle, &cut)
            .await
            .unwrap();
        assert_eq!(ids.len(), expected, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_queries_at_once_leave_connections_to_read_with() {
    let server = Server::start();
    server.sql(PIECES).await;
    let catalog = server.catalog_with(&format!("max_connections = 4\n{SMALL}"));
    let metadata = Arc::new(table(&catalog, "alone").await);
    let queries = (0..12).map(|_| {
        let (catalog, metadata) = (catalog.clone(), metadata.clone());
        tokio::spawn(async move {
            let pieces = splits(&catalog, &metadata.handle, 8, None).await.unwrap();
            ids(&catalog, &metadata, &metadata.handle, &pieces)
                .await
                .unwrap()
                .len()
        })
    });
    let queries: Vec<_> = queries.collect();
    let client = server.client().await;
    while !queries.iter().all(tokio::task::JoinHandle::is_finished) {
        assert!(server.sessions(&client).await <= 4);
    }
    for query in queries {
        assert_eq!(query.await.unwrap(), 20_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_gone_is_an_error_and_leaves_nothing_open() {
    let server = Server::start();
    server.sql(PIECES).await;
    let catalog = server.catalog_with(SMALL);
    let metadata = table(&catalog, "alone").await;
    let pieces = splits(&catalog, &metadata.handle, 2, None).await.unwrap();
    let opened = snapshot(&catalog, &metadata.handle, &pieces)
        .await
        .unwrap()
        .unwrap();
    let token = opened.token.clone();
    let stream = open_split(
        &catalog,
        &metadata,
        &metadata.handle,
        pieces[0].clone(),
        vec![0, 1, 2],
        None,
        Some(token.clone()),
    );
    let mut stream = stream.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    drop(opened);
    tokio::time::sleep(Duration::from_millis(100)).await;
    // The reader that has it keeps it; a new one comes too late.
    let rest: Vec<_> = stream.try_collect().await.unwrap();
    assert!(rows(&rest) > 0);
    server.wait_until_idle(Duration::from_secs(2)).await;
    let error = fails(
        piece(
            &catalog,
            &metadata,
            &metadata.handle,
            pieces[1].clone(),
            Some(token),
        )
        .await,
    );
    assert_eq!(error.code.code(), "55000", "{error:?}");
    assert!(error.hint.is_some());
    server.wait_until_idle(Duration::from_secs(2)).await;
    assert_eq!(rows(&read_all(&catalog, &metadata).await.unwrap()), 20_000);
}
