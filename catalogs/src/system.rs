//! The built-in catalog `system`: what this gateway and its fleet do, as tables.
//!
//! Other rooms know the facts; they register a [`SystemTable`] for each. A table is read as one snapshot,
//! when the scan runs, in the coordinator's process.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use futures::StreamExt;
use sluice_spi::{
    BatchStream, ColumnMetadata, Connector, Error, Generated, Metadata, ReadRequest, Reader,
    RelColumn, Relation, Result, ScanDescription, Split, SplitRequest, SplitSource, SqlState,
    TableHandle, TableKind, TableMetadata, TableStatistics, TableSummary,
};

/// The catalog's name.
pub const SYSTEM_CATALOG: &str = "system";

/// A table of the `system` catalog.
#[async_trait]
pub trait SystemTable: Send + Sync {
    /// Its schema's name (`runtime`, `metadata`).
    fn schema_name(&self) -> &'static str;
    /// Its name.
    fn name(&self) -> &'static str;
    /// One sentence for `\d+`.
    fn comment(&self) -> &'static str;
    /// Its columns.
    fn columns(&self) -> SchemaRef;
    /// Its rows now. May ask other processes of the fleet, within a bounded time.
    async fn rows(&self) -> Result<RecordBatch>;
}

/// The connector behind the catalog.
#[derive(Clone, Default)]
pub struct SystemConnector {
    tables: Arc<Vec<Arc<dyn SystemTable>>>,
}

impl SystemConnector {
    /// A connector over `tables`.
    pub fn new(tables: Vec<Arc<dyn SystemTable>>) -> Self {
        SystemConnector {
            tables: Arc::new(tables),
        }
    }

    fn find(&self, schema: &str, table: &str) -> Option<&Arc<dyn SystemTable>> {
        self.tables
            .iter()
            .find(|t| t.schema_name() == schema && t.name() == table)
    }

    fn describe_table(&self, table: &dyn SystemTable) -> TableMetadata {
        let columns: Vec<ColumnMetadata> = table
            .columns()
            .fields()
            .iter()
            .map(|field| ColumnMetadata {
                field: field.clone(),
                native_type: field.data_type().to_string(),
                comment: None,
                default: None,
                generated: Generated::No,
            })
            .collect();
        let relation = Relation::Scan {
            schema: table.schema_name().to_owned(),
            table: table.name().to_owned(),
            columns: columns
                .iter()
                .map(|c| RelColumn {
                    name: c.field.name().clone(),
                    native_type: c.native_type.clone(),
                    collation: None,
                    deterministic: true,
                    nullable: c.field.is_nullable(),
                })
                .collect(),
        };
        TableMetadata {
            schema: table.schema_name().to_owned(),
            name: table.name().to_owned(),
            kind: TableKind::Table,
            comment: Some(table.comment().to_owned()),
            columns,
            primary_key: Vec::new(),
            handle: TableHandle::new(SYSTEM_CATALOG, relation, Vec::new()),
        }
    }
}

#[async_trait]
impl Metadata for SystemConnector {
    async fn schemas(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = self
            .tables
            .iter()
            .map(|t| t.schema_name().to_owned())
            .collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    async fn tables(&self, schema: &str) -> Result<Vec<TableSummary>> {
        let in_schema = self.tables.iter().filter(|t| t.schema_name() == schema);
        Ok(in_schema
            .map(|t| TableSummary {
                name: t.name().to_owned(),
                kind: TableKind::Table,
                comment: Some(t.comment().to_owned()),
            })
            .collect())
    }

    async fn table(&self, schema: &str, table: &str) -> Result<Option<TableMetadata>> {
        Ok(self
            .find(schema, table)
            .map(|t| self.describe_table(t.as_ref())))
    }

    async fn statistics(&self, _table: &TableMetadata) -> Result<TableStatistics> {
        Ok(TableStatistics::unknown())
    }
}

#[async_trait]
impl SplitSource for SystemConnector {
    async fn splits(&self, handle: &TableHandle, _request: &SplitRequest) -> Result<Vec<Split>> {
        let (schema, table) = name_of(handle)?;
        Ok(vec![Split {
            payload: Vec::new(),
            rows: None,
            bytes: None,
            label: format!("{schema}.{table}"),
        }])
    }
}

impl Reader for SystemConnector {
    fn read(&self, request: ReadRequest) -> Result<BatchStream> {
        let (schema, table) = name_of(&request.handle)?;
        let table = self.find(schema, table).cloned().ok_or_else(|| {
            Error::new(
                SqlState::UNDEFINED_TABLE,
                format!("{schema}.{table} is not in this process"),
            )
        })?;
        let rows = async move {
            let all = table.rows().await?;
            let wanted = request.limit.unwrap_or(usize::MAX).min(all.num_rows());
            let options = RecordBatchOptions::new().with_row_count(Some(wanted));
            let columns = request
                .projection
                .iter()
                .map(|&i| all.column(i).slice(0, wanted))
                .collect();
            RecordBatch::try_new_with_options(request.projected_schema()?, columns, &options)
                .map_err(|e| Error::internal(format!("a system table of the wrong shape: {e}")))
        };
        Ok(futures::stream::once(rows).boxed())
    }
}

fn name_of(handle: &TableHandle) -> Result<(&str, &str)> {
    match &handle.relation {
        Relation::Scan { schema, table, .. } => Ok((schema, table)),
        _ => Err(Error::internal("a system table takes no pushdown")),
    }
}

#[async_trait]
impl Connector for SystemConnector {
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
        _handle: &TableHandle,
        _projection: &[usize],
        _limit: Option<usize>,
    ) -> ScanDescription {
        ScanDescription::default()
    }

    fn coordinator_only(&self) -> bool {
        true
    }

    async fn ping(&self) -> Result<String> {
        Ok(format!("{} tables", self.tables.len()))
    }
}
