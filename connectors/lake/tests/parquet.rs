//! Parquet: pruning drops no row, evolving and broken files, partitions, limits, empty projections.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::{DataType, Field, Int32Type, Schema, TimeUnit};
use common::*;
use datafusion::logical_expr::Operator;
use datafusion::logical_expr::{Expr, col, lit};
use datafusion::physical_expr::expressions::{
    DynamicFilterPhysicalExpr, binary, col as physical_col, lit as physical_lit,
};
use futures::StreamExt;
use sluice_spi::{ColumnStatistics, Estimate, Pushed, ScalarValue, SqlState};

/// Values at every edge, in groups of 1,000 rows: by group all NULL, all NaN, negative, long text, ….
fn adversarial() -> RecordBatch {
    let rows = 10_000i64;
    let group = |i: i64| i / 1_000;
    let ids: Int64Array = (0..rows).collect();
    let floats: Float64Array = (0..rows)
        .map(|i| match (group(i), i % 10) {
            (0, _) => None,
            (1, _) => Some(f64::NAN),
            (2, 0) => Some(-f64::NAN),
            (3, 0) => Some(f64::NAN),
            (4, _) => Some(if i % 2 == 0 { -0.0 } else { 0.0 }),
            (5, 0) => Some(f64::INFINITY),
            (5, 1) => Some(f64::NEG_INFINITY),
            _ => Some(i as f64 / 100.0),
        })
        .collect();
    // Statistics of long text are cut off; these differ only behind the cut.
    let texts: StringArray = (0..rows)
        .map(|i| match group(i) {
            0 => None,
            1 => Some(format!("{}{i:05}", "x".repeat(100))),
            2 => Some("\u{10ffff}".repeat(30)),
            3 => Some(String::new()),
            _ => Some(format!("v{:05} ", i)),
        })
        .collect();
    let decimals = (0..rows)
        .map(|i| {
            if group(i) == 0 {
                None
            } else {
                Some((i as i128 - 5_000) * 1_000_000_007)
            }
        })
        .collect::<Decimal128Array>()
        .with_precision_and_scale(38, 6)
        .unwrap();
    let times: TimestampMillisecondArray =
        (0..rows).map(|i| Some((i - 8_000) * 86_400_000)).collect();
    let days: Date32Array = (0..rows).map(|i| Some((i - 9_000) as i32)).collect();
    let unsigned: UInt64Array = (0..rows).map(|i| Some(u64::MAX - i as u64)).collect();
    let kinds: DictionaryArray<Int32Type> = (0..rows)
        .map(|i| ["a", "b", "c"][(group(i) % 3) as usize])
        .collect();
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(ids) as ArrayRef, false),
        ("f", Arc::new(floats), true),
        ("t", Arc::new(texts), true),
        ("d", Arc::new(decimals), true),
        ("at", Arc::new(times.with_timezone("Europe/Berlin")), true),
        ("day", Arc::new(days), true),
        ("u", Arc::new(unsigned), true),
        ("k", Arc::new(kinds), true),
    ])
    .unwrap()
}

