//! The metadata cache of one catalog: every answer of the source is kept for a time (TTL), and many
//! statements that miss at once make one request (single flight).
//!
//! A failed request is not kept. "There is no such table" is only believed where a name goes on to be looked up
//! elsewhere ([`MetadataCache::is_known_absent`]), so that a table is seen as soon as it exists.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use parking_lot::Mutex;
use sluice_spi::{
    Connector, Error, Result, TableDetails, TableMetadata, TableStatistics, TableSummary,
};
use tokio::sync::OnceCell;

/// How long an answer is believed. A statement that plans against an older one meets the source's own
/// error, which flushes.
pub const METADATA_TTL: Duration = Duration::from_secs(60);

/// How long a statement waits for a table's statistics. A table that somebody has locked gives none, and the
/// statement's own timeout begins only when it runs.
const STATISTICS_TIMEOUT: Duration = Duration::from_secs(2);

/// How long statistics are believed that the engine collected itself: the source does not change them, but
/// the data does.
const COLLECTED_TTL: Duration = Duration::from_secs(24 * 3600);

/// Entries kept per kind; the oldest go first. Bounds memory against schemas without end.
const CACHE_ENTRIES: usize = 20_000;

struct Entry<V> {
    made: Instant,
    cell: Arc<OnceCell<V>>,
}

/// One kind of answers, by key.
struct Answers<K, V> {
    entries: Mutex<HashMap<K, Entry<V>>>,
    ttl: Duration,
}

impl<K: Hash + Eq + Clone, V: Clone> Answers<K, V> {
    fn new(ttl: Duration) -> Self {
        Answers {
            entries: Mutex::new(HashMap::new()),
            ttl,
        }
    }

    async fn get_or_load<F>(&self, key: K, load: impl FnOnce() -> F) -> Result<V>
    where
        F: Future<Output = Result<V>>,
    {
        let cell = {
            let mut entries = self.entries.lock();
            match entries.get(&key) {
                Some(entry) if entry.made.elapsed() < self.ttl => entry.cell.clone(),
                _ => {
                    let cell = Arc::new(OnceCell::new());
                    self.insert(&mut entries, key, cell.clone());
                    cell
                }
            }
        };
        cell.get_or_try_init(load).await.cloned()
    }

    fn insert(&self, entries: &mut HashMap<K, Entry<V>>, key: K, cell: Arc<OnceCell<V>>) {
        let made = Instant::now();
        if entries.len() >= CACHE_ENTRIES {
            entries.retain(|_, e| made.duration_since(e.made) < self.ttl);
            if entries.len() >= CACHE_ENTRIES {
                entries.clear();
            }
        }
        entries.insert(key, Entry { made, cell });
    }

    /// Keeps an answer that nobody asked the source for.
    fn put(&self, key: K, value: V) {
        let cell = Arc::new(OnceCell::new_with(Some(value)));
        self.insert(&mut self.entries.lock(), key, cell);
    }

    /// What is there already, without asking.
    fn peek(&self, key: &K) -> Option<V> {
        let entries = self.entries.lock();
        let entry = entries.get(key)?;
        (entry.made.elapsed() < self.ttl)
            .then(|| entry.cell.get().cloned())
            .flatten()
    }

    fn remove(&self, key: &K) {
        self.entries.lock().remove(key);
    }

    fn clear(&self) {
        self.entries.lock().clear();
    }
}

/// A schema and a table name.
type TableKey = (String, String);

fn table_key(table: &TableMetadata) -> TableKey {
    (table.schema.clone(), table.name.clone())
}

/// The cache of one catalog.
pub struct MetadataCache {
    connector: Arc<dyn Connector>,
    schemas: Answers<(), Arc<Vec<String>>>,
    listings: Answers<String, Arc<Vec<TableSummary>>>,
    described: Answers<String, Arc<Vec<Arc<TableMetadata>>>>,
    details: Answers<String, Arc<HashMap<String, TableDetails>>>,
    tables: Answers<TableKey, Option<Arc<TableMetadata>>>,
    /// Tables that were not there when they were last looked up.
    absent: Answers<TableKey, ()>,
    statistics: Answers<TableKey, Arc<TableStatistics>>,
    /// By the engine's own reading, with the columns that the table had then.
    collected: Answers<TableKey, (SchemaRef, Arc<TableStatistics>)>,
    /// How often everything was forgotten.
    flushes: AtomicU64,
}

impl MetadataCache {
    /// An empty cache before `connector`.
    pub fn new(connector: Arc<dyn Connector>, ttl: Duration) -> Self {
        MetadataCache {
            connector,
            schemas: Answers::new(ttl),
            listings: Answers::new(ttl),
            described: Answers::new(ttl),
            details: Answers::new(ttl),
            tables: Answers::new(ttl),
            absent: Answers::new(ttl),
            statistics: Answers::new(ttl),
            collected: Answers::new(COLLECTED_TTL),
            flushes: AtomicU64::new(0),
        }
    }

    /// Every schema's name.
    pub async fn schemas(&self) -> Result<Arc<Vec<String>>> {
        let load = || async { self.connector.metadata().schemas().await.map(Arc::new) };
        self.schemas.get_or_load((), load).await
    }

