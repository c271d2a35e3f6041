//! The `memory` connector: tables in the coordinator's memory, gone when it ends.
//!
//! For scratch tables (CREATE TABLE AS, INSERT, DROP), for tests, and for trying things out. A limit on
//! bytes holds; a statement that would pass it fails whole. Readers see what a table held when their
//! query began to read it.
//!
//! Never writes a file, never sends a row to a worker: its scans run in the coordinator.

mod read;
mod sink;
mod statistics;
mod store;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use sluice_spi::{
    BatchStream, ByteSize, ColumnMetadata, Connector, ConnectorContext, ConnectorFactory, Error,
    Generated, Metadata, ReadRequest, Reader, RelColumn, Relation, Result, ScanDescription, Split,
    SplitRequest, SplitSource, SqlState, TableHandle, TableKind, TableMetadata, TableStatistics,
    TableSummary, Writer, parse_section, types,
};

use crate::sink::MemoryWriter;
use crate::store::{Store, Table};

/// A catalog of tables in the coordinator's memory. They are gone when it ends.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MemoryConfig {
    /// The most that all tables of the catalog may take together. A statement that would pass it fails
    /// and writes nothing.
    pub max_size: ByteSize,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        MemoryConfig {
            max_size: ByteSize(256 << 20),
        }
    }
}

/// Makes `memory` catalogs.
#[derive(Debug, Clone, Copy, Default)]
pub struct MemoryFactory;

impl ConnectorFactory for MemoryFactory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn create(&self, context: ConnectorContext, keys: toml::Table) -> Result<Arc<dyn Connector>> {
        let config: MemoryConfig =
            parse_section(&format!("catalogs/{}.toml", context.catalog), keys)?;
        let store = Arc::new(Store::new(&context.catalog, config.max_size));
        let writer = MemoryWriter {
            store: store.clone(),
        };
        Ok(Arc::new(Memory {
            catalog: context.catalog,
            store,
            writer,
        }))
    }

    fn reference(&self) -> schemars::Schema {
        schemars::schema_for!(MemoryConfig)
    }
}

/// A configured catalog.
struct Memory {
    catalog: String,
    store: Arc<Store>,
    writer: MemoryWriter,
}

impl Memory {
    /// The table that a handle reads, as it is now.
    fn target(&self, handle: &TableHandle) -> Result<(Arc<Table>, String)> {
        let Relation::Scan {
            schema,
            table,
            columns,
        } = &handle.relation
        else {
            return Err(Error::internal("not a handle of the memory connector"));
        };
        let name = format!("{schema}.{table}");
        let found = self.store.table(schema, table).ok_or_else(|| {
            Error::new(
                SqlState::UNDEFINED_TABLE,
                format!("relation \"{name}\" does not exist"),
            )
        })?;
        let planned = columns
            .iter()
            .map(|column| (column.name.as_str(), column.native_type.as_str()));
        let types: Vec<String> = found
            .columns
            .fields()
            .iter()
            .map(|field| native_type(field))
            .collect();
        let current = found
            .columns
            .fields()
            .iter()
            .map(|f| f.name().as_str())
            .zip(types.iter().map(String::as_str));
        if !planned.eq(current) {
            return Err(Error::new(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("table \"{name}\" was replaced after the statement was planned"),
            )
            .with_hint("Run the statement again."));
        }
        Ok((found, name))
    }
}

/// A field's type in PostgreSQL's words, where it has some; in Arrow's otherwise.
fn native_type(field: &Field) -> String {
    if let Some(tag) = types::pg_type(field) {
        return tag.to_owned();
    }
    match field.data_type() {
        DataType::Boolean => "boolean".into(),
        DataType::Int16 => "smallint".into(),
        DataType::Int32 => "integer".into(),
        DataType::Int64 => "bigint".into(),
        DataType::Float32 => "real".into(),
        DataType::Float64 => "double precision".into(),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            format!("numeric({precision},{scale})")
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "bytea".into(),
        DataType::Date32 => "date".into(),
        DataType::Time64(TimeUnit::Microsecond) => "time without time zone".into(),
        DataType::Timestamp(_, None) => "timestamp without time zone".into(),
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone".into(),
        DataType::Interval(_) => "interval".into(),
        DataType::List(item) | DataType::LargeList(item) => format!("{}[]", native_type(item)),
        other => other.to_string(),
    }
}