#[tokio::test]
async fn pushdown_drops_no_row_that_the_engine_keeps() {
    let dir = tempfile::tempdir().unwrap();
    write_parquet(&dir.path().join("s/t/a.parquet"), &[adversarial()], 1_000);
    let lake = lake(dir.path(), "");
    let table = table(&lake, "s", "t").await;
    let types: Vec<String> = table
        .columns
        .iter()
        .map(|c| c.field.data_type().to_string())
        .collect();
    assert_eq!(
        types,
        [
            "Int64",
            "Float64",
            "Utf8View",
            "Decimal128(38, 6)",
            "Timestamp(µs, \"UTC\")",
            "Date32",
            "UInt64",
            "Utf8View"
        ]
    );

    let text = |s: &str| lit(ScalarValue::Utf8View(Some(s.to_owned())));
    let micros = |v: i64| {
        lit(ScalarValue::TimestampMicrosecond(
            Some(v),
            Some("UTC".into()),
        ))
    };
    let decimal = |v: i128| lit(ScalarValue::Decimal128(Some(v), 38, 6));
    let far = "x".repeat(100);
    let cases: Vec<Expr> = vec![
        col("id").eq(lit(4_321i64)),
        col("id").in_list(vec![lit(1i64), lit(9_999i64), lit(-5i64)], false),
        col("id")
            .gt(lit(9_000i64))
            .and(col("id").lt_eq(lit(9_002i64))),
        col("f").gt(lit(99.0)),
        col("f").lt(lit(0.0)),
        col("f").gt_eq(lit(f64::INFINITY)),
        col("f").eq(lit(0.0)),
        col("f").eq(lit(-0.0)),
        col("f").eq(lit(f64::NAN)),
        col("f").not_eq(lit(70.0)),
        col("f").eq(lit(70.0)),
        col("f").is_null(),
        col("f").is_not_null(),
        col("f").between(lit(70.0), lit(f64::NAN)),
        Expr::Not(Box::new(col("f").lt(lit(98.0)))),
        col("t").eq(text(&format!("{far}01234"))),
        col("t").gt(text(&far)),
        col("t").gt_eq(text(&format!("{far}01998"))),
        col("t").eq(text("")),
        col("t").eq(text(&"\u{10ffff}".repeat(30))),
        col("t").lt(text("v05000")),
        col("t").like(text("v0500%")),
        col("t").like(text("%9 ")),
        col("t").not_like(text("v%")),
        col("t").is_null(),
        col("d").eq(decimal(-4_000 * 1_000_000_007)),
        col("d").lt(decimal(-3_999 * 1_000_000_007)),
        col("d").gt(decimal(4_998 * 1_000_000_007)),
        col("at").lt(micros(-7_990 * 86_400_000_000)),
        col("at").eq(micros(0)),
        col("at").gt(micros(1)),
        col("day").lt(lit(ScalarValue::Date32(Some(-8_990)))),
        col("u").gt(lit(u64::MAX - 3)),
        col("u").eq(lit(u64::MAX - 9_999)),
        col("k").eq(text("b")),
        col("k").not_eq(text("b")).and(col("id").lt(lit(10i64))),
        col("id")
            .lt(lit(3i64))
            .or(col("day").gt(lit(ScalarValue::Date32(Some(997))))),
        col("t").is_null().and(col("f").is_null()),
    ];
    for filter in cases {
        let scan = |pushdown| Scan {
            filters: vec![filter.clone()],
            projection: None,
            pushdown,
            ..Scan::default()
        };
        let with = scan(true).rows(&lake, &table).await;
        let without = scan(false).rows(&lake, &table).await;
        assert_eq!(with, without, "{filter}");
    }
}

#[tokio::test]
async fn statistics_pages_and_bloom_filters_prune() {
    let dir = tempfile::tempdir().unwrap();
    // Ids are spread over all groups, so that only the bloom filters tell them apart.
    let spread: Int64Array = (0..10_000i64).map(|i| (i * 7_919) % 1_000_003).collect();
    let ids: Int64Array = (0..10_000i64).collect();
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(ids) as ArrayRef),
        ("spread", Arc::new(spread) as ArrayRef),
    ])
    .unwrap();
    write_parquet(&dir.path().join("s/t.parquet"), &[batch], 1_000);
    let lake = lake(dir.path(), "");
    let table = table(&lake, "s", "t").await;

    let scan = Scan {
        filters: vec![col("id").eq(lit(4_321i64))],
        ..Scan::default()
    };
    let (batches, left) = scan.raw(&lake, &table).await.unwrap();
    assert_eq!(
        left.len(),
        1,
        "statistics are a superset, so the engine checks again"
    );
    assert_eq!(
        batches.iter().map(RecordBatch::num_rows).sum::<usize>(),
        100,
        "one page"
    );
    assert_eq!(scan.counts.get("row groups pruned"), 9);
    assert_eq!(scan.counts.get("pages pruned"), 9);
    assert!(*scan.counts.bytes.lock() > 0);

    let scan = Scan {
        filters: vec![col("spread").eq(lit(500_000i64))],
        ..Scan::default()
    };
    let (batches, _) = scan.raw(&lake, &table).await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
    assert!(
        scan.counts.get("row groups pruned by bloom filter") > 0,
        "{:?}",
        scan.counts.named
    );
}

