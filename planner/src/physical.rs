//! A bound query becomes a physical plan: in the coordinator alone, or in stages over workers.
//!
//! Guards against wrong results of the staging live here: a shape that datafusion-distributed plans
//! wrongly is either planned another way or kept in the coordinator.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, PartitionMode};
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::scalar::ScalarValue;
use datafusion_distributed::{
    DesiredTaskCountEvent, DesiredTaskCountEventResponse, DistributedExec, DistributedExt,
    DistributedLeafExec, RouteTasksEvent, RouteTasksEventResponse, RouteTasksHandler,
    ScaleUpLeafNodeEvent, ScaleUpLeafNodeEventResponse, SessionStateBuilderExt,
};
use sluice_catalogs::keys::await_keys;
use sluice_catalogs::{SluiceOptions, as_scan};
use sluice_spi::Result;
use url::Url;

use crate::bind::{BoundStatement, QueryPlan, StatementKind};
use crate::errors::engine_error;
use crate::generic::GenericPlan;
use crate::session::{PlanSession, Planner};

/// Bytes that one task of a scan is worth: fewer are read faster than a task is sent out.
const TASK_BYTES: u64 = 4 << 20;

/// Where a plan runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// In the coordinator's process; why.
    Coordinator(&'static str),
    /// In stages over these workers.
    Workers(Vec<Url>),
}

/// A plan that can be run once.
pub struct PhysicalStatement {
    /// The plan. It must not be run twice: stage ids are fixed in it.
    pub plan: Arc<dyn ExecutionPlan>,
    /// What it runs with.
    pub context: Arc<TaskContext>,
    /// Where it runs.
    pub placement: Placement,
    /// Its columns as the client was told, types and tags included.
    pub schema: SchemaRef,
    /// The optimized logical plan, for EXPLAIN (TYPE LOGICAL).
    pub logical: Arc<LogicalPlan>,
}

impl Planner {
    /// The physical plan of one run of `query`.
    pub async fn plan(
        &self,
        session: &PlanSession,
        bound: &BoundStatement,
        query: &QueryPlan,
        parameters: Vec<ScalarValue>,
    ) -> Result<PhysicalStatement> {
        let workers = if bound.local_only {
            Vec::new()
        } else {
            self.workers(session.workers)
        };
        let mut state = self.statement_state(session, workers.len());
        let planned = self
            .plan_in(&mut state, &workers, session, bound, query, parameters)
            .await?;
        let is_query = matches!(bound.kind, StatementKind::Query(_)) && !bound.local_only;
        if is_query && query.wants_generic() {
            let limit = session.workers;
            let generic = GenericPlan::new(&state, workers.len(), limit, query, &planned).await;
            // Without one, each run is planned: no error of this run.
            query.keep_generic(generic.ok().flatten());
        }
        Ok(planned)
    }

    /// The plan of a further run of `query`, made of what earlier runs left; `None` where there is nothing
    /// that this run could use. The session's settings must be those of the earlier runs.
    pub async fn plan_again(
        &self,
        query_id: &Arc<str>,
        query: &QueryPlan,
        parameters: &[ScalarValue],
    ) -> Result<Option<PhysicalStatement>> {
        let Some(generic) = query.generic() else {
            return Ok(None);
        };
        let workers = self.workers(generic.worker_limit).len();
        generic.run(query_id, workers, parameters).await
    }

    fn workers(&self, limit: Option<usize>) -> Vec<Url> {
        match limit {
            Some(0) => Vec::new(),
            limit => self.fleet.workers(limit),
        }
    }

    async fn plan_in(
        &self,
        state: &mut SessionState,
        workers: &[Url],
        session: &PlanSession,
        bound: &BoundStatement,
        query: &QueryPlan,
        parameters: Vec<ScalarValue>,
    ) -> Result<PhysicalStatement> {
        let logical = query.for_run(state, parameters)?;
        let schema = Arc::new(logical.schema().as_arrow().clone());
        let local = physical_plan(state, &logical).await?;
        let logical = Arc::new(logical);
        list_keys(state, &local)?;
        await_keys(&local);
        let embedded = self.fleet.embedded();
        let refusal = if bound.local_only {
            Some("it reads tables of the session")
        } else if workers.is_empty() {
            Some("no workers take part")
        } else {
            reason_to_stay(&local, session.distribute_above(self), embedded.is_some())
                .map_err(engine_error)?
        };
        let here = |plan, reason| PhysicalStatement {
            plan,
            context: state.task_ctx(),
            placement: Placement::Coordinator(reason),
            schema: schema.clone(),
            logical: logical.clone(),
        };
        if let Some(reason) = refusal {
            return Ok(here(local, reason));
        }
        let distributed = self.distributed_state(state, workers, &local)?;
        let plan = physical_plan(&distributed, &logical).await?;
        if !plan.is::<DistributedExec>() {
            return Ok(here(local, "it has no useful exchange"));
        }
        let context = distributed.task_ctx();
        let placement = Placement::Workers(workers.to_vec());
        Ok(PhysicalStatement {
            plan,
            context,
            placement,
            schema,
            logical,
        })
    }