    /// The tables of a schema.
    pub async fn tables(&self, schema: &str) -> Result<Arc<Vec<TableSummary>>> {
        let load = || async { self.connector.metadata().tables(schema).await.map(Arc::new) };
        self.listings.get_or_load(schema.to_owned(), load).await
    }

    /// The tables of a schema with their columns.
    pub async fn describe_schema(&self, schema: &str) -> Result<Arc<Vec<Arc<TableMetadata>>>> {
        let load = || async {
            self.connector
                .metadata()
                .describe_schema(schema)
                .await
                .map(Arc::new)
        };
        self.described.get_or_load(schema.to_owned(), load).await
    }

    /// Keys and definitions of a schema's tables, by table.
    pub async fn details(&self, schema: &str) -> Result<Arc<HashMap<String, TableDetails>>> {
        let load = || async {
            let details = self.connector.metadata().details(schema).await?;
            let named = details.into_iter().map(|d| (d.table.clone(), d));
            Ok(Arc::new(named.collect()))
        };
        self.details.get_or_load(schema.to_owned(), load).await
    }

    /// One table, or `None`.
    pub async fn table(&self, schema: &str, table: &str) -> Result<Option<Arc<TableMetadata>>> {
        let key = (schema.to_owned(), table.to_owned());
        let load = || async {
            Ok(self
                .connector
                .metadata()
                .table(schema, table)
                .await?
                .map(Arc::new))
        };
        let found = self.tables.get_or_load(key.clone(), load).await?;
        match found {
            Some(_) => self.absent.remove(&key),
            None => {
                self.tables.remove(&key);
                self.absent.put(key, ());
            }
        }
        Ok(found)
    }

    /// True where the source said a while ago that there is no such table. Whoever finds the name nowhere else
    /// has to ask again.
    pub fn is_known_absent(&self, schema: &str, table: &str) -> bool {
        let key = (schema.to_owned(), table.to_owned());
        self.absent.peek(&key).is_some()
    }

    /// A table's statistics. A source that cannot give them makes a worse plan, not an error.
    pub async fn statistics(&self, table: &TableMetadata) -> Arc<TableStatistics> {
        let key = table_key(table);
        if let Some((columns, collected)) = self.collected.peek(&key)
            && columns == table.arrow_schema()
        {
            return collected;
        }
        let load = || async {
            let asked = self.connector.metadata().statistics(table);
            match tokio::time::timeout(STATISTICS_TIMEOUT, asked).await {
                Ok(statistics) => statistics.map(Arc::new),
                Err(_) => Err(Error::internal(format!(
                    "no answer within {STATISTICS_TIMEOUT:?}"
                ))),
            }
        };
        match self.statistics.get_or_load(key, load).await {
            Ok(statistics) => statistics,
            Err(error) => {
                tracing::debug!(table = %table.name, %error, "no statistics");
                Arc::new(TableStatistics::unknown())
            }
        }
    }

    /// The source has newer statistics of a table.
    pub fn forget_statistics(&self, table: &TableMetadata) {
        let key = table_key(table);
        self.collected.remove(&key);
        self.statistics.remove(&key);
    }

    /// Keeps what the engine found by reading a table. It outlives a flush: no source can give it again.
    pub fn keep_statistics(&self, table: &TableMetadata, collected: TableStatistics) {
        let known = (table.arrow_schema(), Arc::new(collected));
        self.collected.put(table_key(table), known);
    }

    /// The described tables of a schema where they are cached; never asks the source.
    pub fn peek_described(&self, schema: &str) -> Option<Arc<Vec<Arc<TableMetadata>>>> {
        self.described.peek(&schema.to_owned())
    }

    /// Forgets every answer of the source, and has the connector forget.
    pub fn flush(&self) {
        self.connector.forget();
        self.schemas.clear();
        self.listings.clear();
        self.described.clear();
        self.details.clear();
        self.tables.clear();
        self.absent.clear();
        self.statistics.clear();
        // Last: whoever sees the new version finds no older answer.
        self.flushes.fetch_add(1, Ordering::Release);
    }

    /// Changes with every [`MetadataCache::flush`]: a plan that was made under another version must be
    /// bound again.
    pub fn version(&self) -> u64 {
        self.flushes.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn misses_at_once_load_once_and_the_ttl_ends() {
        let answers: Answers<u8, usize> = Answers::new(Duration::from_millis(50));
        let loads = AtomicUsize::new(0);
        let load = || async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok(loads.fetch_add(1, Ordering::SeqCst))
        };
        let (a, b) = tokio::join!(answers.get_or_load(1, load), answers.get_or_load(1, load));
        assert_eq!((a.unwrap(), b.unwrap()), (0, 0));
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(answers.get_or_load(1, load).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_failure_is_not_kept() {
        let answers: Answers<u8, usize> = Answers::new(METADATA_TTL);
        let failed = answers
            .get_or_load(1, || async { Err(sluice_spi::Error::internal("down")) })
            .await;
        assert!(failed.is_err());
        assert_eq!(answers.get_or_load(1, || async { Ok(7) }).await.unwrap(), 7);
    }
}