#[tokio::test]
async fn a_run_time_filter_prunes_and_filters_rows() {
    let dir = tempfile::tempdir().unwrap();
    let rows = 400_000i64;
    // Spread, so that no page can be ruled out by its edges alone.
    let keys: Int64Array = (0..rows).map(|i| (i * 7_919) % 1_000).collect();
    let payload: StringArray = (0..rows).map(|i| Some(format!("row {i}"))).collect();
    let batch = RecordBatch::try_from_iter([
        ("key", Arc::new(keys) as ArrayRef),
        ("payload", Arc::new(payload) as ArrayRef),
    ])
    .unwrap();
    write_parquet(&dir.path().join("s/t.parquet"), &[batch], 200_000);
    let lake = lake(dir.path(), "");
    let table = table(&lake, "s", "t").await;
    let schema = table.arrow_schema();
    let key = physical_col("key", &schema).unwrap();
    let dynamic = Arc::new(DynamicFilterPhysicalExpr::new(
        vec![key.clone()],
        physical_lit(true),
    ));
    let run = async |counts: &Arc<Counts>| {
        let scan = Scan {
            dynamic: vec![dynamic.clone()],
            counts: counts.clone(),
            ..Scan::default()
        };
        let (batches, _) = scan.raw(&lake, &table).await.unwrap();
        batches.iter().map(RecordBatch::num_rows).sum::<usize>()
    };
    assert_eq!(run(&Arc::default()).await, rows as usize, "not known yet");
    let is_five = binary(key.clone(), Operator::Eq, physical_lit(5i64), &schema).unwrap();
    dynamic.update(is_five).unwrap();
    let counts = Arc::default();
    assert_eq!(run(&counts).await, 400, "selective: tested row by row");
    assert!(
        counts.get("rows filtered at the source") > 0,
        "{:?}",
        counts.named
    );
    dynamic
        .update(binary(key.clone(), Operator::Lt, physical_lit(900i64), &schema).unwrap())
        .unwrap();
    assert_eq!(
        run(&Arc::default()).await,
        rows as usize,
        "not selective: left to the operator above"
    );
    dynamic
        .update(binary(key, Operator::Gt, physical_lit(5_000i64), &schema).unwrap())
        .unwrap();
    assert_eq!(run(&Arc::default()).await, 0, "row groups pruned");
}

#[tokio::test]
async fn files_of_one_table_may_differ_within_reason() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("s/t");
    let write = |name: &str, columns: Vec<(&str, ArrayRef)>| {
        write_parquet(
            &folder.join(name),
            &[RecordBatch::try_from_iter(columns).unwrap()],
            1_000,
        );
    };
    write(
        "1.parquet",
        vec![
            ("a", Arc::new(Int32Array::from(vec![1])) as _),
            ("b", Arc::new(StringArray::from(vec!["x"])) as _),
        ],
    );
    write(
        "2.parquet",
        vec![
            ("c", Arc::new(Float32Array::from(vec![0.5])) as _),
            ("a", Arc::new(Int64Array::from(vec![1i64 << 40])) as _),
        ],
    );
    write_text(&folder.join("_SUCCESS"), "");
    let lake = lake(dir.path(), "");
    let described = table(&lake, "s", "t").await;
    assert_eq!(
        described
            .columns
            .iter()
            .map(|c| (c.field.name().as_str(), c.field.is_nullable()))
            .collect::<Vec<_>>(),
        [("a", false), ("b", true), ("c", true)]
    );
    assert_eq!(
        Scan::default().rows(&lake, &described).await,
        ["1,x,", "1099511627776,,0.5"]
    );
    let filtered = Scan {
        filters: vec![col("a").gt(lit(5i64))],
        ..Scan::default()
    };
    assert_eq!(
        filtered.rows(&lake, &described).await,
        ["1099511627776,,0.5"]
    );
    let filtered = Scan {
        filters: vec![col("b").is_null()],
        ..Scan::default()
    };
    assert_eq!(
        filtered.rows(&lake, &described).await,
        ["1099511627776,,0.5"]
    );

    // A file that came after the description, and does not fit it.
    write(
        "3.parquet",
        vec![("a", Arc::new(StringArray::from(vec!["one"])) as _)],
    );
    let error = Scan::default().raw(&lake, &described).await.unwrap_err();
    assert_eq!(error.code, SqlState::DATATYPE_MISMATCH, "{error:?}");
    assert!(error.message.contains("3.parquet"), "{error}");
    let error = lake.metadata().table("s", "t").await.unwrap_err();
    assert_eq!(error.code, SqlState::DATATYPE_MISMATCH);
    assert!(
        error.message.contains("1.parquet") && error.message.contains("3.parquet"),
        "{error}"
    );
}

