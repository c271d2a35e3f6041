//! What the lake's tests share: a folder with files, a catalog over it, and the engine's part of a scan.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;
use parking_lot::Mutex;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use sluice_connector_lake::LakeFactory;
use sluice_spi::{
    Connector, ConnectorContext, ConnectorFactory, DynamicFilter, Expr, Pushed, ReadRequest,
    Result, ScanMetrics, Split, SplitRequest, TableHandle, TableMetadata,
};

/// Counters that a test can look at.
#[derive(Default)]
pub struct Counts {
    pub bytes: Mutex<usize>,
    pub named: Mutex<BTreeMap<&'static str, usize>>,
}

impl ScanMetrics for Counts {
    fn add_source_bytes(&self, bytes: usize) {
        *self.bytes.lock() += bytes;
    }

    fn add_count(&self, name: &'static str, count: usize) {
        *self.named.lock().entry(name).or_default() += count;
    }
}

impl Counts {
    pub fn get(&self, name: &str) -> usize {
        self.named.lock().get(name).copied().unwrap_or_default()
    }
}

/// A catalog "lake" over a folder; `more` are further keys of its file.
pub fn lake(dir: &Path, more: &str) -> Arc<dyn Connector> {
    let keys = toml::from_str(&format!("location = '{}'\n{more}", dir.display())).unwrap();
    catalog(keys).unwrap()
}

pub fn catalog(keys: toml::Table) -> Result<Arc<dyn Connector>> {
    LakeFactory.create(ConnectorContext::local("lake", None), keys)
}

/// Writes a Parquet file with `rows_per_group` rows a group, small pages and bloom filters.
pub fn write_parquet(path: &Path, batches: &[RecordBatch], rows_per_group: usize) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(rows_per_group))
        .set_data_page_row_count_limit(100)
        .set_write_batch_size(100)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_bloom_filter_enabled(true)
        .build();
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batches[0].schema(), Some(properties)).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.close().unwrap();
}

pub fn write_text(path: &Path, text: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

pub async fn table(lake: &Arc<dyn Connector>, schema: &str, name: &str) -> TableMetadata {
    lake.metadata()
        .table(schema, name)
        .await
        .unwrap()
        .expect("the table is there")
}

/// The splits for a query of their own.
pub async fn splits(
    lake: &Arc<dyn Connector>,
    handle: &TableHandle,
    parallelism: usize,
) -> Result<Vec<Split>> {
    static QUERIES: AtomicUsize = AtomicUsize::new(0);
    let query = format!("q{}", QUERIES.fetch_add(1, Ordering::Relaxed));
    splits_of(lake, handle, parallelism, &query).await
}

pub async fn splits_of(
    lake: &Arc<dyn Connector>,
    handle: &TableHandle,
    parallelism: usize,
    query: &str,
) -> Result<Vec<Split>> {
    lake.splits()
        .splits(
            handle,
            &SplitRequest {
                query_id: query.into(),
                parallelism,
                limit: None,
            },
        )
        .await
}

/// A scan as the engine runs it.
pub struct Scan {
    pub projection: Option<Vec<usize>>,
    pub filters: Vec<Expr>,
    pub dynamic: Vec<DynamicFilter>,
    pub limit: Option<usize>,
    pub parallelism: usize,
    pub pushdown: bool,
    pub counts: Arc<Counts>,
}

impl Default for Scan {
    fn default() -> Self {
        Scan {
            projection: None,
            filters: Vec::new(),
            dynamic: Vec::new(),
            limit: None,
            parallelism: 4,
            pushdown: true,
            counts: Arc::default(),
        }
    }
}

impl Scan {
    pub fn request(
        &self,
        table: &TableMetadata,
        handle: &TableHandle,
        split: Split,
    ) -> ReadRequest {
        let schema = table.arrow_schema();
        ReadRequest {
            query_id: "q".into(),
            handle: handle.clone(),
            split,
            projection: self
                .projection
                .clone()
                .unwrap_or_else(|| (0..schema.fields().len()).collect()),
            schema,
            limit: self.limit,
            dynamic_filters: self.dynamic.clone(),
            snapshot: None,
            batch_rows: 1000,
            metrics: self.counts.clone(),
        }
    }

    /// All batches, filters not yet applied by the engine; also the filters that it must apply.
    pub async fn raw(
        &self,
        lake: &Arc<dyn Connector>,
        table: &TableMetadata,
    ) -> Result<(Vec<RecordBatch>, Vec<Expr>)> {
        let mut handle = table.handle.clone();
        let mut left = self.filters.clone();
        if self.pushdown {
            let pushed = lake
                .pushdown()
                .unwrap()
                .apply_filter(table, &handle, &self.filters);
            handle = pushed.handle;
            left = left
                .into_iter()
                .zip(pushed.outcome)
                .filter(|(_, outcome)| *outcome != Pushed::Exactly)
                .map(|(filter, _)| filter)
                .collect();
        }
        let mut batches = Vec::new();
        for split in splits(lake, &handle, self.parallelism).await? {
            let request = self.request(table, &handle, split);
            let schema = request.projected_schema()?;
            let read: Vec<RecordBatch> = lake.reader().read(request)?.try_collect().await?;
            assert!(
                read.iter().all(|b| b.schema() == schema),
                "batches have the schema that was asked for"
            );
            batches.extend(read);
        }
        Ok((batches, left))
    }

    /// The rows after the engine's re-check, as sorted lines.
    pub async fn rows(&self, lake: &Arc<dyn Connector>, table: &TableMetadata) -> Vec<String> {
        let (batches, left) = self.raw(lake, table).await.unwrap();
        recheck(table.arrow_schema(), batches, left).await
    }
}

async fn recheck(schema: SchemaRef, batches: Vec<RecordBatch>, filters: Vec<Expr>) -> Vec<String> {
    let schema = batches.first().map_or(schema, |b| b.schema());
    let context = SessionContext::new();
    let provider = MemTable::try_new(schema, vec![batches]).unwrap();
    let mut frame = context.read_table(Arc::new(provider)).unwrap();
    for filter in filters {
        frame = frame.filter(filter).unwrap();
    }
    lines(&frame.collect().await.unwrap())
}

/// Rows as sorted lines of text.
pub fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let text = pretty_format_batches(batches).unwrap().to_string();
    let mut lines: Vec<String> = text
        .lines()
        .filter(|l| l.starts_with('|'))
        .skip(1)
        .map(|l| {
            l.trim_matches('|')
                .split('|')
                .map(str::trim)
                .collect::<Vec<_>>()
                .join(",")
        })
        .collect();
    lines.sort();
    lines
}
