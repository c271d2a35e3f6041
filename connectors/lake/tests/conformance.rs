//! The conformance kit over each format, with and without hive-style partitions.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use common::*;
use sluice_spi::conformance::{self, Behaviour, Fixture, awkward_rows};

/// Folders whose names are awkward themselves: no value, a blank, an accent, a quote.
const FOLDERS: [&str; 4] = [
    "year=2023/city=Bonn",
    "year=2023/city=S%C3%A3o Paulo",
    "year=-1/city=__HIVE_DEFAULT_PARTITION__",
    "year=2024/city=it's",
];
/// Each predicate reads the whole table once: this many take a few seconds a table.
const PREDICATES: usize = 600;

fn rows(types: &[(&str, DataType)]) -> RecordBatch {
    let fields: Vec<Field> = types
        .iter()
        .map(|(name, data_type)| Field::new(*name, data_type.clone(), true))
        .collect();
    awkward_rows(&Arc::new(Schema::new(fields))).unwrap()
}

/// The types that a text file can tell apart.
fn text_rows() -> RecordBatch {
    rows(&[
        ("big", DataType::Int64),
        ("double", DataType::Float64),
        ("text", DataType::Utf8),
        ("yes", DataType::Boolean),
    ])
}

fn csv(batch: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    arrow::csv::WriterBuilder::new()
        .with_header(true)
        .build(&mut bytes)
        .write(batch)
        .unwrap();
    bytes
}

fn json(batch: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = arrow::json::LineDelimitedWriter::new(&mut bytes);
    writer.write(batch).unwrap();
    writer.finish().unwrap();
    bytes
}

async fn conforms(dir: &Path, tables: &[&str]) {
    let lake = lake(dir, "");
    let fixture = Fixture::new("s", tables.iter().copied())
        .without(Behaviour::Keys, "files have no keys")
        .without(Behaviour::Writing, "a lake is read only")
        .predicates_max(PREDICATES);
    conformance::check(&*lake, &fixture).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let all = rows(&[
        ("yes", DataType::Boolean),
        ("small", DataType::Int16),
        ("int", DataType::Int32),
        ("big", DataType::Int64),
        ("unsigned", DataType::UInt64),
        ("real", DataType::Float32),
        ("double", DataType::Float64),
        ("money", DataType::Decimal128(10, 2)),
        ("wide", DataType::Decimal128(38, 6)),
        ("text", DataType::Utf8),
        ("bytes", DataType::Binary),
        ("day", DataType::Date32),
        ("time", DataType::Time64(TimeUnit::Microsecond)),
        ("local", DataType::Timestamp(TimeUnit::Microsecond, None)),
        ("at", utc),
    ]);
    // Small row groups, so that statistics and bloom filters have something to rule out.
    write_parquet(
        &dir.path().join("s/everything/a.parquet"),
        std::slice::from_ref(&all),
        5,
    );
    write_parquet(
        &dir.path().join("s/everything/b.parquet"),
        std::slice::from_ref(&all),
        1_000,
    );
    for folder in FOLDERS {
        let narrow = all.project(&[3, 6, 9]).unwrap();
        write_parquet(
            &dir.path().join("s/parted").join(folder).join("a.parquet"),
            &[narrow],
            7,
        );
    }
    conforms(dir.path(), &["everything", "parted"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = csv(&text_rows());
    write_text(&dir.path().join("s/plain.csv"), &bytes);
    for folder in FOLDERS {
        write_text(
            &dir.path().join("s/parted").join(folder).join("a.csv"),
            &bytes,
        );
    }
    conforms(dir.path(), &["plain", "parted"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = json(&text_rows());
    write_text(&dir.path().join("s/plain.json"), &bytes);
    for folder in FOLDERS {
        write_text(
            &dir.path().join("s/parted").join(folder).join("a.json"),
            &bytes,
        );
    }
    conforms(dir.path(), &["plain", "parted"]).await;
}
