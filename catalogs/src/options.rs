//! Sluice's own engine options, carried in DataFusion's configuration from the session to each scan and,
//! where workers need them, to each task.

use std::collections::BTreeMap;
use std::time::Duration;

use datafusion::common::extensions_options;
use datafusion::config::ConfigExtension;
use datafusion::prelude::SessionConfig;
use sluice_spi::{Error, Result, SnapshotToken};

extensions_options! {
    /// Options of one statement.
    pub struct SluiceOptions {
        /// The query's id; empty outside of a query.
        pub query_id: String, default = String::new()
        /// Workers that may take part. 0 runs everything in the coordinator.
        pub workers: usize, default = 0
        /// Whether filters are offered to the sources.
        pub pushdown: bool, default = true
        /// Whether joins of one source run there: automatic, always or never.
        pub join_pushdown: String, default = "automatic".to_owned()
        /// Whether aggregates of one source run there: automatic, always or never.
        pub aggregation_pushdown: String, default = "automatic".to_owned()
        /// Milliseconds that a scan may wait for keys of a join; `u64::MAX` leaves it to the catalogs.
        pub dynamic_filter_wait_millis: u64, default = u64::MAX
        /// Keys up to which a join keeps a list for the scans below it; 0 is the engine's own bound.
        pub listed_keys: usize, default = 0
        /// Names of optimizer rules that the session has switched off, separated by commas.
        pub rules_off: String, default = String::new()
        /// The session's time zone, for tasks on workers.
        pub time_zone: String, default = "UTC".to_owned()
        /// The snapshots that the statement's scans share: JSON, tokens by catalog. Set after planning.
        pub snapshots: String, default = String::new()
    }
}

impl ConfigExtension for SluiceOptions {
    const PREFIX: &'static str = "sluice";
}

/// Bytes of a join's keys up to which they are listed for a scan: they are held a few times over.
const LISTED_KEYS_BYTES: usize = 4 << 20;

impl SluiceOptions {
    /// How long a scan may wait for keys, where the session says so.
    pub fn dynamic_filter_wait(&self) -> Option<Duration> {
        (self.dynamic_filter_wait_millis != u64::MAX)
            .then(|| Duration::from_millis(self.dynamic_filter_wait_millis))
    }

    /// Makes joins keep lists as long as the sources of this statement take them. Read where a join runs,
    /// so it has to be set in the coordinator and in every task.
    pub fn list_keys(&self, config: &mut SessionConfig) {
        if self.listed_keys > 0 {
            let optimizer = &mut config.options_mut().optimizer;
            optimizer.hash_join_inlist_pushdown_max_distinct_values = self.listed_keys;
            optimizer.hash_join_inlist_pushdown_max_size = LISTED_KEYS_BYTES;
        }
    }

    /// True where the session has not switched the rule off.
    pub fn allows(&self, rule: &str) -> bool {
        !self.rules_off.split(',').any(|off| off == rule)
    }

    /// The options inside of `config`; the defaults where a session was made without them.
    pub fn of(config: &SessionConfig) -> SluiceOptions {
        SluiceOptions::inside(config).cloned().unwrap_or_default()
    }

    /// The options inside of `config`, as they lie there.
    pub fn inside(config: &SessionConfig) -> Option<&SluiceOptions> {
        config.options().extensions.get::<SluiceOptions>()
    }

    /// Keeps the tokens for every scan of the statement, here and on workers.
    pub fn set_snapshots(&mut self, tokens: &BTreeMap<String, SnapshotToken>) -> Result<()> {
        self.snapshots = serde_json::to_string(tokens)
            .map_err(|e| Error::internal(format!("snapshots cannot be written: {e}")))?;
        Ok(())
    }

    /// The token of `catalog`, where its scans share a snapshot.
    pub fn snapshot(&self, catalog: &str) -> Result<Option<SnapshotToken>> {
        if self.snapshots.is_empty() {
            return Ok(None);
        }
        let mut tokens: BTreeMap<String, SnapshotToken> = serde_json::from_str(&self.snapshots)
            .map_err(|e| Error::internal(format!("snapshots cannot be read: {e}")))?;
        Ok(tokens.remove(catalog))
    }
}
