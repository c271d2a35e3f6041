//! Which dynamic filters a scan may wait for.
//!
//! Only a hash join above the scan, in the same task, with the scan on its probe side: such a join completes
//! its filter from rows that the scan has no part in, and before it reads its probe side, so the wait ends.
//! A top-N or an aggregate goes on tightening its filter until the scan itself has ended, and a join in
//! another stage never fills the copy that is here.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::HashJoinExec;

use crate::scan::as_scan;

/// Tells each scan in `plan`, the plan of one task, which filters to wait for. Exchanges have no children in
/// a task's plan, so a scan beyond one is not reached.
pub fn await_keys(plan: &Arc<dyn ExecutionPlan>) {
    visit(plan, &HashSet::new());
}

fn visit(plan: &Arc<dyn ExecutionPlan>, above: &HashSet<u64>) {
    if let Some(scan) = as_scan(plan.as_ref()) {
        let ids = scan
            .dynamic_filters()
            .iter()
            .filter_map(|filter| filter.expression_id())
            .filter(|id| above.contains(id))
            .collect();
        scan.shared_keys().set_awaited(ids);
        return;
    }
    let own = plan
        .is::<HashJoinExec>()
        .then(|| plan.dynamic_expressions_produced())
        .and_then(|filters| filters.first()?.expression_id());
    for (side, child) in plan.children().into_iter().enumerate() {
        match own {
            // The probe side is the second child.
            Some(id) if side == 1 => {
                let mut below = above.clone();
                below.insert(id);
                visit(child, &below);
            }
            _ => visit(child, above),
        }
    }
}
