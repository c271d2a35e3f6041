//! The fleet as the planner needs it, and the session that each task runs in.

use std::sync::Arc;

use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion_distributed::{
    ChannelResolver, DistributedExt, WorkerPlanRewriteEvent, WorkerPlanRewriteEventResponse,
    WorkerResolver,
};
use http::HeaderMap;
use sluice_catalogs::keys::await_keys;
use sluice_catalogs::{Catalogs, SluiceCodec, SluiceOptions, functions};
use sluice_planner::Fleet;
use sluice_workers::{Membership, SessionCustomizer, WorkerChannels, query_headers};
use url::Url;

/// The coordinator's fleet.
pub struct GatewayFleet {
    membership: Arc<Membership>,
    channels: WorkerChannels,
    embedded: Option<Url>,
}

impl GatewayFleet {
    /// A fleet over `membership`, reached by `channels`; `embedded` is the gateway's own worker.
    pub fn new(
        membership: Arc<Membership>,
        channels: WorkerChannels,
        embedded: Option<Url>,
    ) -> Self {
        GatewayFleet {
            membership,
            channels,
            embedded,
        }
    }
}

/// The workers of one query.
struct Chosen(Vec<Url>);

impl WorkerResolver for Chosen {
    fn get_urls(&self) -> Result<Vec<Url>, DataFusionError> {
        Ok(self.0.clone())
    }
}

impl Fleet for GatewayFleet {
    fn workers(&self, limit: Option<usize>) -> Vec<Url> {
        // The gateway's own worker shares its cores with the heads of all queries: it only serves tables
        // that live in this process.
        let others = self
            .membership
            .healthy_urls()
            .into_iter()
            .filter(|url| Some(url) != self.embedded.as_ref());
        others.take(limit.unwrap_or(usize::MAX)).collect()
    }

    fn resolver(&self, urls: Vec<Url>) -> Arc<dyn WorkerResolver> {
        Arc::new(Chosen(urls))
    }

    fn channels(&self) -> Arc<dyn ChannelResolver + Send + Sync> {
        Arc::new(self.channels.clone())
    }

    fn embedded(&self) -> Option<Url> {
        self.embedded.clone()
    }

    fn headers(&self, query_id: &str) -> HeaderMap {
        query_headers(query_id)
    }
}

/// What a task's session holds: the codec over this process's catalogs, the functions of every process,
/// and the options that came with the request.
pub fn task_session(catalogs: Arc<Catalogs>) -> SessionCustomizer {
    Arc::new(move |builder: SessionStateBuilder, headers: &HeaderMap| {
        let mut builder = builder
            .with_distributed_user_codec(SluiceCodec::new(catalogs.clone()))
            .with_distributed_option_extension_from_headers::<SluiceOptions>(headers)?;
        let config = builder.config().get_or_insert_default();
        let options = SluiceOptions::of(config);
        options.list_keys(config);
        config.options_mut().execution.time_zone = Some(options.time_zone);
        let mut scalar = builder.scalar_functions().take().unwrap_or_default();
        scalar.extend(functions::global_functions().into_iter().map(Arc::new));
        let mut aggregates = builder.aggregate_functions().take().unwrap_or_default();
        aggregates.extend(functions::global_aggregates().into_iter().map(Arc::new));
        Ok(builder
            .with_scalar_functions(scalar)
            .with_aggregate_functions(aggregates)
            .with_distributed_worker_plan_rewrite_handler(mark_awaited_keys))
    })
}

/// Which keys a scan waits for depends on the joins that are in the same task.
fn mark_awaited_keys(
    event: WorkerPlanRewriteEvent<'_>,
) -> Result<WorkerPlanRewriteEventResponse, DataFusionError> {
    await_keys(&event.plan);
    Ok(WorkerPlanRewriteEventResponse::new(event.plan))
}
