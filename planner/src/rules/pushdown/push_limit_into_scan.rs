//! `PushLimitIntoScan`: the source stops after so many rows.
//!
//! Equal in that any rows will do: every filter below was taken exactly. A limit right above a table is the
//! scan's already; here it goes above joins and aggregates, or below what is pushed on top of it.

use datafusion::logical_expr::{FetchType, Limit, LogicalPlan, SkipType};
use sluice_spi::Operation;

use super::{Offer, Refusal, Subtree};

pub(super) fn offer(node: &Limit, plan: &LogicalPlan, input: &Subtree) -> Offer {
    let remote = input.remote.as_ref().ok_or(Refusal::Silent)?;
    // Rows in an order are so few already.
    if remote.is_ordered() {
        return Err(Refusal::Silent);
    }
    let (Ok(SkipType::Literal(skip)), Ok(FetchType::Literal(Some(fetch)))) =
        (node.get_skip_type(), node.get_fetch_type())
    else {
        return Err(Refusal::Silent);
    };
    let operation = Operation::Limit {
        skip: skip as u64,
        fetch: fetch as u64,
    };
    let remote = remote.narrowed(&mut Default::default())?;
    let mut pushed = remote.with(
        format!("limit {fetch}"),
        &operation,
        remote.columns.clone(),
        plan.schema().clone(),
    )?;
    pushed.rows = remote.rows.min(fetch as f64);
    Ok(pushed)
}
