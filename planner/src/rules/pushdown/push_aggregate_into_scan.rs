//! `PushAggregateIntoScan`: groups and aggregates over a remote are computed by its source.
//!
//! Equal where the connector groups, counts and adds as the engine does: it is told each aggregate with the
//! result's type, and takes none whose digits could differ. Averages arrive as a quotient of a sum and a count
//! above the aggregate, and stay there, so that their digits are computed in one place. Pushed where moving the
//! groups is cheaper than moving the rows.

use datafusion::logical_expr::expr::AggregateFunction as EngineAggregate;
use datafusion::logical_expr::{Aggregate, Expr};
use sluice_catalogs::SluiceOptions;
use sluice_spi::{
    AggregateCall, AggregateFunction, Aggregation, Operation, Output, Reason, ValueType,
};

use super::remote::{Remote, RemoteColumn, fresh_name, renamed};
use super::{Offer, Refusal, Subtree, cost};

pub(super) fn offer(node: &Aggregate, input: &Subtree, options: &SluiceOptions) -> Offer {
    let remote = input.remote.as_ref().ok_or(Refusal::Silent)?;
    let subject = subject(node);
    let because = |reason: Reason| Refusal::Because(subject.clone(), reason);
    if options.aggregation_pushdown == "never" {
        return Err(because(Reason(
            "switched off by sluice.aggregation_pushdown".to_owned(),
        )));
    }
    let mut taken = Default::default();
    let mut columns = Vec::new();
    let mut fields = node.schema.fields().iter();
    let mut groups = Vec::new();
    let mut estimate = 1.0;
    for group in &node.group_expr {
        if matches!(group, Expr::GroupingSet(_)) {
            return Err(because(Reason(
                "grouping sets are computed by the engine".to_owned(),
            )));
        }
        let expr = remote.typed(group).map_err(because)?;
        let distinct = remote.distinct(&expr);
        estimate *= distinct.unwrap_or(remote.rows / 10.0).max(1.0);
        let name = fresh_name(expr.as_column().unwrap_or("key"), &mut taken);
        let field = fields.next().ok_or(Refusal::Silent)?;
        columns.push(RemoteColumn {
            name: name.clone(),
            distinct,
            repeats: None,
        });
        groups.push(Output {
            expr,
            field: renamed(field, &name),
        });
    }
    let mut calls = Vec::new();
    for expr in &node.aggr_expr {
        let field = fields.next().ok_or(Refusal::Silent)?;
        let result = ValueType::of(field.data_type());
        let call = call(expr, remote, result).map_err(because)?;
        let name = fresh_name(&call.function.to_string(), &mut taken);
        columns.push(RemoteColumn {
            name: name.clone(),
            distinct: None,
            repeats: None,
        });
        calls.push(Aggregation {
            call,
            field: renamed(field, &name),
        });
    }
    let operation = Operation::Aggregate {
        groups: &groups,
        calls: &calls,
    };
    let mut pushed = remote.with(subject, &operation, columns, node.schema.clone())?;
    pushed.rows = match groups.is_empty() {
        true => 1.0,
        false => estimate.min(remote.rows).max(1.0),
    };
    pushed.work = remote.work + cost::of_grouping(remote.rows, calls.len());
    pushed.is_worth_it = true;
    pushed.is_forced = options.aggregation_pushdown == "always";
    Ok(pushed)
}

/// "aggregate count(*), sum(o_totalprice) by o_orderpriority"
pub(super) fn subject(node: &Aggregate) -> String {
    let text = |exprs: &[Expr]| {
        let shown: Vec<String> = exprs
            .iter()
            .map(|e| e.human_display().to_string())
            .collect();
        shown
            .join(", ")
            .replace("count(Int64(1))", "count(*)")
            .replace("count(1)", "count(*)")
    };
    let mut subject = match node.aggr_expr.is_empty() {
        true => "distinct".to_owned(),
        false => format!("aggregate {}", text(&node.aggr_expr)),
    };
    if !node.group_expr.is_empty() {
        subject.push_str(if node.aggr_expr.is_empty() {
            " "
        } else {
            " by "
        });
        subject.push_str(&text(&node.group_expr));
    }
    subject
}

fn call(
    expr: &Expr,
    remote: &Remote,
    result: Option<ValueType>,
) -> std::result::Result<AggregateCall, Reason> {
    let no = |reason: &str| Reason(reason.to_owned());
    let Expr::AggregateFunction(EngineAggregate { func, params }) = expr.clone().unalias() else {
        return Err(no("it is not an aggregate that is sent to the source"));
    };
    if params.filter.is_some() {
        return Err(no("FILTER is computed by the engine"));
    }
    if !params.order_by.is_empty() || params.null_treatment.is_some() {
        return Err(no("an ordered aggregate is computed by the engine"));
    }
    let function = match func.name() {
        "count" => AggregateFunction::Count,
        "sum" => AggregateFunction::Sum,
        "min" => AggregateFunction::Min,
        "max" => AggregateFunction::Max,
        "bool_and" => AggregateFunction::BoolAnd,
        "bool_or" => AggregateFunction::BoolOr,
        name => {
            return Err(Reason(format!(
                "aggregate {name}() is computed by the engine"
            )));
        }
    };
    let argument = match params.args.as_slice() {
        [Expr::Literal(value, _)]
            if function == AggregateFunction::Count && !params.distinct && !value.is_null() =>
        {
            None
        }
        [argument] => Some(remote.typed(argument)?),
        _ => {
            return Err(no(
                "an aggregate of several arguments is computed by the engine",
            ));
        }
    };
    let has_own_type = matches!(function, AggregateFunction::Min | AggregateFunction::Max);
    // Each value once or many times: the least is the same.
    let distinct =
        params.distinct && matches!(function, AggregateFunction::Count | AggregateFunction::Sum);
    Ok(AggregateCall {
        function,
        argument,
        distinct,
        result: if has_own_type { None } else { result },
    })
}
