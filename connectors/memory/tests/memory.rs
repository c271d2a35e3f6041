//! The memory connector: the kit over every type, the limit, snapshots.

// Helpers beside the tests may unwrap as tests do.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringViewArray};
use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use futures::TryStreamExt;
use sluice_connector_memory::MemoryFactory;
use sluice_spi::conformance::{self, Fixture};
use sluice_spi::{
    Connector, ConnectorContext, ConnectorFactory, Estimate, InsertTarget, NewTable, ReadRequest,
    ScalarValue, ScanMetrics, Split, SplitRequest, TableMetadata, WriteTarget, types,
};

fn catalog(keys: &str) -> Arc<dyn Connector> {
    let context = ConnectorContext::local("memory", None);
    MemoryFactory
        .create(context, toml::from_str(keys).unwrap())
        .unwrap()
}

fn create(table: &str, columns: &SchemaRef, replace: bool) -> WriteTarget {
    WriteTarget::Create(NewTable::plain("public", table, columns, replace))
}

fn insert(table: &str, columns: &SchemaRef) -> WriteTarget {
    let columns = columns.fields().iter();
    WriteTarget::Insert(InsertTarget {
        schema: "public".into(),
        table: table.into(),
        columns: columns.map(|field| field.name().clone()).collect(),
        on_conflict: None,
    })
}

async fn write(
    connector: &dyn Connector,
    target: WriteTarget,
    batch: RecordBatch,
) -> sluice_spi::Result<u64> {
    let mut sink = connector.writer().unwrap().begin(target).await?;
    sink.write(batch).await?;
    sink.commit().await
}

/// Every type that PostgreSQL has and some that it has not.
fn every_type() -> SchemaRef {
    let item = Arc::new(Field::new("item", DataType::Int32, true));
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Int64, false),
        Field::new("b", DataType::Boolean, true),
        Field::new("i2", DataType::Int16, true),
        Field::new("i4", DataType::Int32, true),
        Field::new("u8", DataType::UInt64, true),
        Field::new("f4", DataType::Float32, true),
        Field::new("f8", DataType::Float64, true),
        Field::new("n15", DataType::Decimal128(15, 2), true),
        Field::new("n38", DataType::Decimal128(38, 0), true),
        types::tagged("n", DataType::Decimal256(76, 20), true, "numeric"),
        Field::new("t", DataType::Utf8, true),
        Field::new("tv", DataType::Utf8View, true),
        types::tagged("j", DataType::Utf8View, true, "jsonb"),
        Field::new("bytes", DataType::Binary, true),
        Field::new("d", DataType::Date32, true),
        Field::new("time", DataType::Time64(TimeUnit::Microsecond), true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new(
            "tstz",
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            true,
        ),
        Field::new("span", DataType::Interval(IntervalUnit::MonthDayNano), true),
        Field::new("list", DataType::List(item), true),
    ]))
}

fn numbers(range: std::ops::Range<i64>) -> (SchemaRef, RecordBatch) {
    let schema: SchemaRef = Arc::new(Schema::new(vec![
        Field::new("n", DataType::Int64, false),
        Field::new("t", DataType::Utf8View, true),
    ]));
    let n: ArrayRef = Arc::new(Int64Array::from_iter_values(range.clone()));
    let t: ArrayRef = Arc::new(StringViewArray::from_iter(
        range.map(|n| (n % 7 != 0).then(|| format!("a text for number {n}"))),
    ));
    (
        schema.clone(),
        RecordBatch::try_new(schema, vec![n, t]).unwrap(),
    )
}

struct NoMetrics;

