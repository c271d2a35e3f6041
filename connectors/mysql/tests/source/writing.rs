//! Writing: whole or not at all, and errors with the source's own codes.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use sluice_spi::{InsertTarget, NewTable, WriteTarget};

use crate::mariadb::MariaDbServer;
use crate::support::{catalog, catalog_with, fails, lines, read_all, table, wait_until_idle};

fn batch(rows: std::ops::Range<i32>, text: &str) -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("a", DataType::Int32, true),
        Field::new("t", DataType::Utf8, true),
    ]);
    let texts = StringArray::from_iter_values(rows.clone().map(|_| text));
    RecordBatch::try_new(
        Arc::new(schema),
        vec![
            Arc::new(Int32Array::from_iter_values(rows)),
            Arc::new(texts),
        ],
    )
    .unwrap()
}

fn insert(table: &str) -> WriteTarget {
    WriteTarget::Insert(InsertTarget {
        schema: "shop".into(),
        table: table.into(),
        columns: vec!["a".into(), "t".into()],
        on_conflict: None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_statement_leaves_nothing() {
    let server = MariaDbServer::start();
    server.query(
        "CREATE TABLE target (a int PRIMARY KEY, t varchar(5) NOT NULL, CHECK (a < 100000)) CHARACTER SET utf8mb4;
         CREATE TABLE loose (a int, t text) ENGINE = MyISAM; CREATE VIEW seen AS SELECT * FROM target",
    );
    let catalog = catalog(&server);
    let writer = catalog.writer().unwrap();
    for (rows, text, code) in [
        (0..5, "too long for it", "22001"),
        (99_990..100_010, "x", "23514"),
    ] {
        let mut sink = writer.begin(insert("target")).await.unwrap();
        sink.write(batch(10..20, "fine")).await.unwrap();
        let error = fails(sink.write(batch(rows, text)).await);
        assert_eq!(
            (error.code.code(), error.source_name.as_deref()),
            (code, Some("shop"))
        );
        drop(sink);
        wait_until_idle(&server, Duration::from_secs(10)).await;
        assert_eq!(server.query("SELECT count(*) FROM target"), "0");
    }
    let mut sink = writer.begin(insert("target")).await.unwrap();
    sink.write(batch(0..20_000, "it's")).await.unwrap();
    assert_eq!(sink.commit().await.unwrap(), 20_000);
    let mut sink = writer.begin(insert("target")).await.unwrap();
    let error = fails(sink.write(batch(5..6, "x")).await);
    assert_eq!(error.code.code(), "23505");
    drop(sink);
    assert_eq!(
        fails(writer.begin(insert("loose")).await).code.code(),
        "0A000"
    );
    assert_eq!(
        fails(writer.begin(insert("seen")).await).code.code(),
        "0A000"
    );

    let new = || {
        WriteTarget::Create(NewTable::plain(
            "shop",
            "fresh",
            &batch(0..0, "").schema(),
            false,
        ))
    };
    let mut sink = writer.begin(new()).await.unwrap();
    sink.write(batch(0..10, "x")).await.unwrap();
    assert!(
        catalog
            .metadata()
            .table("shop", "fresh")
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        catalog
            .metadata()
            .tables("shop")
            .await
            .unwrap()
            .iter()
            .all(|t| !t.name.contains("sluice"))
    );
    drop(sink);
    let gone = async || server.query("SHOW TABLES LIKE '%staging%'").is_empty();
    for _ in 0..200 {
        if gone().await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(gone().await, "an abandoned table was left");

    // What a process left that died half way is dropped by the next writer.
    server.query("CREATE TABLE _sluice_staging_1_dead (a int)");
    let mut sink = writer.begin(new()).await.unwrap();
    sink.write(batch(0..3, "x")).await.unwrap();
    assert_eq!(sink.commit().await.unwrap(), 3);
    assert!(gone().await);
    let fresh = table(&catalog, "fresh").await;
    assert_eq!(
        lines(&read_all(&catalog, &fresh).await.unwrap()),
        ["0|x", "1|x", "2|x"]
    );
    wait_until_idle(&server, Duration::from_secs(10)).await;
}

#[tokio::test]
async fn a_catalog_may_forbid_writes() {
    let server = crate::support::shared();
    assert!(
        catalog_with(&server, "read_only = true")
            .writer()
            .unwrap()
            .read_only()
    );
    assert!(!catalog(&server).writer().unwrap().read_only());
}