    /// The same state, planning in stages over `workers`.
    fn distributed_state(
        &self,
        state: &SessionState,
        workers: &[Url],
        local: &Arc<dyn ExecutionPlan>,
    ) -> Result<SessionState> {
        let broadcast = !builds_on_a_limit(local).map_err(engine_error)?;
        let options = SluiceOptions::of(state.config());
        let query_id = options.query_id.clone();
        let builder = SessionStateBuilder::new_from_existing(state.clone())
            .with_distributed_option_extension(options)
            .with_distributed_worker_resolver(self.fleet.resolver(workers.to_vec()))
            .with_distributed_channel_resolver(self.fleet.channels())
            .with_distributed_user_codec(self.codec())
            .with_distributed_desired_task_count_handler(desired_task_count)
            .with_distributed_scale_up_leaf_node_handler(scale_up_leaf_node);
        let routes = Routes {
            workers: workers.to_vec(),
            embedded: self.fleet.embedded(),
        };
        builder
            .with_distributed_route_tasks_handler(routes)
            .with_distributed_planner()
            .with_distributed_passthrough_headers(self.fleet.headers(&query_id))
            .and_then(|builder| builder.with_distributed_broadcast_joins(broadcast))
            .map(SessionStateBuilder::build)
            .map_err(engine_error)
    }
}

impl PlanSession {
    fn distribute_above(&self, planner: &Planner) -> u64 {
        self.distribute_above_bytes
            .unwrap_or(planner.config.distribute_above_bytes as u64)
    }
}

