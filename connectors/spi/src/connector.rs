//! A connector: one configured catalog, and the factory that makes it from its file.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    ConnectionBudgets, LocalConnections, Metadata, Pushdown, Reader, Result, RunTimeKeys,
    ScanDescription, Snapshots, SplitSource, TableHandle, TableMetadata, Writer,
};

/// One configured catalog. Making one does no I/O: a source that is down fails its queries only.
#[async_trait]
pub trait Connector: Send + Sync {
    /// Names, columns, statistics.
    fn metadata(&self) -> &dyn Metadata;

    /// How to read a table in pieces.
    fn splits(&self) -> &dyn SplitSource;

    /// Reads a piece.
    fn reader(&self) -> &dyn Reader;

    /// What `handle` will do at the source, in words for EXPLAIN. `projection` are indices into
    /// [`crate::Relation::columns`]. Does no I/O.
    fn describe(
        &self,
        handle: &TableHandle,
        projection: &[usize],
        limit: Option<usize>,
    ) -> ScanDescription;

    /// Takes over filters (and later more), where the source can.
    fn pushdown(&self) -> Option<&dyn Pushdown> {
        None
    }

    /// What the source takes of keys that a join learns while it runs; `None` where keys in a statement are
    /// no help, or where the reader uses [`crate::ReadRequest::dynamic_filters`] itself.
    fn run_time_keys(&self) -> Option<RunTimeKeys> {
        None
    }

    /// Creates, fills and drops tables, where the source can.
    fn writer(&self) -> Option<&dyn Writer> {
        None
    }

    /// Runs native text as a table, where the source has a language of its own.
    fn passthrough(&self) -> Option<&dyn Passthrough> {
        None
    }

    /// Shares one view of the source between the statements of a query, where the source can.
    fn snapshots(&self) -> Option<&dyn Snapshots> {
        None
    }

    /// True where all reads of one query see the same rows: they share a snapshot, or rows never change. Only
    /// then may a plan read a table once more than it was written.
    fn reads_agree(&self) -> bool {
        false
    }

    /// Forgets what was remembered about tables (sizes, layouts): metadata was flushed.
    fn forget(&self) {}

    /// True where the data lives in the coordinator's process only, so that no worker can read it.
    fn coordinator_only(&self) -> bool {
        false
    }

    /// Opens the source and says in a few words what answered (`sluice check --connect`).
    async fn ping(&self) -> Result<String>;
}

/// What a connector may know of the process around it.
#[derive(Debug, Clone)]
pub struct ConnectorContext {
    /// The catalog's name (the file's name without `.toml`).
    pub catalog: String,
    /// The configuration folder, for relative paths.
    pub config_dir: Option<std::path::PathBuf>,
    /// How many connections each catalog may open, over the fleet.
    pub connections: Arc<dyn ConnectionBudgets>,
}

impl ConnectorContext {
    /// The context of a process that belongs to no fleet: budgets hold within it.
    pub fn local(catalog: impl Into<String>, config_dir: Option<std::path::PathBuf>) -> Self {
        ConnectorContext {
            catalog: catalog.into(),
            config_dir,
            connections: LocalConnections::new(),
        }
    }
}

/// A kind of source, compiled in. The binary registers a list of these.
pub trait ConnectorFactory: Send + Sync {
    /// The name in `connector = "…"`.
    fn name(&self) -> &'static str;

    /// Makes a catalog from its file's keys (`connector` taken out, secrets already filled in).
    /// Checks every key and does no I/O.
    fn create(&self, context: ConnectorContext, keys: toml::Table) -> Result<Arc<dyn Connector>>;

    /// The JSON schema of the keys, from the configuration struct's own doc comments.
    fn reference(&self) -> schemars::Schema;
}

/// `SELECT * FROM CATALOG.system.query('native text')`.
#[async_trait]
pub trait Passthrough: Send + Sync {
    /// Asks the source which columns `text` returns and makes a handle that runs it (read only). What the
    /// source says of the text is an error with its [native place](crate::Error::with_native_place).
    async fn query(&self, text: &str) -> Result<TableMetadata>;
}
