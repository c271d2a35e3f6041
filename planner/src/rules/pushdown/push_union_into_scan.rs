//! `PushUnionIntoScan`: branches of one source are one relation there.
//!
//! Equal where the branches' columns have one type at the source too. Saves nothing by itself (two tables are
//! read faster as two), but lets an aggregate or a top-N above go on.

use datafusion::logical_expr::LogicalPlan;
use sluice_spi::{Operation, Reason, TableHandle};

use super::remote::{Remote, RemoteColumn};
use super::{Offer, Refusal, Subtree};

pub(super) fn offer(plan: &LogicalPlan, inputs: &[Subtree]) -> Offer {
    let remotes: Vec<&Remote> = inputs.iter().filter_map(|i| i.remote.as_ref()).collect();
    let Some((first, others)) = remotes.split_first() else {
        return Err(Refusal::Silent);
    };
    if remotes.len() != inputs.len() || !others.iter().all(|other| other.is_same_source(first)) {
        return Err(Refusal::Silent);
    }
    let subject = "union all".to_owned();
    let same_types = inputs.iter().all(|input| {
        let fields = input.plan.schema().fields().iter();
        fields
            .zip(plan.schema().fields())
            .all(|(a, b)| a.data_type() == b.data_type())
    });
    if !same_types {
        let reason = Reason("its branches have several types".to_owned());
        return Err(Refusal::Because(subject, reason));
    }
    let first = first.narrowed(&mut Default::default())?;
    let others = others
        .iter()
        .map(|other| other.narrowed(&mut Default::default()))
        .collect::<Result<Vec<_>, _>>()?;
    let handles: Vec<TableHandle> = others.iter().map(|other| other.handle.clone()).collect();
    let columns = first
        .columns
        .iter()
        .map(|column| RemoteColumn {
            name: column.name.clone(),
            distinct: None,
            repeats: None,
        })
        .collect();
    let operation = Operation::Union { others: &handles };
    let mut pushed = first.with(subject, &operation, columns, plan.schema().clone())?;
    for other in &others {
        pushed.rows += other.rows;
        pushed.work += other.work;
        pushed.is_worth_it |= other.is_worth_it;
        pushed.is_forced |= other.is_forced;
        pushed = pushed.with_notes_of(other);
    }
    Ok(pushed)
}