#[tokio::test]
async fn broken_and_changed_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let batch = RecordBatch::try_from_iter([(
        "a",
        Arc::new((0..50_000i64).collect::<Int64Array>()) as ArrayRef,
    )])
    .unwrap();
    let good = dir.path().join("s/t/good.parquet");
    write_parquet(&good, std::slice::from_ref(&batch), 10_000);
    write_text(
        &dir.path().join("s/broken/bad.parquet"),
        "PAR1 this is not Parquet",
    );
    write_text(&dir.path().join("s/empty/.hidden"), "");
    let mut cut = std::fs::read(&good).unwrap();
    // A footer that is whole over data that is not.
    for byte in &mut cut[4..1_000] {
        *byte = 0xff;
    }
    write_text(&dir.path().join("s/torn/torn.parquet"), &cut);
    let lake = lake(dir.path(), "");

    let error = lake.metadata().table("s", "broken").await.unwrap_err();
    assert_eq!(error.code, SqlState::DATA_CORRUPTED, "{error:?}");
    assert!(error.message.contains("s/broken/bad.parquet"), "{error}");
    let error = lake.metadata().table("s", "empty").await.unwrap_err();
    assert!(
        error.message.ends_with("/s/empty\" holds no data files"),
        "{error}"
    );
    let torn = table(&lake, "s", "torn").await;
    let error = Scan::default().raw(&lake, &torn).await.unwrap_err();
    assert_eq!(error.code, SqlState::DATA_CORRUPTED, "{error:?}");
    assert!(error.message.contains("torn.parquet"), "{error}");
    assert!(lake.metadata().table("s", "none").await.unwrap().is_none());

    // Planned, then replaced, then removed.
    let described = table(&lake, "s", "t").await;
    let planned = splits(&lake, &described.handle, 1).await.unwrap();
    let read = async || {
        let request = Scan::default().request(&described, &described.handle, planned[0].clone());
        lake.reader().read(request).unwrap().next().await.unwrap()
    };
    assert!(read().await.is_ok());
    write_parquet(&good, &[batch.slice(0, 40_000)], 10_000);
    let error = read().await.unwrap_err();
    assert_eq!(
        error.code,
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        "{error:?}"
    );
    assert!(error.message.contains("good.parquet\" changed"), "{error}");
    std::fs::remove_file(&good).unwrap();
    let error = read().await.unwrap_err();
    assert!(
        error
            .message
            .contains("good.parquet\" does not exist any more"),
        "{error}"
    );
    assert!(error.hint.is_some() && error.source_name.as_deref() == Some("lake"));
}

