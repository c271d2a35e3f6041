//! `BroadcastKeysToScans`: a join whose few build rows can narrow what a source is asked for keeps build and
//! scan in one stage.
//!
//! The keys of a join reach a scan as a run-time filter, and run-time filters do not cross stages. A build
//! side that is sent to every task of the probe side leaves the filter where the scan is. Equal in every
//! case: only the way the same join is computed changes. A join that also returns build rows cannot be
//! computed once per task, so there the scan is read in one task, and by one partition: with keys it returns
//! few rows. [`ReadProbeInOnePartition`] settles that, once the engine has distributed everything else.
//!
//! Cost test: the build side is estimated to have at most as many rows as the source takes keys; more of
//! them would not reach the source one by one. The scan is one that has to ask for its rows by a statement.
//! Runs only where workers take part: in one process, run-time filters reach every scan.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, Partitioning};
use sluice_catalogs::{ConnectorScanExec, SluiceOptions, as_scan};

/// Bytes of a build side that is copied to every task at most: what a broadcast holds in memory.
const BROADCAST_BYTES: usize = 64 << 20;

/// See the module.
#[derive(Debug)]
pub(crate) struct BroadcastKeysToScans;

impl PhysicalOptimizerRule for BroadcastKeysToScans {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = config.extensions.get::<SluiceOptions>();
        let workers = options.map_or(0, |options| options.workers);
        if workers == 0 || !config.optimizer.enable_join_dynamic_filter_pushdown {
            return Ok(plan);
        }
        plan.transform_up(|node| {
            let Some(join) = node.downcast_ref::<HashJoinExec>() else {
                return Ok(Transformed::no(node));
            };
            Ok(match with_build_sent(join)? {
                Some(changed) => Transformed::yes(changed),
                None => Transformed::no(node),
            })
        })
        .map(|transformed| transformed.data)
    }

    fn name(&self) -> &str {
        "BroadcastKeysToScans"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn with_build_sent(join: &HashJoinExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let returns_build_rows = match join.join_type() {
        JoinType::Inner | JoinType::RightSemi => false,
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => true,
        // Probe rows without a match are part of the result: no key rules one out.
        JoinType::Right | JoinType::RightAnti | JoinType::RightMark | JoinType::Full => {
            return Ok(None);
        }
    };
    // NOT IN depends on all rows of both sides, in a way of its own.
    if join.null_aware {
        return Ok(None);
    }
    let keys = probe_keys(join);
    let Some(max_keys) =
        narrowed_scan(join.right(), &keys).and_then(ConnectorScanExec::run_time_keys)
    else {
        return Ok(None);
    };
    let build = StatisticsContext::new().compute(join.left().as_ref(), &StatisticsArgs::new())?;
    let is_small = build
        .num_rows
        .get_value()
        .is_some_and(|rows| *rows <= max_keys.max_keys)
        && build
            .total_byte_size
            .get_value()
            .is_none_or(|bytes| *bytes <= BROADCAST_BYTES);
    if !is_small {
        return Ok(None);
    }
    if !returns_build_rows {
        return if *join.partition_mode() == PartitionMode::CollectLeft {
            Ok(None)
        } else {
            collecting_build(join, join.right().clone()).map(Some)
        };
    }
    // Whatever else were read there would be read in one place too.
    if count_leaves(join.right()) > 1 {
        return Ok(None);
    }
    collecting_build(join, read_in_one_task(join.right())?).map(Some)
}

fn collecting_build(
    join: &HashJoinExec,
    probe: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    join.builder()
        .with_partition_mode(PartitionMode::CollectLeft)
        .with_new_children(vec![join.left().clone(), probe])?
        .recompute_properties()
        .build_exec()
}

/// Gives the probe side of such joins one partition, which keeps them in the task of their scan.
#[derive(Debug)]
pub(crate) struct ReadProbeInOnePartition;

impl PhysicalOptimizerRule for ReadProbeInOnePartition {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = config.extensions.get::<SluiceOptions>();
        if options.is_none_or(|options| options.workers == 0) {
            return Ok(plan);
        }
        plan.transform_up(|node| {
            let Some(join) = node.downcast_ref::<HashJoinExec>() else {
                return Ok(Transformed::no(node));
            };
            let is_collected = *join.partition_mode() == PartitionMode::CollectLeft
                && matches!(
                    join.join_type(),
                    JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark
                );
            if !is_collected || !is_read_in_one_task(join.right()) {
                return Ok(Transformed::no(node));
            }
            let probe = without_round_robin(join.right())?;
            let probe = if probe.output_partitioning().partition_count() > 1 {
                Arc::new(CoalescePartitionsExec::new(probe))
            } else {
                probe
            };
            collecting_build(join, probe).map(Transformed::yes)
        })
        .map(|transformed| transformed.data)
    }

    fn name(&self) -> &str {
        "ReadProbeInOnePartition"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn is_read_in_one_task(plan: &Arc<dyn ExecutionPlan>) -> bool {
    if let Some(scan) = as_scan(plan.as_ref()) {
        return scan.is_one_task() && scan.run_time_keys().is_some();
    }
    let children = plan.children();
    children.len() == 1 && is_read_in_one_task(children[0])
}

/// Spreading one scan's rows over partitions is no use where they are gathered again.
fn without_round_robin(plan: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.clone()
        .transform_up(|node| {
            Ok(match node.downcast_ref::<RepartitionExec>() {
                Some(spread)
                    if matches!(spread.partitioning(), Partitioning::RoundRobinBatch(_)) =>
                {
                    Transformed::yes(spread.input().clone())
                }
                _ => Transformed::no(node),
            })
        })
        .map(|transformed| transformed.data)
}

/// Names of the columns that the probe side is joined by.
fn probe_keys(join: &HashJoinExec) -> Vec<String> {
    join.on()
        .iter()
        .flat_map(|(_, probe)| collect_columns(probe))
        .map(|column| column.name().to_owned())
        .collect()
}

/// The scan below that a run-time filter on `keys` would reach, and that takes keys.
fn narrowed_scan<'a>(
    plan: &'a Arc<dyn ExecutionPlan>,
    keys: &[String],
) -> Option<&'a ConnectorScanExec> {
    if let Some(scan) = as_scan(plan.as_ref()) {
        let schema = scan.schema();
        let has_key = keys.iter().any(|key| schema.index_of(key).is_ok());
        return (has_key && scan.run_time_keys().is_some() && scan.limit().is_none())
            .then_some(scan);
    }
    plan.children()
        .into_iter()
        .find_map(|child| narrowed_scan(child, keys))
}

fn count_leaves(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let children = plan.children();
    if children.is_empty() {
        1
    } else {
        children.into_iter().map(count_leaves).sum()
    }
}

fn read_in_one_task(plan: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.clone()
        .transform_up(|node| {
            Ok(match as_scan(node.as_ref()) {
                Some(scan) => {
                    let single = scan.clone().in_one_task();
                    Transformed::yes(Arc::new(single) as Arc<dyn ExecutionPlan>)
                }
                None => Transformed::no(node),
            })
        })
        .map(|transformed| transformed.data)
}
