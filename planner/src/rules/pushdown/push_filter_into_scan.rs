//! `PushFilterIntoScan`: a filter over what is more than a table (HAVING, a condition on a limited subquery).
//!
//! Filters of tables were offered by the engine's own rules, and those that are left over one are the engine's.
//! Equal where the connector takes every conjunct exactly.

use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Filter, LogicalPlan};
use sluice_catalogs::PushdownNote;
use sluice_spi::{Pushed, Reason};

use super::{Offer, Refusal, Subtree};

/// The share of rows that a filter of which nothing is known keeps.
const KEPT: f64 = 0.33;

pub(super) fn offer(node: &Filter, plan: &LogicalPlan, input: &Subtree) -> Offer {
    let remote = input.remote.as_ref().ok_or(Refusal::Silent)?;
    if remote.is_ordered() {
        return Err(Refusal::Silent);
    }
    let subject = format!("filter {}", node.predicate.human_display());
    let because = |reason: Reason| Refusal::Because(subject.clone(), reason);
    let pushdown = remote.pushdown().ok_or(Refusal::Silent)?;
    let conjuncts = split_conjunction(&node.predicate)
        .into_iter()
        .map(|conjunct| remote.over_names(conjunct))
        .collect::<datafusion::common::Result<Vec<_>>>()
        .map_err(|_| Refusal::Silent)?;
    let answer = pushdown.apply_filter(&remote.metadata(), &remote.handle, &conjuncts);
    for outcome in &answer.outcome {
        match outcome {
            Pushed::Exactly => {}
            // A table's own filters are noted one by one already.
            _ if remote.is_table() => return Err(Refusal::Silent),
            Pushed::Superset(reason) | Pushed::No(reason) => return Err(because(reason.clone())),
        }
    }
    let note = PushdownNote {
        subject: subject.clone(),
        outcome: Pushed::Exactly,
    };
    let mut pushed = remote.with_handle(answer.handle, note);
    pushed.rows = (remote.rows * KEPT).max(1.0);
    pushed.schema = plan.schema().clone();
    Ok(pushed)
}