#[tokio::test]
async fn folders_are_columns() {
    let dir = tempfile::tempdir().unwrap();
    for (year, city, id) in [
        ("2023", "Bonn", 1),
        ("2023", "S%C3%A3o Paulo", 2),
        ("2024", "__HIVE_DEFAULT_PARTITION__", 3),
    ] {
        let batch =
            RecordBatch::try_from_iter([("id", Arc::new(Int32Array::from(vec![id])) as ArrayRef)])
                .unwrap();
        let path = format!("s/t/year={year}/city={city}/x.parquet");
        write_parquet(&dir.path().join(path), &[batch], 1_000);
    }
    let lake = lake(dir.path(), "");
    let described = table(&lake, "s", "t").await;
    assert_eq!(
        described.arrow_schema().field(1).data_type(),
        &DataType::Int64
    );
    assert_eq!(
        Scan::default().rows(&lake, &described).await,
        ["1,2023,Bonn", "2,2023,São Paulo", "3,2024,"]
    );

    let filters = vec![
        col("year").eq(lit(2023i64)),
        col("city").is_not_null(),
        col("id").gt(lit(1)),
    ];
    let outcome = lake
        .pushdown()
        .unwrap()
        .apply_filter(&described, &described.handle, &filters)
        .outcome;
    assert!(
        matches!(
            outcome.as_slice(),
            [Pushed::Exactly, Pushed::Exactly, Pushed::Superset(_)]
        ),
        "{outcome:?}"
    );
    let scan = Scan {
        filters,
        ..Scan::default()
    };
    assert_eq!(scan.rows(&lake, &described).await, ["2,2023,São Paulo"]);
    assert_eq!(scan.counts.get("files"), 2, "one folder was never opened");
    // A column out of order, and one that is only a folder.
    let scan = Scan {
        projection: Some(vec![2, 0]),
        ..Scan::default()
    };
    assert_eq!(
        scan.rows(&lake, &described).await,
        [",3", "Bonn,1", "São Paulo,2"]
    );
    let mixed = Scan {
        filters: vec![col("year").eq(lit(2024i64)).or(col("id").eq(lit(1)))],
        ..Scan::default()
    };
    assert_eq!(
        mixed.rows(&lake, &described).await,
        ["1,2023,Bonn", "3,2024,"]
    );
}

#[tokio::test]
async fn limits_counts_and_statistics() {
    let dir = tempfile::tempdir().unwrap();
    let batch = adversarial();
    write_parquet(
        &dir.path().join("s/t/a.parquet"),
        std::slice::from_ref(&batch),
        1_000,
    );
    write_parquet(&dir.path().join("s/t/b.parquet"), &[batch], 1_000);
    let gaps = Int64Array::from(vec![Some(7), None, Some(3)]);
    let gaps = RecordBatch::try_from_iter([("v", Arc::new(gaps) as ArrayRef)]).unwrap();
    write_parquet(&dir.path().join("s/gaps.parquet"), &[gaps], 1_000);
    let lake = lake(dir.path(), "");
    let described = table(&lake, "s", "t").await;

    let none = Scan {
        projection: Some(Vec::new()),
        ..Scan::default()
    };
    let (batches, _) = none.raw(&lake, &described).await.unwrap();
    assert_eq!(
        batches.iter().map(RecordBatch::num_rows).sum::<usize>(),
        20_000
    );
    assert_eq!(
        *none.counts.bytes.lock(),
        0,
        "from the footers, which are cached"
    );

    let limited = Scan {
        limit: Some(1_234),
        parallelism: 1,
        ..Scan::default()
    };
    let (batches, _) = limited.raw(&lake, &described).await.unwrap();
    assert_eq!(
        batches.iter().map(RecordBatch::num_rows).sum::<usize>(),
        1_234
    );

    let statistics = lake.metadata().statistics(&described).await.unwrap();
    assert_eq!(statistics.rows, Estimate::Exact(20_000));
    let id = &statistics.columns[0];
    assert_eq!(
        (&id.min, &id.max),
        (
            &Estimate::Exact(ScalarValue::Int64(Some(0))),
            &Estimate::Exact(ScalarValue::Int64(Some(9_999)))
        )
    );
    assert!(
        matches!(&statistics.columns[4].min, Estimate::Exact(ScalarValue::TimestampMicrosecond(Some(v), Some(_))) if *v == -8_000 * 86_400_000_000),
        "{:?}",
        statistics.columns[4]
    );
    assert!(
        matches!(
            statistics.columns[1].max,
            Estimate::About(_) | Estimate::Unknown
        ),
        "NaN is not in it"
    );
    let described = table(&lake, "s", "gaps").await;
    let statistics = lake.metadata().statistics(&described).await.unwrap();
    assert!(
        matches!(
            &statistics.columns[0],
            ColumnStatistics {
                nulls: Estimate::About(1),
                min: Estimate::Exact(ScalarValue::Int64(Some(3))),
                max: Estimate::Exact(ScalarValue::Int64(Some(7))),
                ..
            }
        ),
        "{statistics:?}"
    );
}

