//! `PushDistinctIntoScan`: the source returns each row once.
//!
//! Equal where the connector finds two values the same exactly where the engine does. Pushed like an aggregate
//! without aggregates.

use datafusion::logical_expr::LogicalPlan;
use sluice_catalogs::SluiceOptions;
use sluice_spi::{Operation, Reason};

use super::{Offer, Refusal, Subtree, cost};

pub(super) fn offer(plan: &LogicalPlan, input: &Subtree, options: &SluiceOptions) -> Offer {
    let remote = input.remote.as_ref().ok_or(Refusal::Silent)?;
    let subject = "distinct".to_owned();
    if options.aggregation_pushdown == "never" {
        let reason = Reason("switched off by sluice.aggregation_pushdown".to_owned());
        return Err(Refusal::Because(subject, reason));
    }
    let remote = remote.narrowed(&mut Default::default())?;
    let mut pushed = remote.with(
        subject,
        &Operation::Distinct,
        remote.columns.clone(),
        plan.schema().clone(),
    )?;
    let groups: f64 = remote
        .columns
        .iter()
        .map(|column| column.distinct.unwrap_or(remote.rows / 10.0).max(1.0))
        .product();
    pushed.rows = groups.min(remote.rows).max(1.0);
    pushed.work = remote.work + cost::of_grouping(remote.rows, 0);
    pushed.is_worth_it = true;
    pushed.is_forced = options.aggregation_pushdown == "always";
    Ok(pushed)
}
