//! Which workers a query may use.
//!
//! The choice is made once, when a query is planned, so that all of its stages agree and the query can
//! be told when one of them is lost.

use std::sync::Arc;

use datafusion::common::DataFusionError;
use datafusion_distributed::WorkerResolver;
use sluice_spi::{Error, SqlState};
use url::Url;

use crate::Membership;
use crate::membership::HealthyWorker;

/// The workers of one query.
#[derive(Clone)]
pub struct PinnedWorkers {
    membership: Arc<Membership>,
    urls: Arc<[Url]>,
}

impl Membership {
    /// Chooses the workers of one query: all healthy ones, or `limit` of them (`sluice.workers`). The
    /// ones with fewest tasks come first, and the gateway's own comes last, since it also carries the
    /// heads of all queries.
    pub fn resolver(self: &Arc<Self>, limit: Option<usize>) -> PinnedWorkers {
        let healthy = self.healthy();
        let mut chosen: Vec<&HealthyWorker> = healthy.iter().collect();
        // The sort is stable: equally loaded workers stay in the order of their registration.
        chosen.sort_by_key(|worker| (worker.embedded, worker.running_tasks));
        chosen.truncate(limit.unwrap_or(usize::MAX));
        let urls = chosen.into_iter().map(|worker| worker.url.clone()).collect();
        PinnedWorkers { membership: Arc::clone(self), urls }
    }
}

impl PinnedWorkers {
    /// The chosen workers, well or not; for [`Membership::lost`].
    pub fn urls(&self) -> &[Url] {
        &self.urls
    }
}

impl WorkerResolver for PinnedWorkers {
    /// Those of the chosen that are healthy now.
    fn get_urls(&self) -> Result<Vec<Url>, DataFusionError> {
        let healthy = self.membership.healthy();
        let is_healthy = |url: &&Url| healthy.iter().any(|worker| worker.url == **url);
        let urls: Vec<Url> = self.urls.iter().filter(is_healthy).cloned().collect();
        if urls.is_empty() {
            let error = Error::new(SqlState::SYSTEM_ERROR, "no worker is there to run the query")
                .with_hint("system.runtime.workers shows the workers; SET sluice.workers = 0 runs queries in the gateway.");
            return Err(error.into());
        }
        Ok(urls)
    }
}