#[tokio::test]
async fn splits_cover_every_row_once() {
    let dir = tempfile::tempdir().unwrap();
    // 40 row groups of incompressible data, some 40 MB.
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new(
            "at",
            DataType::Timestamp(TimeUnit::Microsecond, None),
            false,
        ),
    ]));
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as i64 >> 8
    };
    let batches: Vec<RecordBatch> = (0..40i64)
        .map(|g| {
            let ids: Int64Array = (0..60_000).map(|i| g * 60_000 + i).collect();
            let at: TimestampMicrosecondArray = (0..60_000).map(|_| Some(noise())).collect();
            RecordBatch::try_new(schema.clone(), vec![Arc::new(ids), Arc::new(at)]).unwrap()
        })
        .collect();
    write_parquet(&dir.path().join("s/t.parquet"), &batches, 60_000);
    let lake = lake(dir.path(), "");
    let described = table(&lake, "s", "t").await;
    for parallelism in [1, 4, 64] {
        let cut = splits(&lake, &described.handle, parallelism).await.unwrap();
        assert!(cut.len() >= 2, "{parallelism}: {}", cut.len());
        assert_eq!(cut.iter().map(|s| s.rows.unwrap()).sum::<u64>(), 2_400_000);
        let mut ids: Vec<i64> = Vec::new();
        for split in cut {
            let scan = Scan {
                projection: Some(vec![0]),
                ..Scan::default()
            };
            let rows = split.rows.unwrap();
            let mut read = lake
                .reader()
                .read(scan.request(&described, &described.handle, split))
                .unwrap();
            let before = ids.len();
            while let Some(batch) = read.next().await {
                ids.extend(
                    batch
                        .unwrap()
                        .column(0)
                        .as_primitive::<arrow::datatypes::Int64Type>()
                        .values()
                        .iter(),
                );
            }
            assert_eq!((ids.len() - before) as u64, rows);
        }
        ids.sort_unstable();
        assert!(ids.iter().enumerate().all(|(i, id)| i as i64 == *id) && ids.len() == 2_400_000);
    }
}

/// A plan may read a table twice: a file that comes in between is in neither read, or in both.
#[tokio::test]
async fn a_query_lists_a_table_once() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str| {
        let ids: Int64Array = (0..10).collect();
        let batch = RecordBatch::try_from_iter([("id", Arc::new(ids) as ArrayRef)]).unwrap();
        write_parquet(&dir.path().join("s/t").join(name), &[batch], 10);
    };
    write("a.parquet");
    let lake = lake(dir.path(), "");
    let found = table(&lake, "s", "t").await;
    let first = splits_of(&lake, &found.handle, 1, "one").await.unwrap();
    write("b.parquet");
    let again = splits_of(&lake, &found.handle, 1, "one").await.unwrap();
    let other = splits_of(&lake, &found.handle, 1, "two").await.unwrap();
    let payloads = |splits: &[sluice_spi::Split]| -> Vec<Vec<u8>> {
        splits.iter().map(|split| split.payload.clone()).collect()
    };
    assert_eq!(payloads(&first), payloads(&again));
    assert_ne!(payloads(&first), payloads(&other));
}
