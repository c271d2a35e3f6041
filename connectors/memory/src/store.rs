//! Schemas and tables in memory, and the budget that holds them.
//!
//! A table's rows have a fixed order and only grow, so a scan's snapshot is a number of rows. A table is
//! replaced as a whole (`Arc`), so readers never wait for writers. The budget is leased per batch and
//! given back when the last reader of a batch is gone.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use parking_lot::RwLock;
use sluice_spi::{ByteSize, Error, Result, SqlState, nearest};

use crate::statistics::BatchStatistics;

/// Rows of a stored batch. Smaller ones at a table's end are joined with what an INSERT adds, so that
/// many small INSERTs do not become many small batches.
pub(crate) const STORED_BATCH_ROWS: usize = 8_192;

/// Scans that remember which rows they saw first, so that both sides of a self-join see the same. Older
/// queries are long past asking for splits.
const SNAPSHOTS_KEPT: usize = 1_024;

/// Bytes of a catalog's batches, shared by all leases.
#[derive(Debug)]
pub(crate) struct Budget {
    catalog: String,
    limit: ByteSize,
    used: AtomicU64,
}

impl Budget {
    /// Takes bytes, or fails with what to do about it.
    pub(crate) fn lease(self: &Arc<Self>, bytes: u64) -> Result<Lease> {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.limit.0);
        match self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
        {
            Ok(_) => Ok(Lease {
                budget: self.clone(),
                bytes,
            }),
            Err(used) => Err(Error::new(
                SqlState::OUT_OF_MEMORY,
                format!("catalog \"{}\" is full", self.catalog),
            )
            .with_detail(format!(
                "Its tables take {used} bytes, {bytes} more would pass its limit of {}.",
                self.limit
            ))
            .with_hint(format!(
                "Drop tables, or raise max_size in catalogs/{}.toml.",
                self.catalog
            ))),
        }
    }

    /// Bytes in use.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// Bytes taken from a [`Budget`] until dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A batch with what it costs and what is known about it.
#[derive(Debug)]
pub(crate) struct StoredBatch {
    pub(crate) batch: RecordBatch,
    pub(crate) statistics: BatchStatistics,
    lease: Lease,
}

impl StoredBatch {
    /// Leases the bytes of a batch that shares no buffer with others.
    pub(crate) fn new(batch: RecordBatch, budget: &Arc<Budget>) -> Result<Self> {
        let batch = compacted(batch)?;
        let lease = budget.lease(batch.get_array_memory_size() as u64)?;
        let statistics = BatchStatistics::of(&batch);
        Ok(StoredBatch {
            batch,
            statistics,
            lease,
        })
    }

    /// Bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.lease.bytes
    }
}

/// The batch without the room that its builders kept for more rows.
fn compacted(batch: RecordBatch) -> Result<RecordBatch> {
    let (schema, columns, rows) = batch.into_parts();
    let columns = columns.into_iter().map(|column| {
        let mut column: ArrayRef = match column.data_type() {
            // Views keep whole buffers for few bytes.
            DataType::Utf8View => Arc::new(column.as_string_view().gc()),
            DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
            _ => column,
        };
        column.shrink_to_fit();
        column
    });
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema, columns.collect(), &options)
        .map_err(|e| Error::internal(e.to_string()))
}

/// One version of a table.
#[derive(Debug)]
pub(crate) struct Table {
    /// Differs between a table and its replacement, not between a table before and after an INSERT.
    pub(crate) id: u64,
    pub(crate) columns: SchemaRef,
    pub(crate) batches: Vec<Arc<StoredBatch>>,
    pub(crate) rows: u64,
}

impl Table {
    /// The table with more rows behind the ones it has.
    fn appended(&self, more: Vec<StoredBatch>, budget: &Arc<Budget>) -> Table {
        let mut batches = self.batches.clone();
        let mut more = more.into_iter().peekable();
        if let (Some(last), Some(first)) = (batches.last(), more.peek())
            && last.batch.num_rows() + first.batch.num_rows() <= STORED_BATCH_ROWS
            && !self.columns.fields().is_empty()
            // Near the limit there may be no room for both the parts and the whole: then they stay apart.
            && let Ok(joined) = concat_batches(&self.columns, [&last.batch, &first.batch])
            && let Ok(joined) = StoredBatch::new(joined, budget)
        {
            batches.pop();
            batches.push(Arc::new(joined));
            more.next();
        }
        batches.extend(more.map(Arc::new));
        let rows = batches
            .iter()
            .map(|stored| stored.batch.num_rows() as u64)
            .sum();
        Table {
            id: self.id,
            columns: self.columns.clone(),
            batches,
            rows,
        }
    }
}

/// Which rows of a table a query sees.
#[derive(Debug)]
struct Snapshot {
    query_id: Arc<str>,
    table_id: u64,
    rows: u64,
}

type Schemas = BTreeMap<String, BTreeMap<String, Arc<Table>>>;

/// A catalog's content.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) budget: Arc<Budget>,
    schemas: RwLock<Schemas>,
    snapshots: RwLock<VecDeque<Snapshot>>,
    next_id: AtomicU64,
}

