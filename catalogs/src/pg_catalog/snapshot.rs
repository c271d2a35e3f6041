//! What the system catalogs describe: one database as a session sees it, at one moment.
//!
//! The caller fills a [`DatabaseSnapshot`] from cached metadata; everything here is derived from it in
//! memory and kept, so that a catalog query never asks a source and two queries over one snapshot agree.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use parking_lot::Mutex;
use sluice_spi::{TableDetails, TableMetadata};

use super::oids::Directory;

/// A database as one session sees it.
#[derive(Debug, Default)]
pub struct DatabaseSnapshot {
    /// The current database: a catalog's name, or `sluice`.
    pub database: String,
    /// Every database that the user may connect to.
    pub databases: Vec<String>,
    /// Its schemas. In the virtual database `sluice` they are named `catalog.schema`.
    pub schemas: Vec<SchemaSnapshot>,
    /// The session's user.
    pub user: String,
    /// Every user that exists.
    pub roles: Vec<String>,
    /// The search path as set, `"$user"` included.
    pub search_path: Vec<String>,
    /// The settings, sorted by name.
    pub settings: Vec<SettingRow>,
    /// The sessions of this gateway.
    pub sessions: Vec<SessionRow>,
    /// The session's prepared statements: name and text.
    pub prepared_statements: Vec<(String, String)>,
    /// What follows from the fields above, computed when first asked for. Start with the default.
    pub derived: Derived,
}

/// One schema of a database.
#[derive(Debug, Clone, Default)]
pub struct SchemaSnapshot {
    /// Its name.
    pub name: String,
    /// Its tables and views.
    pub tables: Vec<Arc<TableMetadata>>,
    /// Their keys and definitions, by table, as far as the source tells.
    pub details: Arc<HashMap<String, TableDetails>>,
    /// What stands before the names of its catalog's schemas here.
    pub prefix: String,
}

impl SchemaSnapshot {
    /// What is told of one of its tables.
    pub(crate) fn details_of(&self, table: &str) -> Option<&TableDetails> {
        self.details.get(table)
    }
}

/// A row of `pg_settings`.
#[derive(Debug, Clone, Default)]
pub struct SettingRow {
    /// Its name.
    pub name: String,
    /// Its value in this session.
    pub value: String,
    /// Its value after RESET.
    pub default: String,
    /// Its unit, if it has one.
    pub unit: Option<String>,
    /// The heading it stands under.
    pub category: String,
    /// What it does.
    pub description: String,
    /// `bool`, `string`, `integer`, `real` or `enum`.
    pub vartype: String,
    /// The values of an enum.
    pub enumvals: Vec<String>,
    /// `user`, `backend`, `postmaster`, `internal` …: who may change it; empty means `user`.
    pub context: String,
    /// The smallest value of a number.
    pub min: Option<String>,
    /// The largest value of a number.
    pub max: Option<String>,
}

/// A row of `pg_stat_activity`.
#[derive(Debug, Clone, Default)]
pub struct SessionRow {
    /// The number that `pg_cancel_backend` takes.
    pub pid: i32,
    /// Its user.
    pub user: String,
    /// Its database.
    pub database: String,
    /// What the client calls itself.
    pub application_name: String,
    /// Where it comes from.
    pub client_addr: Option<String>,
    /// The port it comes from.
    pub client_port: Option<i32>,
    /// `active`, `idle`, `idle in transaction` …
    pub state: String,
    /// Its last or running statement.
    pub query: String,
    /// When the session began: microseconds since 1970, UTC.
    pub backend_start: Option<i64>,
    /// When its transaction began.
    pub xact_start: Option<i64>,
    /// When its last statement began.
    pub query_start: Option<i64>,
    /// When its state changed last.
    pub state_change: Option<i64>,
}

/// What follows from a snapshot; made on first use and shared by all of its queries.
#[derive(Debug, Default)]
pub struct Derived {
    directory: OnceLock<Directory>,
    batches: Mutex<HashMap<(&'static str, &'static str), RecordBatch>>,
}

impl DatabaseSnapshot {
    /// The OIDs of everything, and what they stand for.
    pub fn directory(&self) -> &Directory {
        self.derived.directory.get_or_init(|| Directory::new(self))
    }

    /// The rows of a system relation, built once per snapshot.
    pub(crate) fn batch(
        &self,
        key: (&'static str, &'static str),
        build: impl FnOnce() -> sluice_spi::Result<RecordBatch>,
    ) -> sluice_spi::Result<RecordBatch> {
        if let Some(batch) = self.derived.batches.lock().get(&key) {
            return Ok(batch.clone());
        }
        // Built outside of the lock: two that race build the same rows, and one of them is kept.
        let batch = build()?;
        Ok(self
            .derived
            .batches
            .lock()
            .entry(key)
            .or_insert(batch)
            .clone())
    }

    /// The schemas that unqualified names are looked up in, in order: `pg_catalog` first unless the
    /// path names it, and only those that exist.
    pub fn effective_search_path(&self) -> Vec<&str> {
        let mut path: Vec<&str> = Vec::new();
        if !self.search_path.iter().any(|s| s == "pg_catalog") {
            path.push("pg_catalog");
        }
        for entry in &self.search_path {
            let entry = entry.trim_matches('"');
            let name = if entry == "$user" {
                self.user.as_str()
            } else {
                entry
            };
            if !path.contains(&name) && self.directory().schema_oid(name).is_some() {
                path.push(name);
            }
        }
        path
    }

    /// `current_schema()`: the first schema of the path where a table could be made.
    pub fn current_schema(&self) -> Option<&str> {
        let explicit = self.search_path.iter().any(|s| s == "pg_catalog");
        self.effective_search_path()
            .into_iter()
            .find(|s| explicit || *s != "pg_catalog")
    }
}
