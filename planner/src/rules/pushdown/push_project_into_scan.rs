//! `PushProjectIntoScan`: columns and expressions over a remote become part of it.
//!
//! Equal where every expression is one that the connector computes to the same digits. Columns alone need no
//! operation: a remote knows which of its relation's columns are the node's. Saves nothing by itself, but lets
//! what is above go on. An order of the rows is kept only by the node that made it, so nothing is pushed there.

use datafusion::logical_expr::{Expr, Projection};
use sluice_spi::{Operation, Output};

use super::remote::{RemoteColumn, fresh_name, renamed};
use super::{Offer, Refusal, Subtree};

pub(super) fn offer(node: &Projection, input: &Subtree) -> Offer {
    let remote = input.remote.as_ref().ok_or(Refusal::Silent)?;
    if remote.is_ordered() {
        return Err(Refusal::Silent);
    }
    let mut exprs = Vec::with_capacity(node.expr.len());
    for expr in &node.expr {
        let typed = remote.typed(expr);
        let shown = || expr.clone().unalias().human_display().to_string();
        exprs.push(typed.map_err(|reason| Refusal::Because(shown(), reason))?);
    }
    let column = |name: &str| {
        remote
            .columns
            .iter()
            .find(|column| column.name == name)
            .cloned()
    };
    let plain: Option<Vec<RemoteColumn>> = exprs
        .iter()
        .map(|expr| expr.as_column().and_then(column))
        .collect();
    if let Some(columns) = plain {
        let mut remote = remote.clone();
        remote.columns = columns;
        remote.schema = node.schema.clone();
        return Ok(remote);
    }
    let mut taken = Default::default();
    let mut columns = Vec::new();
    let mut outputs = Vec::new();
    for ((expr, source), field) in exprs.into_iter().zip(&node.expr).zip(node.schema.fields()) {
        let wanted = match (&expr.as_column(), source) {
            (Some(name), _) => (*name).to_owned(),
            (None, Expr::Alias(alias)) => alias.name.clone(),
            _ => "value".to_owned(),
        };
        let name = fresh_name(&wanted, &mut taken);
        columns.push(RemoteColumn {
            name: name.clone(),
            distinct: remote.distinct(&expr),
            repeats: remote.repeats(&expr),
        });
        outputs.push(Output {
            expr,
            field: renamed(field, &name),
        });
    }
    let operation = Operation::Project { outputs: &outputs };
    let mut pushed = remote.with(
        "expressions".to_owned(),
        &operation,
        columns,
        node.schema.clone(),
    )?;
    pushed.forget_last_note();
    Ok(pushed)
}
