//! `SortBeforeMerge`: a merge of inputs that are not known to be sorted becomes a sort.
//!
//! Below a union the engine sorts each input and merges; where one input has a column twice, it shortens
//! that input's order, no longer finds it in the union's, and refuses the plan that it made. Equal in every
//! case: the rows come in the order that was asked for.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

/// See the module.
#[derive(Debug)]
pub(crate) struct SortBeforeMerge;

impl PhysicalOptimizerRule for SortBeforeMerge {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(merge) = node.downcast_ref::<SortPreservingMergeExec>() else {
                return Ok(Transformed::no(node));
            };
            let order = merge.expr().clone();
            let properties = merge.input().equivalence_properties();
            if properties.ordering_satisfy(order.clone())? {
                return Ok(Transformed::no(node));
            }
            let rows = Arc::new(CoalescePartitionsExec::new(Arc::clone(merge.input())));
            let sorted = SortExec::new(order, rows).with_fetch(merge.fetch());
            Ok(Transformed::yes(Arc::new(sorted) as Arc<dyn ExecutionPlan>))
        })
        .map(|transformed| transformed.data)
    }

    fn name(&self) -> &str {
        "SortBeforeMerge"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
