//! The catalog that holds it all together, and the factory that makes it from its file.

use std::sync::Arc;

use async_trait::async_trait;
use sluice_spi::{
    Connector, ConnectorContext, ConnectorFactory, Metadata, Passthrough, Pushdown, Reader, Result,
    RunTimeKeys, ScanDescription, Snapshots, SplitSource, TableHandle, Writer, parse_section,
};

use crate::catalog_sql;
use crate::config::PostgresConfig;
use crate::facts::Facts;
use crate::layout::Layouts;
use crate::metadata::{CatalogMetadata, ask};
use crate::passthrough::NativeQueries;
use crate::pool::Source;
use crate::pushdown::{LIST_ITEMS, PushdownRules};
use crate::read::{Access, ReadPlan, TableReader};
use crate::render::{Constants, select};
use crate::snapshot::SharedSnapshots;
use crate::splits::TableSplits;
use crate::write::TableWriter;

/// Makes `postgres` catalogs.
#[derive(Debug, Default, Clone, Copy)]
pub struct PostgresFactory;

impl ConnectorFactory for PostgresFactory {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn create(&self, context: ConnectorContext, keys: toml::Table) -> Result<Arc<dyn Connector>> {
        let place = format!("catalogs/{}.toml", context.catalog);
        let config: PostgresConfig = parse_section(&place, keys)?;
        let keys = RunTimeKeys {
            max_keys: LIST_ITEMS,
            wait: config.dynamic_filter_wait,
        };
        let transfer_cost = config.transfer_cost;
        let target = config.target(&context)?;
        let limits = target.splits;
        let source = Arc::new(Source::new(
            &context.catalog,
            target,
            context.connections.as_ref(),
        )?);
        let layouts = Arc::new(Layouts::new(source.clone()));
        Ok(Arc::new(PostgresCatalog {
            splits: TableSplits::new(source.clone(), layouts, limits),
            snapshots: SharedSnapshots {
                source: source.clone(),
            },
            metadata: CatalogMetadata {
                source: source.clone(),
                read_only: config.read_only,
            },
            reader: TableReader {
                source: source.clone(),
            },
            native: NativeQueries {
                source: source.clone(),
            },
            pushdown: PushdownRules { transfer_cost },
            keys,
            writer: TableWriter {
                source: source.clone(),
                read_only: config.read_only,
                allow_execute: config.allow_execute,
            },
            source,
        }))
    }

    fn reference(&self) -> schemars::Schema {
        schemars::schema_for!(PostgresConfig)
    }
}

/// One PostgreSQL database.
struct PostgresCatalog {
    source: Arc<Source>,
    metadata: CatalogMetadata,
    splits: TableSplits,
    snapshots: SharedSnapshots,
    reader: TableReader,
    native: NativeQueries,
    pushdown: PushdownRules,
    keys: RunTimeKeys,
    writer: TableWriter,
}

#[async_trait]
impl Connector for PostgresCatalog {
    fn metadata(&self) -> &dyn Metadata {
        &self.metadata
    }

    fn splits(&self) -> &dyn SplitSource {
        &self.splits
    }

    fn reader(&self) -> &dyn Reader {
        &self.reader
    }

    fn describe(
        &self,
        handle: &TableHandle,
        projection: &[usize],
        limit: Option<usize>,
    ) -> ScanDescription {
        let Ok(facts) = Facts::of(handle) else {
            return ScanDescription::default();
        };
        let access = ReadPlan::new(handle, projection, limit, None).map(|plan| match plan.access {
            Access::Count => "row count",
            Access::Prepared => "prepared statement",
            Access::Copy => "binary COPY",
        });
        ScanDescription {
            // With the constants in it, as a person would type it.
            remote_sql: select(
                &handle.relation,
                &facts,
                projection,
                limit,
                Constants::Inline,
            )
            .map(|sql| sql.text),
            facts: access
                .map(|access| ("Access".to_owned(), access.to_owned()))
                .into_iter()
                .collect(),
        }
    }

    fn pushdown(&self) -> Option<&dyn Pushdown> {
        Some(&self.pushdown)
    }

    fn run_time_keys(&self) -> Option<RunTimeKeys> {
        Some(self.keys)
    }

    fn writer(&self) -> Option<&dyn Writer> {
        Some(&self.writer)
    }

    fn passthrough(&self) -> Option<&dyn Passthrough> {
        Some(&self.native)
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        Some(&self.snapshots)
    }

    fn reads_agree(&self) -> bool {
        self.source.shares_snapshots()
    }

    fn forget(&self) {
        self.splits.forget();
    }

    async fn ping(&self) -> Result<String> {
        let row = ask(&self.source, |client| async move {
            client.query_one(catalog_sql::DATABASE, &[]).await
        })
        .await?;
        let (version, tables): (String, i64) = (row.get(1), row.get(2));
        // "15.14 (Debian 15.14-0+deb12u1)"
        let version = version.split(' ').next().unwrap_or(&version);
        Ok(format!(
            "PostgreSQL {version}, {tables} table{}",
            if tables == 1 { "" } else { "s" }
        ))
    }
}
