//! Writing: whole or not at all, and errors with the source's own codes.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    BooleanArray, Date32Array, Float64Array, Int32Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
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
async fn dates_and_numbers_come_back_as_they_were_written() {
    let server = crate::support::shared();
    let catalog = catalog(&server);
    let writer = catalog.writer().unwrap();
    let utc = Some("UTC".into());
    let fields = Schema::new(vec![
        Field::new("day", DataType::Date32, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new(
            "moment",
            DataType::Timestamp(TimeUnit::Microsecond, utc),
            true,
        ),
        Field::new("d", DataType::Float64, true),
        Field::new("ok", DataType::Boolean, true),
    ]);
    let (first, last) = (-719_162, 2_932_896);
    let micros = |day: i32, more: i64| i64::from(day) * 86_400_000_000 + more;
    let rows = |days: Vec<i32>| {
        let count = days.len();
        let at = days.iter().map(|day| micros(*day, 1)).collect::<Vec<_>>();
        let moments = vec![2_147_483_647_999_999; count];
        RecordBatch::try_new(
            Arc::new(fields.clone()),
            vec![
                Arc::new(Date32Array::from(days)),
                Arc::new(TimestampMicrosecondArray::from(at)),
                Arc::new(TimestampMicrosecondArray::from(moments).with_timezone("UTC")),
                Arc::new(Float64Array::from(vec![f64::MIN_POSITIVE; count])),
                Arc::new(BooleanArray::from(vec![true; count])),
            ],
        )
        .unwrap()
    };
    let target = || WriteTarget::Create(NewTable::plain("shop", "edges", &fields, true));
    let mut sink = writer.begin(target()).await.unwrap();
    sink.write(rows(vec![first, -1, last])).await.unwrap();
    assert_eq!(sink.commit().await.unwrap(), 3);
    let edges = table(&catalog, "edges").await;
    let end = "2038-01-19T03:14:07.999999Z|2.2250738585072014e-308|1";
    assert_eq!(
        lines(&read_all(&catalog, &edges).await.unwrap()),
        [
            format!("0001-01-01|0001-01-01T00:00:00.000001|{end}"),
            format!("1969-12-31|1969-12-31T00:00:00.000001|{end}"),
            format!("9999-12-31|9999-12-31T00:00:00.000001|{end}"),
        ]
    );
    // Earlier and later days are an error, and never another day.
    for day in [first - 1, last + 1] {
        let mut sink = writer.begin(target()).await.unwrap();
        let error = fails(sink.write(rows(vec![day])).await);
        assert_eq!(error.code.code(), "22003", "{error:?}");
    }
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
