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
    /// The workers that can be given tasks now: the ones with fewest tasks first, and the gateway's own
    /// last, since it also carries the heads of all queries.
    pub fn healthy_urls(&self) -> Vec<Url> {
        let healthy = self.healthy();
        let mut workers: Vec<&HealthyWorker> = healthy.iter().collect();
        // The sort is stable: equally loaded workers stay in the order of their registration.
        workers.sort_by_key(|worker| (worker.embedded, worker.running_tasks));
        workers
            .into_iter()
            .map(|worker| worker.url.clone())
            .collect()
    }

    /// Chooses the workers of one query: the first `limit` (`sluice.workers`) of
    /// [`Membership::healthy_urls`], or all of them.
    pub fn resolver(self: &Arc<Self>, limit: Option<usize>) -> PinnedWorkers {
        let mut urls = self.healthy_urls();
        urls.truncate(limit.unwrap_or(usize::MAX));
        PinnedWorkers {
            membership: Arc::clone(self),
            urls: urls.into(),
        }
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