impl Store {
    /// An empty catalog with the schema `public`.
    pub(crate) fn new(catalog: &str, limit: ByteSize) -> Self {
        Store {
            budget: Arc::new(Budget {
                catalog: catalog.to_owned(),
                limit,
                used: AtomicU64::new(0),
            }),
            schemas: RwLock::new(BTreeMap::from([("public".to_owned(), BTreeMap::new())])),
            snapshots: RwLock::new(VecDeque::new()),
            next_id: AtomicU64::new(1),
        }
    }

    pub(crate) fn schema_names(&self) -> Vec<String> {
        self.schemas.read().keys().cloned().collect()
    }

    pub(crate) fn table_names(&self, schema: &str) -> Vec<String> {
        self.schemas
            .read()
            .get(schema)
            .map(|tables| tables.keys().cloned().collect())
            .unwrap_or_default()
    }

    pub(crate) fn table(&self, schema: &str, table: &str) -> Option<Arc<Table>> {
        self.schemas.read().get(schema)?.get(table).cloned()
    }

    pub(crate) fn table_by_id(&self, id: u64) -> Option<Arc<Table>> {
        self.schemas
            .read()
            .values()
            .flat_map(|tables| tables.values())
            .find(|table| table.id == id)
            .cloned()
    }

    /// Rows of `table` that `query_id` sees: what it held when the query first asked.
    pub(crate) fn snapshot_rows(&self, query_id: &Arc<str>, table: &Table) -> u64 {
        let mut snapshots = self.snapshots.write();
        let seen = snapshots
            .iter()
            .rev()
            .find(|s| s.table_id == table.id && s.query_id == *query_id);
        if let Some(seen) = seen {
            return seen.rows;
        }
        if snapshots.len() >= SNAPSHOTS_KEPT {
            snapshots.pop_front();
        }
        snapshots.push_back(Snapshot {
            query_id: query_id.clone(),
            table_id: table.id,
            rows: table.rows,
        });
        table.rows
    }

    /// Fails where a table cannot be created.
    pub(crate) fn check_create(&self, schema: &str, table: &str, replace: bool) -> Result<()> {
        may_create(&mut self.schemas.write(), schema, table, replace).map(|_| ())
    }

    /// Adds a new table, or puts it in the place of another.
    pub(crate) fn create(
        &self,
        schema: &str,
        table: &str,
        replace: bool,
        columns: SchemaRef,
        batches: Vec<StoredBatch>,
    ) -> Result<()> {
        let rows = batches
            .iter()
            .map(|stored| stored.batch.num_rows() as u64)
            .sum();
        let batches = batches.into_iter().map(Arc::new).collect();
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut schemas = self.schemas.write();
        let tables = may_create(&mut schemas, schema, table, replace)?;
        tables.insert(
            table.to_owned(),
            Arc::new(Table {
                id,
                columns,
                batches,
                rows,
            }),
        );
        Ok(())
    }

    /// Adds rows to the table that has `id`.
    pub(crate) fn append(
        &self,
        schema: &str,
        table: &str,
        id: u64,
        batches: Vec<StoredBatch>,
    ) -> Result<()> {
        let mut schemas = self.schemas.write();
        let found = schemas
            .get_mut(schema)
            .and_then(|tables| tables.get_mut(table));
        match found {
            Some(current) if current.id == id => {
                *current = Arc::new(current.appended(batches, &self.budget));
                Ok(())
            }
            _ => Err(Error::new(
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!(
                    "table \"{schema}.{table}\" was dropped or replaced while rows were written to it"
                ),
            )),
        }
    }

    pub(crate) fn drop_table(&self, schema: &str, table: &str) -> bool {
        let mut schemas = self.schemas.write();
        schemas
            .get_mut(schema)
            .and_then(|tables| tables.remove(table))
            .is_some()
    }

    pub(crate) fn create_schema(&self, schema: &str) -> bool {
        let mut schemas = self.schemas.write();
        if schemas.contains_key(schema) {
            return false;
        }
        schemas.insert(schema.to_owned(), BTreeMap::new());
        true
    }

    pub(crate) fn drop_schema(&self, schema: &str, cascade: bool) -> Result<bool> {
        let mut schemas = self.schemas.write();
        match schemas.get(schema) {
            None => Ok(false),
            Some(tables) if !tables.is_empty() && !cascade => Err(Error::new(
                SqlState::from_source("2BP01"),
                format!("cannot drop schema \"{schema}\" because it holds tables"),
            )
            .with_hint("Use DROP ... CASCADE to drop them too.")),
            Some(_) => {
                schemas.remove(schema);
                Ok(true)
            }
        }
    }
}

fn may_create<'a>(
    schemas: &'a mut Schemas,
    schema: &str,
    table: &str,
    replace: bool,
) -> Result<&'a mut BTreeMap<String, Arc<Table>>> {
    if !schemas.contains_key(schema) {
        let error = Error::new(
            SqlState::INVALID_SCHEMA_NAME,
            format!("schema \"{schema}\" does not exist"),
        );
        return Err(match nearest(schema, schemas.keys().map(String::as_str)) {
            Some(near) => error.with_hint(format!("Perhaps you meant \"{near}\".")),
            None => error,
        });
    }
    match schemas.get_mut(schema) {
        Some(tables) if replace || !tables.contains_key(table) => Ok(tables),
        _ => Err(Error::new(
            SqlState::DUPLICATE_TABLE,
            format!("relation \"{table}\" already exists"),
        )),
    }
}
