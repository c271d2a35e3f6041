//! `PushTopNIntoScan`: the source sorts and returns the first rows only.
//!
//! Equal where the connector orders every key as the engine does, NULLs where they are said to be. Rows that are
//! equal in all keys are anybody's choice, and the two zeros of a float are equal. The few rows that come are sorted again, since no order survives
//! exchanges; so over a table the rule costs nothing but the source's sort, and always pays.

use datafusion::logical_expr::Sort;
use sluice_spi::{Operation, SortKey};

use super::{Offer, Refusal, Subtree, cost};
use crate::semantics;

pub(super) fn offer(node: &Sort, input: &Subtree) -> Offer {
    let remote = input.remote.as_ref().ok_or(Refusal::Silent)?;
    let Some(fetch) = node.fetch else {
        return Err(Refusal::Silent);
    };
    let subject = subject(node, fetch);
    let of_a_table = remote.is_table();
    let remote = remote.narrowed(&mut Default::default())?;
    let keys = node
        .expr
        .iter()
        .map(|key| {
            Ok(SortKey {
                expr: remote.typed(semantics::compared(&key.expr))?,
                descending: !key.asc,
                nulls_first: key.nulls_first,
            })
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|reason| Refusal::Because(subject.clone(), reason))?;
    let operation = Operation::TopN {
        keys: &keys,
        skip: 0,
        fetch: fetch as u64,
    };
    let mut pushed = remote.with(
        subject,
        &operation,
        remote.columns.clone(),
        remote.schema.clone(),
    )?;
    pushed.rows = remote.rows.min(fetch as f64);
    pushed.work = remote.work + cost::of_sorting(remote.rows);
    pushed.is_worth_it = true;
    pushed.is_forced |= of_a_table;
    Ok(pushed.ordered(node.expr.clone(), node.fetch))
}

/// "top 10 by o_totalprice DESC"
pub(super) fn subject(node: &Sort, fetch: usize) -> String {
    format!("top {fetch} by {}", order(node))
}

/// Sort keys as PostgreSQL prints them.
fn order(node: &Sort) -> String {
    let keys: Vec<String> = node
        .expr
        .iter()
        .map(|key| {
            let mut text = semantics::compared(&key.expr).human_display().to_string();
            if !key.asc {
                text.push_str(" DESC");
            }
            if key.nulls_first == key.asc {
                text.push_str(match key.nulls_first {
                    true => " NULLS FIRST",
                    false => " NULLS LAST",
                });
            }
            text
        })
        .collect();
    keys.join(", ")
}