/// Lets joins keep key lists as long as the sources of `plan` take them.
fn list_keys(state: &mut SessionState, plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
    let mut longest = 0;
    plan.apply(|node| {
        let keys = as_scan(node.as_ref())
            .filter(|scan| !scan.dynamic_filters().is_empty())
            .and_then(|scan| scan.run_time_keys());
        longest = longest.max(keys.map_or(0, |keys| keys.max_keys));
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(engine_error)?;
    let config = state.config_mut();
    if let Some(options) = config.options_mut().extensions.get_mut::<SluiceOptions>() {
        options.listed_keys = longest;
    }
    SluiceOptions::of(config).list_keys(config);
    Ok(())
}

pub(crate) async fn physical_plan(
    state: &SessionState,
    logical: &LogicalPlan,
) -> Result<Arc<dyn ExecutionPlan>> {
    state
        .query_planner()
        .create_physical_plan(logical, state)
        .await
        .map_err(engine_error)
}

/// Why a plan must not, or need not, leave the coordinator.
fn reason_to_stay(
    plan: &Arc<dyn ExecutionPlan>,
    above_bytes: u64,
    embedded: bool,
) -> datafusion::common::Result<Option<&'static str>> {
    let mut reason = None;
    let mut bytes = 0u64;
    let mut unknown_size = false;
    let mut everything_coordinator_only = true;
    plan.apply(|node| {
        if node.is::<RecursiveQueryExec>() {
            reason = Some("it is recursive");
        } else if node.name() == "ScalarSubqueryExec" {
            reason = Some("it holds a scalar subquery that was planned for one process");
        } else if let Some(scan) = as_scan(node.as_ref()) {
            if scan.target().coordinator_only {
                if !embedded {
                    reason = Some("it reads tables that live in the coordinator");
                }
            } else {
                everything_coordinator_only = false;
            }
            match scan.splits().map(|s| s.bytes).sum::<Option<u64>>() {
                Some(read) => bytes = bytes.saturating_add(read),
                None => unknown_size |= !scan.target().coordinator_only,
            }
        } else if node.children().is_empty()
            && !node.is::<EmptyExec>()
            && !node.is::<PlaceholderRowExec>()
        {
            reason = Some("it reads rows that live in the plan itself");
        }
        Ok(if reason.is_some() {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    })?;
    if reason.is_none() && everything_coordinator_only {
        reason = Some("it reads tables that live in the coordinator");
    }
    if reason.is_none() && !unknown_size && bytes < above_bytes {
        reason = Some("it is too small to gain from workers");
    }
    Ok(reason)
}

/// A build side that holds a LIMIT gives wrong rows when it is broadcast (datafusion-distributed #670):
/// each consumer would see its own choice of rows.
fn builds_on_a_limit(plan: &Arc<dyn ExecutionPlan>) -> datafusion::common::Result<bool> {
    let mut found = false;
    plan.apply(|node| {
        let build = if let Some(join) = node.downcast_ref::<HashJoinExec>() {
            (*join.partition_mode() == PartitionMode::CollectLeft).then(|| join.left())
        } else {
            node.downcast_ref::<NestedLoopJoinExec>()
                .map(|join| join.left())
        };
        // A cross join's first child is its build side too.
        let build = build.or_else(|| (node.name() == "CrossJoinExec").then(|| node.children()[0]));
        if let Some(build) = build {
            found |= holds_a_limit(build)?;
        }
        Ok(if found {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    })?;
    Ok(found)
}

fn holds_a_limit(plan: &Arc<dyn ExecutionPlan>) -> datafusion::common::Result<bool> {
    plan.exists(|node| {
        Ok(node.fetch().is_some()
            || node.is::<GlobalLimitExec>()
            || node.is::<LocalLimitExec>()
            || as_scan(node.as_ref()).is_some_and(|scan| scan.limit().is_some()))
    })
}

/// How many tasks a scan is worth.
fn desired_task_count(
    event: DesiredTaskCountEvent<'_>,
) -> Option<datafusion::common::Result<DesiredTaskCountEventResponse>> {
    let scan = as_scan(event.plan.as_ref())?;
    if scan.is_one_task() {
        return Some(Ok(DesiredTaskCountEventResponse::maximum(1)));
    }
    let splits = scan.splits().count().max(1);
    let by_size = match scan.splits().map(|s| s.bytes).sum::<Option<u64>>() {
        Some(bytes) => usize::try_from(bytes.div_ceil(TASK_BYTES))
            .unwrap_or(usize::MAX)
            .max(1),
        None => splits,
    };
    Some(Ok(DesiredTaskCountEventResponse::desired(
        splits.min(by_size),
    )))
}

/// Deals a scan's splits out to its tasks.
fn scale_up_leaf_node(
    event: ScaleUpLeafNodeEvent<'_>,
) -> Option<datafusion::common::Result<ScaleUpLeafNodeEventResponse>> {
    let scan = as_scan(event.plan.as_ref())?;
    if event.task_count <= 1 {
        return None;
    }
    let partitions = event.session_config.target_partitions();
    let leaf = scan
        .for_tasks(event.task_count, partitions)
        .and_then(|variants| {
            let variants = variants
                .into_iter()
                .map(|v| Arc::new(v) as Arc<dyn ExecutionPlan>);
            DistributedLeafExec::try_new(Arc::clone(event.plan), variants)
        });
    Some(leaf.map(|leaf| ScaleUpLeafNodeEventResponse::new(Arc::new(leaf))))
}

/// Where the tasks of a stage go.
struct Routes {
    workers: Vec<Url>,
    embedded: Option<Url>,
}

/// Starts each stage's tasks at another worker, so that single-task stages spread over the fleet.
static NEXT_WORKER: AtomicUsize = AtomicUsize::new(0);

impl RouteTasksHandler for Routes {
    fn handle(
        &self,
        event: RouteTasksEvent<'_>,
    ) -> Option<datafusion::common::Result<RouteTasksEventResponse>> {
        let reads_here = event.plan.exists(|node| {
            Ok(as_scan(node.as_ref()).is_some_and(|scan| scan.target().coordinator_only))
        });
        match (reads_here, &self.embedded) {
            (Err(error), _) => return Some(Err(error)),
            (Ok(true), Some(url)) if event.task_count == 1 => {
                return Some(Ok(RouteTasksEventResponse::new(vec![url.clone()])));
            }
            (Ok(true), _) => {
                let error = DataFusionError::Internal(
                    "a table of the coordinator's process was planned for several tasks".into(),
                );
                return Some(Err(error));
            }
            (Ok(false), _) => {}
        }
        let first = NEXT_WORKER.fetch_add(event.task_count, Ordering::Relaxed);
        let urls = (0..event.task_count)
            .map(|task| self.workers[(first + task) % self.workers.len()].clone())
            .collect();
        Some(Ok(RouteTasksEventResponse::new(urls)))
    }
}