impl ScanMetrics for NoMetrics {
    fn add_source_bytes(&self, _bytes: usize) {}
    fn add_count(&self, _name: &'static str, _count: usize) {}
}

async fn table(connector: &dyn Connector, name: &str) -> TableMetadata {
    connector
        .metadata()
        .table("public", name)
        .await
        .unwrap()
        .unwrap()
}

async fn splits(connector: &dyn Connector, table: &TableMetadata, query: &str) -> Vec<Split> {
    let request = SplitRequest {
        query_id: query.into(),
        parallelism: 4,
        limit: None,
    };
    connector
        .splits()
        .splits(&table.handle, &request)
        .await
        .unwrap()
}

async fn count(connector: &dyn Connector, table: &TableMetadata, splits: Vec<Split>) -> usize {
    let mut rows = 0;
    for split in splits {
        let request = ReadRequest {
            query_id: "q".into(),
            handle: table.handle.clone(),
            split,
            schema: table.arrow_schema(),
            projection: vec![0],
            limit: None,
            dynamic_filters: Vec::new(),
            snapshot: None,
            batch_rows: 1_000,
            metrics: Arc::new(NoMetrics),
        };
        let batches: Vec<RecordBatch> = connector
            .reader()
            .read(request)
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        rows += batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connector_conforms() {
    let connector = catalog("");
    let columns = every_type();
    let awkward = conformance::awkward_rows(&columns).unwrap();
    write(&*connector, create("everything", &columns, false), awkward)
        .await
        .unwrap();
    let (columns, batch) = numbers(0..70_000);
    write(&*connector, create("numbers", &columns, false), batch)
        .await
        .unwrap();
    write(
        &*connector,
        create("empty", &columns, false),
        numbers(0..0).1,
    )
    .await
    .unwrap();
    let fixture =
        Fixture::new("public", ["everything", "numbers", "empty"]).writable("public", every_type());
    conformance::check(&*connector, &fixture).await;
}

#[tokio::test]
async fn the_limit_holds_and_leaves_nothing_half_written() {
    let connector = catalog("max_size = '1MiB'");
    let (columns, batch) = numbers(0..10_000);
    write(&*connector, create("t", &columns, false), batch.clone())
        .await
        .unwrap();
    let mut sink = connector
        .writer()
        .unwrap()
        .begin(insert("t", &batch.schema()))
        .await
        .unwrap();
    let error = loop {
        if let Err(error) = sink.write(batch.clone()).await {
            break error;
        }
    };
    assert_eq!(error.code.code(), "53200");
    assert_eq!(
        error.hint.as_deref(),
        Some("Drop tables, or raise max_size in catalogs/memory.toml.")
    );
    drop(sink);
    let found = table(&*connector, "t").await;
    let all = splits(&*connector, &found, "q").await;
    assert_eq!(count(&*connector, &found, all).await, 10_000);
    // What was dropped is free again.
    for _ in 0..50 {
        assert!(
            connector
                .writer()
                .unwrap()
                .drop_table("public", "t", false)
                .await
                .unwrap()
        );
        write(&*connector, create("t", &columns, false), batch.clone())
            .await
            .unwrap();
    }
    assert!(
        connector
            .writer()
            .unwrap()
            .drop_table("public", "t", false)
            .await
            .unwrap()
    );
    assert_eq!(
        connector.ping().await.unwrap(),
        "0 bytes of tables in memory"
    );
}

#[tokio::test]
async fn a_query_sees_what_the_table_held_when_it_began() {
    let connector = catalog("");
    let (columns, batch) = numbers(0..100);
    write(&*connector, create("t", &columns, false), batch.clone())
        .await
        .unwrap();
    let found = table(&*connector, "t").await;
    let first = splits(&*connector, &found, "one").await;
    write(&*connector, insert("t", &batch.schema()), batch)
        .await
        .unwrap();
    // The other side of a self-join asks later and sees the same.
    let second = splits(&*connector, &found, "one").await;
    let later = splits(&*connector, &found, "two").await;
    assert_eq!(count(&*connector, &found, first).await, 100);
    assert_eq!(count(&*connector, &found, second).await, 100);
    assert_eq!(count(&*connector, &found, later).await, 200);
}

#[tokio::test]
async fn many_small_inserts_are_joined() {
    let connector = catalog("");
    let (columns, batch) = numbers(0..3);
    write(&*connector, create("t", &columns, false), batch.clone())
        .await
        .unwrap();
    for _ in 0..500 {
        write(&*connector, insert("t", &batch.schema()), batch.clone())
            .await
            .unwrap();
    }
    let found = table(&*connector, "t").await;
    let statistics = connector.metadata().statistics(&found).await.unwrap();
    assert_eq!(statistics.rows, Estimate::Exact(1_503));
    assert_eq!(
        statistics.columns[0].max,
        Estimate::Exact(ScalarValue::Int64(Some(2)))
    );
    assert_eq!(statistics.columns[1].nulls, Estimate::Exact(501));
    // One stored batch, not 501: a row takes tens of bytes, a batch of its own hundreds.
    let Estimate::Exact(bytes) = statistics.bytes else {
        panic!("bytes are exact")
    };
    assert!(bytes < 200_000, "{bytes}");
}

#[tokio::test]
async fn wrong_rows_and_stale_plans_are_refused() {
    let connector = catalog("");
    let (columns, batch) = numbers(0..10);
    write(&*connector, create("t", &columns, false), batch)
        .await
        .unwrap();
    let stale = table(&*connector, "t").await;
    let other: SchemaRef = Arc::new(Schema::new(vec![Field::new("x", DataType::Utf8View, true)]));
    let texts: ArrayRef = Arc::new(StringViewArray::from(vec![None, Some("a")]));
    let batch = RecordBatch::try_new(other.clone(), vec![texts]).unwrap();
    let wrong = write(&*connector, insert("t", &batch.schema()), batch.clone())
        .await
        .unwrap_err();
    assert_eq!(wrong.code.code(), "42703");
    let required: SchemaRef = Arc::new(Schema::new(vec![Field::new(
        "x",
        DataType::Utf8View,
        false,
    )]));
    let null = write(
        &*connector,
        create("strict", &required, false),
        batch.clone(),
    )
    .await
    .unwrap_err();
    assert_eq!(null.code.code(), "23502");
    write(&*connector, create("t", &other, true), batch)
        .await
        .unwrap();
    let request = SplitRequest {
        query_id: "q".into(),
        parallelism: 1,
        limit: None,
    };
    let error = connector
        .splits()
        .splits(&stale.handle, &request)
        .await
        .unwrap_err();
    assert_eq!(error.code.code(), "55000");
}
