//! Sluice's own engine options, carried in DataFusion's configuration from the session to each scan and,
//! where workers need them, to each task.

use datafusion::common::extensions_options;
use datafusion::config::ConfigExtension;
use datafusion::prelude::SessionConfig;

extensions_options! {
    /// Options of one statement.
    pub struct SluiceOptions {
        /// The query's id; empty outside of a query.
        pub query_id: String, default = String::new()
        /// Workers that may take part. 0 runs everything in the coordinator.
        pub workers: usize, default = 0
        /// Whether filters are offered to the sources.
        pub pushdown: bool, default = true
        /// The session's time zone, for tasks on workers.
        pub time_zone: String, default = "UTC".to_owned()
    }
}

impl ConfigExtension for SluiceOptions {
    const PREFIX: &'static str = "sluice";
}

impl SluiceOptions {
    /// The options inside of `config`; the defaults where a session was made without them.
    pub fn of(config: &SessionConfig) -> SluiceOptions {
        config
            .options()
            .extensions
            .get::<SluiceOptions>()
            .cloned()
            .unwrap_or_default()
    }
}
