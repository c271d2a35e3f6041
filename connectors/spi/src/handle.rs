//! Table handles and splits: immutable, versioned, serde values without connections or secrets.

use serde::{Deserialize, Serialize};

use crate::Relation;

/// The version of [`TableHandle`] and [`Split`] in this build. Coordinator and workers must agree.
pub const HANDLE_VERSION: u32 = 2;

/// A remote relation with everything that was pushed into it.
///
/// Its columns, in order, are [`Relation::columns`]; the Arrow schema travels beside it in the scan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableHandle {
    /// [`HANDLE_VERSION`] of the build that made it.
    pub version: u32,
    /// The catalog's name; each process resolves it from its own catalog files.
    pub catalog: String,
    /// What is read, pushdowns included.
    pub relation: Relation,
    /// The connector's own facts about the table (never a secret): serialized as it likes.
    pub payload: Vec<u8>,
}

impl TableHandle {
    /// A handle of this build's version.
    pub fn new(catalog: impl Into<String>, relation: Relation, payload: Vec<u8>) -> Self {
        TableHandle {
            version: HANDLE_VERSION,
            catalog: catalog.into(),
            relation,
            payload,
        }
    }

    /// The same table with another relation.
    #[must_use]
    pub fn with_relation(&self, relation: Relation) -> Self {
        TableHandle {
            version: self.version,
            catalog: self.catalog.clone(),
            relation,
            payload: self.payload.clone(),
        }
    }
}

/// A piece of one table that can be read alone. All splits of a table together give each row once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// The connector's own description of the piece.
    pub payload: Vec<u8>,
    /// Rows, where known; used to spread splits evenly.
    pub rows: Option<u64>,
    /// Bytes at the source, where known; used to spread splits evenly.
    pub bytes: Option<u64>,
    /// A few words for EXPLAIN VERBOSE and the tasks table ("orders.parquet row groups 0..4").
    pub label: String,
}
