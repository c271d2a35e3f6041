//! The `tpch` connector: the TPC-H benchmark's eight tables, generated while they are read.
//!
//! A schema is a scale factor (`tiny`, `sf1`, `sf0_1`, …). Rows are the ones that the TPC's dbgen makes,
//! the same on every machine and in every run, so workers generate their own splits and nothing is sent.
//!
//! Relies on `tpchgen` for the values. Never keeps a row, opens a file or asks another process.

mod column;
mod comments;
mod read;
mod scale;
mod statistics;
mod tables;

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use sluice_spi::{
    BatchStream, ColumnMetadata, Connector, ConnectorContext, ConnectorFactory, Error, Generated,
    Metadata, ReadRequest, Reader, RelColumn, Relation, Result, ScanDescription, Split,
    SplitRequest, SplitSource, SqlState, TableHandle, TableKind, TableMetadata, TableStatistics,
    TableSummary, parse_section,
};

use crate::scale::Scale;
use crate::tables::{TABLES, Table};

/// A catalog of generated TPC-H data. Any scale factor is a schema: `tiny` (0.01), `sf1`, `sf10`,
/// `sf0_1` (0.1) and so on.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TpchConfig {
    /// The schemas that a listing shows. Others are found when a statement names them.
    pub schemas: Vec<String>,
}

impl Default for TpchConfig {
    fn default() -> Self {
        let schemas = ["tiny", "sf0_1", "sf1", "sf10", "sf100"];
        TpchConfig {
            schemas: schemas.map(str::to_owned).to_vec(),
        }
    }
}

/// Makes `tpch` catalogs.
#[derive(Debug, Clone, Copy, Default)]
pub struct TpchFactory;

impl ConnectorFactory for TpchFactory {
    fn name(&self) -> &'static str {
        "tpch"
    }

    fn create(&self, context: ConnectorContext, keys: toml::Table) -> Result<Arc<dyn Connector>> {
        let place = format!("catalogs/{}.toml", context.catalog);
        let config: TpchConfig = parse_section(&place, keys)?;
        if let Some(wrong) = config
            .schemas
            .iter()
            .find(|name| Scale::from_schema(name).is_none())
        {
            return Err(Error::new(
                SqlState::CONFIG_FILE_ERROR,
                format!("{place}: \"{wrong}\" in \"schemas\" is no scale factor"),
            )
            .with_hint("Write tiny, sf1, sf10, or sf0_1 for 0.1."));
        }
        Ok(Arc::new(Tpch {
            catalog: context.catalog,
            config,
        }))
    }

    fn reference(&self) -> schemars::Schema {
        schemars::schema_for!(TpchConfig)
    }
}

/// A configured catalog.
struct Tpch {
    catalog: String,
    config: TpchConfig,
}

/// The table that a handle reads. Everything is in its relation's names.
fn target(handle: &TableHandle) -> Result<(Table, Scale)> {
    if let Relation::Scan { schema, table, .. } = &handle.relation
        && let (Some(scale), Some(table)) = (Scale::from_schema(schema), Table::from_name(table))
    {
        return Ok((table, scale));
    }
    Err(Error::internal("not a handle of the tpch connector"))
}

fn describe_table(catalog: &str, schema: &str, table: Table) -> TableMetadata {
    let columns: Vec<ColumnMetadata> = table
        .columns()
        .iter()
        .map(|(name, kind)| ColumnMetadata {
            field: Arc::new(kind.field(name)),
            native_type: kind.native_type(),
            comment: None,
            default: None,
            generated: Generated::No,
        })
        .collect();
    let relation = Relation::Scan {
        schema: schema.to_owned(),
        table: table.name().to_owned(),
        columns: columns
            .iter()
            .map(|column| RelColumn {
                name: column.field.name().clone(),
                native_type: column.native_type.clone(),
                collation: None,
                deterministic: true,
                nullable: false,
            })
            .collect(),
    };
    TableMetadata {
        schema: schema.to_owned(),
        name: table.name().to_owned(),
        kind: TableKind::Table,
        comment: None,
        columns,
        primary_key: table
            .primary_key()
            .iter()
            .map(|&name| name.to_owned())
            .collect(),
        handle: TableHandle::new(catalog, relation, Vec::new()),
    }
}

#[async_trait]
impl Connector for Tpch {
    fn metadata(&self) -> &dyn Metadata {
        self
    }

    fn splits(&self) -> &dyn SplitSource {
        self
    }

    fn reader(&self) -> &dyn Reader {
        self
    }

    fn describe(
        &self,
        handle: &TableHandle,
        projection: &[usize],
        limit: Option<usize>,
    ) -> ScanDescription {
        let Ok((_, scale)) = target(handle) else {
            return ScanDescription::default();
        };
        let mut facts = vec![("Scale Factor".to_owned(), scale.factor().to_string())];
        if projection.is_empty() {
            facts.push(("Rows".to_owned(), "counted, not generated".to_owned()));
        }
        if let Some(limit) = limit {
            facts.push(("Limit".to_owned(), format!("{limit} per split")));
        }
        ScanDescription {
            remote_sql: None,
            facts,
        }
    }

    // Rows are computed.
    fn reads_agree(&self) -> bool {
        true
    }

    async fn ping(&self) -> Result<String> {
        Ok(statistics::summary())
    }
}

#[async_trait]
impl Metadata for Tpch {
    async fn schemas(&self) -> Result<Vec<String>> {
        Ok(self.config.schemas.clone())
    }

    async fn tables(&self, schema: &str) -> Result<Vec<TableSummary>> {
        if Scale::from_schema(schema).is_none() {
            return Ok(Vec::new());
        }
        let summary = |table: Table| TableSummary {
            name: table.name().to_owned(),
            kind: TableKind::Table,
            comment: None,
        };
        Ok(TABLES.into_iter().map(summary).collect())
    }

    async fn table(&self, schema: &str, table: &str) -> Result<Option<TableMetadata>> {
        let found = Scale::from_schema(schema).and(Table::from_name(table));
        Ok(found.map(|table| describe_table(&self.catalog, schema, table)))
    }

    async fn statistics(&self, table: &TableMetadata) -> Result<TableStatistics> {
        let (table, scale) = target(&table.handle)?;
        Ok(statistics::table(table, scale))
    }
}

#[async_trait]
impl SplitSource for Tpch {
    async fn splits(&self, handle: &TableHandle, request: &SplitRequest) -> Result<Vec<Split>> {
        let (table, scale) = target(handle)?;
        read::splits(table, scale, request.parallelism)
    }
}

impl Reader for Tpch {
    fn read(&self, request: ReadRequest) -> Result<BatchStream> {
        let (table, scale) = target(&request.handle)?;
        let piece = read::piece(&request.split, scale)?;
        read::stream(table, piece, &request)
    }
}
