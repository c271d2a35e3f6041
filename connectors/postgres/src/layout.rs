//! Which relations hold a table's rows, and how large they are: what splits are cut from.
//!
//! Remembered for a short while, so that planning a repeated query asks nothing. A layout that is out of
//! date makes uneven splits at worst: which relations there are is checked again under the snapshot
//! ([`crate::snapshot`]), and the last pages of each are open-ended.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sluice_spi::Result;
use tokio_postgres::Row;

use crate::error::statement_error;
use crate::metadata::ask;
use crate::pool::Source;

/// How long sizes are believed: they only weigh splits.
const LAYOUT_TTL: Duration = Duration::from_secs(30);

/// Tables and plans remembered per catalog; all are forgotten when there are more.
const REMEMBERED: usize = 1_000;

/// TID range scans came with this version.
const TID_RANGES_SINCE: i32 = 140_000;

/// The relations of table $2 in schema $1: itself, and its children (partitions or heirs) over all levels.
/// Who may read the parent need not be allowed to read a child, and row security differs between them.
pub(crate) const LAYOUT: &str = "\
WITH RECURSIVE family (oid, pending) AS (
    SELECT c.oid, false FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1::text AND c.relname = $2::text AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    UNION
    SELECT i.inhrelid, coalesce(pg_catalog.to_jsonb(i) ->> 'inhdetachpending', 'false') = 'true'
    FROM family JOIN pg_catalog.pg_inherits i ON i.inhparent = family.oid
)
SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text,
       NOT pending AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
         AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND NOT pg_catalog.row_security_active(c.oid),
       c.relkind IN ('r', 'm') AND coalesce(am.amname = 'heap', false) AND c.relpersistence <> 't',
       CASE WHEN c.relkind IN ('r', 'm') THEN pg_catalog.pg_relation_size(c.oid) / current_setting('block_size')::bigint END,
       CASE WHEN c.relkind IN ('r', 'm') THEN pg_catalog.pg_table_size(c.oid) END,
       current_setting('server_version_num')::int
FROM family JOIN pg_catalog.pg_class c ON c.oid = family.oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
ORDER BY c.oid";

/// A relation with rows of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) schema: String,
    pub(crate) relation: String,
    pub(crate) pages: u32,
    pub(crate) bytes: u64,
}

/// The relations behind one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) members: Vec<Member>,
    /// Each member can be read in page ranges, with the rows that reading the table would give.
    pub(crate) can_be_cut: bool,
    /// Another set of relations has another one. Means nothing outside of this process.
    pub(crate) fingerprint: u64,
}

impl Layout {
    /// From the rows of [`LAYOUT`]; `None` where there is no such table.
    pub(crate) fn of(rows: &[Row]) -> std::result::Result<Option<Layout>, tokio_postgres::Error> {
        let mut members = Vec::with_capacity(rows.len());
        let mut hasher = DefaultHasher::new();
        let mut can_be_cut = true;
        for row in rows {
            let (oid, kind): (u32, String) = (row.try_get(0)?, row.try_get(3)?);
            (oid, &kind).hash(&mut hasher);
            let readable: Option<bool> = row.try_get(4)?;
            let version: i32 = row.try_get(8)?;
            can_be_cut &= readable == Some(true) && version >= TID_RANGES_SINCE;
            // A partitioned parent has no rows of its own.
            if kind == "p" {
                continue;
            }
            let heap: bool = row.try_get(5)?;
            let (pages, bytes): (Option<i64>, Option<i64>) = (row.try_get(6)?, row.try_get(7)?);
            can_be_cut &= heap;
            members.push(Member {
                schema: row.try_get(1)?,
                relation: row.try_get(2)?,
                pages: pages.and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
                bytes: bytes.and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
            });
        }
        if rows.is_empty() {
            return Ok(None);
        }
        Ok(Some(Layout {
            can_be_cut: can_be_cut && !members.is_empty(),
            members,
            fingerprint: hasher.finish(),
        }))
    }

    /// Bytes of all relations, where they hold their rows themselves.
    pub(crate) fn bytes(&self) -> u64 {
        self.members.iter().map(|member| member.bytes).sum()
    }

    pub(crate) fn pages(&self) -> u64 {
        self.members
            .iter()
            .map(|member| u64::from(member.pages))
            .sum()
    }
}

/// What was learned of tables and statements, for a short while.
pub(crate) struct Remembered<V> {
    entries: Mutex<HashMap<String, (Instant, V)>>,
    ttl: Duration,
}

impl<V: Clone> Remembered<V> {
    pub(crate) fn new(ttl: Duration) -> Self {
        Remembered {
            entries: Mutex::default(),
            ttl,
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<V> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .get(key)
            .filter(|(made, _)| made.elapsed() < self.ttl)
            .map(|(_, value)| value.clone())
    }

    pub(crate) fn put(&self, key: String, value: V) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= REMEMBERED {
            entries.clear();
        }
        entries.insert(key, (Instant::now(), value));
    }

    pub(crate) fn clear(&self) {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

/// The layouts of a catalog's tables.
pub(crate) struct Layouts {
    source: Arc<Source>,
    known: Remembered<Arc<Layout>>,
}

impl Layouts {
    pub(crate) fn new(source: Arc<Source>) -> Self {
        Layouts {
            source,
            known: Remembered::new(LAYOUT_TTL),
        }
    }

    /// The layout of a table; `None` where there is no such table.
    pub(crate) async fn of(&self, schema: &str, table: &str) -> Result<Option<Arc<Layout>>> {
        // A NUL cannot be in a name.
        let key = format!("{schema}\0{table}");
        if let Some(known) = self.known.get(&key) {
            return Ok(Some(known));
        }
        let rows = ask(&self.source, |client| async move {
            let statement = client.prepare_cached(LAYOUT).await?;
            client.query(&statement, &[&schema, &table]).await
        })
        .await?;
        let layout =
            Layout::of(&rows).map_err(|error| statement_error(self.source.catalog(), &error))?;
        let layout = layout.map(Arc::new);
        if let Some(layout) = &layout {
            self.known.put(key, layout.clone());
        }
        Ok(layout)
    }

    pub(crate) fn forget(&self) {
        self.known.clear();
    }
}
