//! The plan that the runs of one prepared statement share, as PostgreSQL's generic plan does: made at the
//! second run, so that a statement that runs once pays nothing for it.
//!
//! Two kinds of plan are kept. One without parameters is kept as it was made. One with parameters is kept
//! where all of them stand in a filter right above its only table: a query `Q` over the rows of `T` that
//! pass `p` is planned once as `Q` over any rows of `T`, and each run hands its own `p`, the values filled
//! in, to the source. The source's own rules look at every value, as they do when a statement is planned;
//! where they do not take a filter exactly, and wherever else a run differs from the plan (NULL, another
//! type, other splits, other workers), the run is planned from its text again.
//!
//! A kept plan is never run: each run gets operators of its own.

mod lookup;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::Result as EngineResult;
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::scalar::ScalarValue;
use sluice_catalogs::{ConnectorScanExec, SluiceOptions, as_scan};
use sluice_spi::Result;

use crate::bind::QueryPlan;
use crate::errors::engine_error;
use crate::physical::{PhysicalStatement, Placement, physical_plan};
use lookup::Lookup;

/// A plan that is kept.
pub(crate) struct GenericPlan {
    /// It was made with so many workers in sight. Which they are is all the same to a plan that stays here,
    /// and their order changes with their load.
    workers: usize,
    /// How many of them the session lets take part.
    pub(crate) worker_limit: Option<usize>,
    /// Operators with one input each, down to the leaf.
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    reason: &'static str,
    schema: SchemaRef,
    logical: Arc<LogicalPlan>,
    /// Pieces that the splits of its scan may be read in.
    parallelism: usize,
    lookup: Option<Lookup>,
}

impl GenericPlan {
    /// The plan to keep for `query`, of which one run was planned as `planned`; `None` where each run needs
    /// a plan of its own.
    pub(crate) async fn new(
        state: &SessionState,
        workers: usize,
        worker_limit: Option<usize>,
        query: &QueryPlan,
        planned: &PhysicalStatement,
    ) -> Result<Option<GenericPlan>> {
        let Placement::Coordinator(reason) = planned.placement else {
            return Ok(None);
        };
        let (plan, logical, lookup) = if query.optimized.is_some() {
            (planned.plan.clone(), planned.logical.clone(), None)
        } else {
            let Some((rest, lookup)) =
                Lookup::of(state, query, workers > 0).map_err(engine_error)?
            else {
                return Ok(None);
            };
            let state = in_one_piece(state);
            let logical = state.optimize(&rest).map_err(engine_error)?;
            let plan = physical_plan(&state, &logical).await?;
            (plan, Arc::new(logical), Some(lookup))
        };
        let scan = match leaf(&plan) {
            // A read in several pieces is planned each time: how many depends on the moment.
            Some(Some(scan)) if scan.groups().len() == 1 => Some(scan),
            Some(None) if lookup.is_none() => None,
            _ => return Ok(None),
        };
        // The run at hand uses the operators that it has made.
        let scan = scan.map(|scan| Arc::new(scan.clone()) as Arc<dyn ExecutionPlan>);
        let scan = scan.map(ExecutionPlan::reset_state).transpose();
        let plan = fresh(&plan, scan.map_err(engine_error)?).map_err(engine_error)?;
        let sluice = SluiceOptions::of(state.config());
        Ok(Some(GenericPlan {
            workers,
            worker_limit,
            plan,
            context: planned.context.clone(),
            reason,
            schema: Arc::new(logical.schema().as_arrow().clone()),
            logical,
            parallelism: state
                .config()
                .target_partitions()
                .saturating_mul(sluice.workers.max(1)),
            lookup,
        }))
    }

    /// The plan of one run; `None` where this run needs a plan of its own.
    pub(crate) async fn run(
        &self,
        query_id: &Arc<str>,
        workers: usize,
        parameters: &[ScalarValue],
    ) -> Result<Option<PhysicalStatement>> {
        if workers != self.workers {
            return Ok(None);
        }
        let scan = match leaf(&self.plan) {
            Some(Some(kept)) => {
                let handle = match &self.lookup {
                    None => None,
                    Some(lookup) => match lookup.handle(kept, parameters) {
                        Some(handle) => Some(handle),
                        None => return Ok(None),
                    },
                };
                let again = kept.again(query_id, handle, self.parallelism).await;
                match again.map_err(engine_error)? {
                    Some(scan) => Some(Arc::new(scan) as Arc<dyn ExecutionPlan>),
                    None => return Ok(None),
                }
            }
            _ => None,
        };
        let plan = fresh(&self.plan, scan).map_err(engine_error)?;
        Ok(Some(PhysicalStatement {
            plan,
            context: self.context.clone(),
            placement: Placement::Coordinator(self.reason),
            schema: self.schema.clone(),
            logical: self.logical.clone(),
        }))
    }
}

/// The same state for plans whose tables are read in one piece, as most runs with a filter read them.
fn in_one_piece(state: &SessionState) -> SessionState {
    let mut state = state.clone();
    let options = state.config_mut().options_mut();
    options.execution.target_partitions = 1;
    if let Some(sluice) = options.extensions.get_mut::<SluiceOptions>() {
        sluice.workers = 0;
    }
    state
}

/// The leaf of a plan that may be kept: `None` where the plan is of another shape or holds operators that
/// remember a run, `Some(None)` where it reads no table.
fn leaf(plan: &Arc<dyn ExecutionPlan>) -> Option<Option<&ConnectorScanExec>> {
    if let Some(scan) = as_scan(plan.as_ref()) {
        return scan.dynamic_filters().is_empty().then_some(Some(scan));
    }
    if plan.is::<PlaceholderRowExec>() || plan.is::<EmptyExec>() {
        return Some(None);
    }
    // What is not on this list may learn while it runs (a top-N, a join), or take part in other stages.
    let keeps_nothing = plan.is::<ProjectionExec>()
        || plan.is::<FilterExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<CooperativeExec>()
        || plan.is::<GlobalLimitExec>()
        || plan.is::<LocalLimitExec>();
    match plan.children().as_slice() {
        [input] if keeps_nothing => leaf(input),
        _ => None,
    }
}

/// The operators of `plan` made anew over `scan` (or over their own leaf, which holds no state).
fn fresh(
    plan: &Arc<dyn ExecutionPlan>,
    scan: Option<Arc<dyn ExecutionPlan>>,
) -> EngineResult<Arc<dyn ExecutionPlan>> {
    let input = match plan.children().as_slice() {
        [] => return Ok(scan.unwrap_or_else(|| plan.clone())),
        [input, ..] => fresh(input, scan)?,
    };
    // The scan reads one split, as the kept one does: partitions and all else stay as they are.
    let keep = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
    plan.clone().replace_children(vec![input], keep)
}
