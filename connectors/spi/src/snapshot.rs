//! One snapshot for all that a query reads of one source.
//!
//! A query with several statements at a source (pieces of a table read in parallel, two tables, a table
//! twice) would otherwise see the source at several moments. The coordinator opens a snapshot after the
//! plan is final and keeps it for as long as the query runs; its token travels with each read.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{Result, Split, TableHandle};

/// Names an open snapshot to every process of the fleet. Printable ASCII, and no secret: it is worth
/// nothing without a connection to the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotToken(Arc<str>);

impl SnapshotToken {
    /// A token of that text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        SnapshotToken(text.into())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SnapshotToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One scan that will read under a snapshot.
#[derive(Debug, Clone)]
pub struct SnapshotRead<'a> {
    /// The table, pushdowns included.
    pub handle: &'a TableHandle,
    /// Its pieces, over all tasks.
    pub splits: Vec<&'a Split>,
}

/// A snapshot, open until its guard is dropped.
pub struct OpenSnapshot {
    /// What each read carries.
    pub token: SnapshotToken,
    /// Dropping it frees whatever the source keeps for the snapshot.
    pub guard: Box<dyn Any + Send + Sync>,
}

impl fmt::Debug for OpenSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenSnapshot")
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

/// Shares one view of a source between many statements and processes.
#[async_trait]
pub trait Snapshots: Send + Sync {
    /// Opens a snapshot for `reads`, which are all that a query reads of this catalog. `None` where the
    /// source cannot and each read is one statement, which then sees a moment of its own.
    ///
    /// The place to check that the splits still fit the tables: an error with [`crate::Error::stale_plan`]
    /// makes the coordinator plan again.
    async fn open(&self, reads: &[SnapshotRead<'_>]) -> Result<Option<OpenSnapshot>>;
}
