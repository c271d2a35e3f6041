//! `KeepKeysInTopN`: a top-N in several partitions sorts by every key of the merge above it.
//!
//! Below a union the engine leaves a key out that is a constant in each partition, though another one in each.
//! The partitions of a top-N tell each other the worst row that they still keep, and scans leave out what is
//! worse: without that key a row of one partition would be judged by rows of another that it comes before.
//! Equal in every case: within a partition a constant decides nothing.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

/// See the module. Runs before the top-N tells scans what it keeps.
#[derive(Debug)]
pub(crate) struct KeepKeysInTopN;

impl PhysicalOptimizerRule for KeepKeysInTopN {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(merge) = node.downcast_ref::<SortPreservingMergeExec>() else {
                return Ok(Transformed::no(node));
            };
            match sorted_by(merge.input(), merge.expr().clone())? {
                Some(input) => {
                    replace_children_if_necessary(node, vec![input]).map(Transformed::yes)
                }
                None => Ok(Transformed::no(node)),
            }
        })
        .map(|transformed| transformed.data)
    }

    fn name(&self) -> &str {
        "KeepKeysInTopN"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The input with a top-N by the whole order, where it has one by fewer keys.
fn sorted_by(
    input: &Arc<dyn ExecutionPlan>,
    order: LexOrdering,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(projection) = input.downcast_ref::<ProjectionExec>() {
        let Some(order) = below(projection, order)? else {
            return Ok(None);
        };
        let Some(sorted) = sorted_by(projection.input(), order)? else {
            return Ok(None);
        };
        return replace_children_if_necessary(Arc::clone(input), vec![sorted]).map(Some);
    }
    let Some(sort) = input.downcast_ref::<SortExec>() else {
        return Ok(None);
    };
    let partitions = sort.input().output_partitioning().partition_count();
    if sort.fetch().is_none() || partitions < 2 || sort.expr().len() >= order.len() {
        return Ok(None);
    }
    let whole = SortExec::new(order, Arc::clone(sort.input()))
        .with_preserve_partitioning(sort.preserve_partitioning())
        .with_fetch(sort.fetch());
    Ok(Some(Arc::new(whole)))
}

/// The order in the columns below a projection.
fn below(projection: &ProjectionExec, order: LexOrdering) -> Result<Option<LexOrdering>> {
    let outputs = projection.expr();
    let mut keys = Vec::with_capacity(order.len());
    for mut key in order {
        let expr = key.expr.transform_up(|e| {
            let index = e.downcast_ref::<Column>().map(Column::index);
            Ok(match index.and_then(|index| outputs.get(index)) {
                Some(output) => Transformed::yes(Arc::clone(&output.expr)),
                None => Transformed::no(e),
            })
        })?;
        key.expr = expr.data;
        keys.push(key);
    }
    Ok(LexOrdering::new(keys))
}
