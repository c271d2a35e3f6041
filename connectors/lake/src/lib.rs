//! The `lake` connector: Parquet, CSV and newline-delimited JSON files, on local disks and in S3.
//!
//! A folder (or a single file) is a table, `key=value` folders below it are partition columns. Parquet
//! is read by DataFusion's own reader, one split at a time, so that row-group, page and bloom-filter
//! pruning, run-time filters and late decoding are exactly the engine's. A split names the files as they
//! were when it was planned; a file that changed since is an error, never a mixture.
//!
//! Relies on `object_store` for bytes. Never writes, and never knows a table format with a log (those
//! are connectors of their own).

mod config;
mod error;
mod infer;
mod layout;
mod location;
mod metadata;
mod partitions;
mod payload;
mod predicate;
mod pushdown;
mod read;
mod schema;
mod splits;
mod statistics;
mod store;

use std::sync::Arc;

use async_trait::async_trait;
use sluice_spi::{
    Connector, ConnectorContext, ConnectorFactory, Metadata, Pushdown, Reader, Result,
    ScanDescription, SplitSource, TableHandle, parse_section,
};

pub use config::{ColumnConfig, FileFormat, LakeConfig, S3Config, TableConfig, TextOptions};
use layout::Layout;
use payload::TablePayload;
use pushdown::FilePruning;
use read::LakeReader;
use store::Stores;

/// Makes `lake` catalogs.
#[derive(Debug, Default)]
pub struct LakeFactory;

impl ConnectorFactory for LakeFactory {
    fn name(&self) -> &'static str {
        "lake"
    }

    fn create(&self, context: ConnectorContext, keys: toml::Table) -> Result<Arc<dyn Connector>> {
        let place = format!("catalogs/{}.toml", context.catalog);
        let config: LakeConfig = parse_section(&place, keys)?;
        Ok(Arc::new(LakeConnector::new(&context, config)?))
    }

    fn reference(&self) -> schemars::Schema {
        schemars::schema_for!(LakeConfig)
    }
}

/// One configured lake.
pub struct LakeConnector {
    pub(crate) catalog: String,
    pub(crate) layout: Layout,
    pub(crate) stores: Arc<Stores>,
    reader: LakeReader,
    pruning: FilePruning,
}

impl LakeConnector {
    /// A catalog from its configuration. Does no I/O.
    pub fn new(context: &ConnectorContext, config: LakeConfig) -> Result<Self> {
        let stores = Arc::new(Stores::new(config.s3.clone(), &context.catalog));
        let layout = Layout::new(context, &config, stores.clone())?;
        Ok(LakeConnector {
            catalog: context.catalog.clone(),
            layout,
            reader: LakeReader::new(stores.clone()),
            stores,
            pruning: FilePruning,
        })
    }
}

#[async_trait]
impl Connector for LakeConnector {
    fn metadata(&self) -> &dyn Metadata {
        self
    }

    fn splits(&self) -> &dyn SplitSource {
        self
    }

    fn reader(&self) -> &dyn Reader {
        &self.reader
    }

    fn pushdown(&self) -> Option<&dyn Pushdown> {
        Some(&self.pruning)
    }

    fn describe(
        &self,
        handle: &TableHandle,
        _projection: &[usize],
        limit: Option<usize>,
    ) -> ScanDescription {
        let mut facts = Vec::new();
        let mut fact = |name: &str, value: String| facts.push((name.to_owned(), value));
        if let Ok(payload) = TablePayload::of(handle) {
            fact("Format", payload.format.to_string());
            fact(
                "Location",
                payload
                    .location()
                    .map(|l| l.to_string())
                    .unwrap_or_default(),
            );
            fact(
                "Files",
                format!(
                    "{} ({} bytes) when last listed",
                    payload.files, payload.bytes
                ),
            );
            let (by_folder, by_statistics): (Vec<_>, Vec<_>) = handle
                .relation
                .predicates()
                .iter()
                .partition(|p| payload.is_partition_predicate(p));
            let words = |list: Vec<&sluice_spi::ScalarExpr>| {
                list.iter()
                    .map(|p| p.to_expr().to_string())
                    .collect::<Vec<_>>()
                    .join(" AND ")
            };
            if !by_folder.is_empty() {
                fact("Partition filter", words(by_folder));
            }
            if !by_statistics.is_empty() {
                fact("Pruning predicate", words(by_statistics));
            }
        }
        if let Some(limit) = limit {
            fact("Limit", limit.to_string());
        }
        ScanDescription {
            remote_sql: None,
            facts,
        }
    }

    // A file never changes, and a query lists each table once.
    fn reads_agree(&self) -> bool {
        true
    }

    async fn ping(&self) -> Result<String> {
        let schemas = self.layout.schemas().await?;
        Ok(match schemas.len() {
            1 => format!("1 schema at {}", self.layout.place()),
            n => format!("{n} schemas at {}", self.layout.place()),
        })
    }
}
