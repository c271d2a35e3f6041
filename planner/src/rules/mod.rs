//! Sluice's own optimizer rules: one file each, one pattern, one rewrite.

mod broadcast_keys_to_scans;
mod estimate;
mod keep_filters_above_groups;
mod keep_keys_in_top_n;
mod push_filters_by_position;
mod push_semi_join_below_join;
pub(crate) mod pushdown;
mod reduce_aggregate_by_join_keys;
mod semi_joins;
mod single_distinct;
mod sort_before_merge;
mod yield_in_joins;

use std::sync::Arc;

use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::optimizer::optimizer::{Optimizer, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::filter_pushdown::FilterPushdownPhase;
use push_filters_by_position::PushFiltersByPosition;

/// Settings that switch rules off, each with the name that [`sluice_catalogs::SluiceOptions::allows`] knows.
pub const RULE_SETTINGS: [(&str, &str); 1] = [(
    "sluice.semi_join_reduction",
    semi_joins::SEMI_JOIN_REDUCTION,
)];

/// Adds every rule to the engine's own.
pub(crate) fn register(builder: SessionStateBuilder) -> SessionStateBuilder {
    builder
        .with_optimizer_rules(logical())
        .with_physical_optimizer_rules(physical())
}

/// The engine's rules; once filters are where they belong, semi-joins are moved, and the rules after that
/// take out the columns that nobody needs any more.
fn logical() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let own: [Arc<dyn OptimizerRule + Send + Sync>; 2] = [
        Arc::new(push_semi_join_below_join::PushSemiJoinBelowJoin),
        Arc::new(reduce_aggregate_by_join_keys::ReduceAggregateByJoinKeys),
    ];
    let mut rules = Optimizer::new().rules;
    for rule in &mut rules {
        match rule.name() {
            "push_down_filter" => {
                *rule = Arc::new(keep_filters_above_groups::KeepFiltersAboveGroups::default());
            }
            "single_distinct_aggregation_to_group_by" => {
                *rule = Arc::new(single_distinct::SingleDistinct::default());
            }
            _ => {}
        }
    }
    let after = rules
        .iter()
        .position(|rule| rule.name() == "push_down_filter")
        .map_or(rules.len(), |at| at + 1);
    rules.splice(after..after, own);
    rules
}

fn physical() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    for rule in &mut rules {
        let phase = match rule.name() {
            "FilterPushdown" => FilterPushdownPhase::Pre,
            "FilterPushdown(Post)" => FilterPushdownPhase::Post,
            _ => continue,
        };
        *rule = Arc::new(PushFiltersByPosition(phase));
    }
    // The sides are chosen by then, and nothing is distributed yet.
    let after = rules
        .iter()
        .position(|rule| rule.name() == "join_selection")
        .map_or(0, |at| at + 1);
    rules.insert(
        after,
        Arc::new(broadcast_keys_to_scans::BroadcastKeysToScans),
    );
    let told = rules
        .iter()
        .position(|rule| rule.name() == "PushFiltersByPosition(Post)")
        .unwrap_or(rules.len());
    rules.insert(told, Arc::new(keep_keys_in_top_n::KeepKeysInTopN));
    let check = rules
        .iter()
        .position(|rule| rule.name() == "SanityCheckPlan")
        .unwrap_or(rules.len());
    rules.insert(check, Arc::new(sort_before_merge::SortBeforeMerge));
    rules.push(Arc::new(broadcast_keys_to_scans::ReadProbeInOnePartition));
    rules.push(Arc::new(yield_in_joins::YieldInJoins));
    rules
}
