//! The catalog that holds it all together, and the factory that makes it from its file.

use std::sync::Arc;

use async_trait::async_trait;
use mysql_async::Params;
use sluice_spi::{
    Connector, ConnectorContext, ConnectorFactory, Metadata, Passthrough, Pushdown, Reader, Result,
    RunTimeKeys, ScanDescription, SplitSource, TableHandle, Writer, parse_section,
};

use crate::catalog_sql::{self, number};
use crate::config::MySqlConfig;
use crate::facts::Facts;
use crate::metadata::CatalogMetadata;
use crate::passthrough::NativeQueries;
use crate::pool::Source;
use crate::pushdown::{LIST_ITEMS, Rules};
use crate::read::{Access, ReadPlan, TableReader};
use crate::render::{Constants, Query, select};
use crate::splits::TableSplits;
use crate::write::TableWriter;

/// Makes `mysql` catalogs.
#[derive(Debug, Default, Clone, Copy)]
pub struct MySqlFactory;

impl ConnectorFactory for MySqlFactory {
    fn name(&self) -> &'static str {
        "mysql"
    }

    fn create(&self, context: ConnectorContext, keys: toml::Table) -> Result<Arc<dyn Connector>> {
        let place = format!("catalogs/{}.toml", context.catalog);
        let config: MySqlConfig = parse_section(&place, keys)?;
        let keys = RunTimeKeys {
            max_keys: LIST_ITEMS,
            wait: config.dynamic_filter_wait,
        };
        let target = config.target(&context)?;
        let budget = context
            .connections
            .budget(&context.catalog, target.max_connections);
        let rules = Rules {
            transfer_cost: target.transfer_cost,
        };
        let source = Arc::new(Source::new(&context.catalog, target, budget));
        Ok(Arc::new(MySqlCatalog {
            metadata: CatalogMetadata {
                source: source.clone(),
            },
            splits: TableSplits {
                source: source.clone(),
            },
            reader: TableReader {
                source: source.clone(),
            },
            native: NativeQueries {
                source: source.clone(),
            },
            writer: TableWriter {
                source: source.clone(),
            },
            rules,
            keys,
            source,
        }))
    }

    fn reference(&self) -> schemars::Schema {
        schemars::schema_for!(MySqlConfig)
    }
}

/// One MySQL or MariaDB server.
struct MySqlCatalog {
    source: Arc<Source>,
    metadata: CatalogMetadata,
    splits: TableSplits,
    reader: TableReader,
    native: NativeQueries,
    writer: TableWriter,
    rules: Rules,
    keys: RunTimeKeys,
}

#[async_trait]
impl Connector for MySqlCatalog {
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
            Access::Few => "prepared statement",
            Access::Rows => "binary protocol",
        });
        let query = Query {
            relation: &handle.relation,
            facts: &facts,
            projection,
            limit,
            range: None,
        };
        ScanDescription {
            // With the constants in it, as a person would type it.
            remote_sql: select(&query, Constants::Inline).map(|sql| sql.text),
            facts: access
                .map(|access| ("Access".to_owned(), access.to_owned()))
                .into_iter()
                .collect(),
        }
    }

    fn pushdown(&self) -> Option<&dyn Pushdown> {
        Some(&self.rules)
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

    async fn ping(&self) -> Result<String> {
        let sql = catalog_sql::table_count();
        let answers = self.source.ask(&[(&sql, Params::Empty)]).await?;
        let tables = answers
            .rows
            .first()
            .and_then(|rows| number(rows.first()?, 0))
            .unwrap_or_default();
        Ok(format!(
            "{}, {tables} table{}",
            answers.version,
            if tables == 1 { "" } else { "s" }
        ))
    }
}
