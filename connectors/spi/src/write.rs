//! Writing: create, fill, drop. A sink shows nothing before it commits.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;

use crate::Result;

/// What a sink fills.
#[derive(Debug, Clone)]
pub enum WriteTarget {
    /// A new table that appears, whole, at commit.
    Create {
        /// The schema's name; it must exist.
        schema: String,
        /// The table's name; it must not exist, unless `replace`.
        table: String,
        /// The columns.
        columns: SchemaRef,
        /// Take the place of a table of that name.
        replace: bool,
    },
    /// Rows for a table that is there.
    Insert {
        /// The schema's name.
        schema: String,
        /// The table's name.
        table: String,
    },
}

/// Creates, fills and drops tables of a catalog.
#[async_trait]
pub trait Writer: Send + Sync {
    /// Opens a sink. Fails here, before any row is computed, where the target cannot be written.
    async fn begin(&self, target: WriteTarget) -> Result<Box<dyn TableSink>>;

    /// Drops a table. False where there was none.
    async fn drop_table(&self, schema: &str, table: &str) -> Result<bool>;

    /// Creates a schema. False where there was one.
    async fn create_schema(&self, schema: &str) -> Result<bool>;

    /// Drops a schema. False where there was none. Fails when tables are left in it, unless `cascade`.
    async fn drop_schema(&self, schema: &str, cascade: bool) -> Result<bool>;
}

/// Takes the rows of one statement. Dropped without [`TableSink::commit`], it leaves nothing behind.
#[async_trait]
pub trait TableSink: Send {
    /// Takes a batch of the target's schema.
    async fn write(&mut self, batch: RecordBatch) -> Result<()>;

    /// Makes every row visible at once and says how many there were.
    async fn commit(self: Box<Self>) -> Result<u64>;
}