#[async_trait]
impl Connector for Memory {
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
        _projection: &[usize],
        limit: Option<usize>,
    ) -> ScanDescription {
        let mut facts = Vec::new();
        if let Ok((table, _)) = self.target(handle) {
            facts.push(("Stored Rows".to_owned(), table.rows.to_string()));
        }
        if let Some(limit) = limit {
            facts.push(("Limit".to_owned(), format!("{limit} per split")));
        }
        ScanDescription {
            remote_sql: None,
            facts,
        }
    }

    fn writer(&self) -> Option<&dyn Writer> {
        Some(&self.writer)
    }

    fn coordinator_only(&self) -> bool {
        true
    }

    // A query sees as many rows as its first scan saw.
    fn reads_agree(&self) -> bool {
        true
    }

    async fn ping(&self) -> Result<String> {
        Ok(format!(
            "{} bytes of tables in memory",
            self.store.budget.used()
        ))
    }
}

#[async_trait]
impl Metadata for Memory {
    async fn schemas(&self) -> Result<Vec<String>> {
        Ok(self.store.schema_names())
    }

    async fn tables(&self, schema: &str) -> Result<Vec<TableSummary>> {
        let summary = |name| TableSummary {
            name,
            kind: TableKind::Table,
            comment: None,
        };
        Ok(self
            .store
            .table_names(schema)
            .into_iter()
            .map(summary)
            .collect())
    }

    async fn table(&self, schema: &str, table: &str) -> Result<Option<TableMetadata>> {
        let Some(found) = self.store.table(schema, table) else {
            return Ok(None);
        };
        let columns: Vec<ColumnMetadata> = found
            .columns
            .fields()
            .iter()
            .map(|field| ColumnMetadata {
                field: field.clone(),
                native_type: native_type(field),
                comment: None,
                default: None,
                generated: Generated::No,
            })
            .collect();
        let relation = Relation::Scan {
            schema: schema.to_owned(),
            table: table.to_owned(),
            columns: columns
                .iter()
                .map(|column| RelColumn {
                    name: column.field.name().clone(),
                    native_type: column.native_type.clone(),
                    collation: None,
                    deterministic: true,
                    nullable: column.field.is_nullable(),
                })
                .collect(),
        };
        Ok(Some(TableMetadata {
            schema: schema.to_owned(),
            name: table.to_owned(),
            kind: TableKind::Table,
            comment: None,
            columns,
            primary_key: Vec::new(),
            handle: TableHandle::new(&self.catalog, relation, Vec::new()),
        }))
    }

    async fn statistics(&self, table: &TableMetadata) -> Result<TableStatistics> {
        let (found, _) = self.target(&table.handle)?;
        Ok(statistics::table(&found))
    }
}

#[async_trait]
impl SplitSource for Memory {
    async fn splits(&self, handle: &TableHandle, request: &SplitRequest) -> Result<Vec<Split>> {
        let (table, name) = self.target(handle)?;
        let rows = self.store.snapshot_rows(&request.query_id, &table);
        read::splits(&table, &name, rows, request.parallelism)
    }
}

impl Reader for Memory {
    fn read(&self, request: ReadRequest) -> Result<BatchStream> {
        let range = read::range(&request.split)?;
        let table = self.store.table_by_id(range.table_id).ok_or_else(|| {
            Error::new(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                "the table was dropped or replaced after the statement was planned",
            )
        })?;
        read::stream(table, &range, &request)
    }
}
