//! What an aggregate shows that the engine's own would not: the intervals that it groups by, and the types of
//! least and greatest values.
//!
//! Intervals are grouped by their length, and a group shows one of them as it was written. Both need a
//! projection above the aggregate, which gives every column the name that it had.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result;
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::{
    Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, WindowFunctionDefinition,
};
use sluice_spi::Error;
use sluice_spi::types::pg_type;

use super::comparisons::length;
use super::types::{field_of, type_of};

/// Names the columns that carry a group's interval up to the projection.
const SHOWN: &str = "__shown_interval_";

/// The aggregate, below a projection where one is needed.
pub(super) fn shown(aggregate: Aggregate) -> Result<LogicalPlan> {
    let schema = Arc::clone(aggregate.input.schema());
    let is_interval = |expr: &Expr| matches!(type_of(expr, &schema), Some(DataType::Interval(_)));
    let grouping_sets = matches!(aggregate.group_expr.as_slice(), [Expr::GroupingSet(_)]);
    if grouping_sets {
        let sets = aggregate.group_expr.iter().flat_map(|expr| match expr {
            Expr::GroupingSet(sets) => sets.distinct_expr(),
            _ => Vec::new(),
        });
        if sets.into_iter().any(is_interval) {
            let error = Error::unsupported("GROUPING SETS over an interval is not supported");
            return Err(error.with_hint("Group by the interval's text.").into());
        }
        return Ok(LogicalPlan::Aggregate(aggregate));
    }
    let tags: Vec<Option<FieldMetadata>> = aggregate
        .aggr_expr
        .iter()
        .map(|expr| extreme_tag(expr, &schema))
        .collect();
    let intervals: Vec<bool> = aggregate.group_expr.iter().map(is_interval).collect();
    if !intervals.contains(&true) && tags.iter().all(Option::is_none) {
        return Ok(LogicalPlan::Aggregate(aggregate));
    }
    let before = Arc::clone(&aggregate.schema);
    let groups = aggregate.group_expr.len();
    let Aggregate {
        input,
        group_expr,
        mut aggr_expr,
        ..
    } = aggregate;
    let mut keys = Vec::with_capacity(groups);
    for (at, (expr, is_interval)) in group_expr.into_iter().zip(&intervals).enumerate() {
        if !is_interval {
            keys.push(expr);
            continue;
        }
        let expr = expr.unalias();
        let first = AggregateFunction::new_udf(
            first_value_udaf(),
            vec![expr.clone()],
            false,
            None,
            Vec::new(),
            None,
        );
        aggr_expr.push(Expr::AggregateFunction(first).alias(format!("{SHOWN}{at}")));
        keys.push(length(expr)?);
    }
    let plan = LogicalPlan::Aggregate(Aggregate::try_new(input, keys, aggr_expr)?);
    let columns: Vec<Expr> = before
        .iter()
        .enumerate()
        .map(|(at, (qualifier, field))| {
            if intervals.get(at) == Some(&true) {
                let shown = Expr::Column(Column::from_name(format!("{SHOWN}{at}")));
                return shown.alias_qualified(qualifier.cloned(), field.name());
            }
            let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
            match at.checked_sub(groups).and_then(|at| tags.get(at)) {
                Some(Some(tag)) => column.alias_qualified_with_metadata(
                    qualifier.cloned(),
                    field.name(),
                    Some(tag.clone()),
                ),
                _ => column,
            }
        })
        .collect();
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

/// True for `min`, `max` and aggregates of distinct intervals.
pub(super) fn compares_intervals(call: &AggregateFunction, schema: &DFSchema) -> bool {
    let of_interval = call
        .params
        .args
        .first()
        .is_some_and(|arg| matches!(type_of(arg, schema), Some(DataType::Interval(_))));
    let is_extreme = matches!(call.func.name(), "min" | "max");
    of_interval && (is_extreme || (call.params.distinct && call.func.name() != "count"))
}

/// `min` and `max` as the first interval by length.
pub(super) fn of_intervals(call: AggregateFunction) -> Result<Expr> {
    let AggregateFunction { func, mut params } = call;
    let ascending = match func.name() {
        "min" => true,
        "max" => false,
        name => {
            let message = format!("{name}(DISTINCT interval) is not supported");
            return Err(Error::unsupported(message).into());
        }
    };
    let Some(value) = params.args.first().cloned() else {
        return Err(Error::internal("an aggregate of an interval without one").into());
    };
    params.distinct = false;
    params.order_by = vec![length(value)?.sort(ascending, false)];
    Ok(Expr::AggregateFunction(AggregateFunction {
        func: first_value_udaf(),
        params,
    }))
}

/// `min` and `max` of intervals over a window, which the engine would compare part by part.
pub(super) fn refuse_windows_of_intervals(
    function: &WindowFunctionDefinition,
    args: &[Expr],
    schema: &DFSchema,
) -> Result<()> {
    let WindowFunctionDefinition::AggregateUDF(function) = function else {
        return Ok(());
    };
    let of_interval = args
        .first()
        .is_some_and(|arg| matches!(type_of(arg, schema), Some(DataType::Interval(_))));
    match function.name() {
        name @ ("min" | "max") if of_interval => {
            let message = format!("{name}(interval) OVER is not supported");
            Err(Error::unsupported(message).into())
        }
        _ => Ok(()),
    }
}

/// The tag of what `min` and `max` choose among, which the engine forgets: the least of `character(4)` has four
/// characters.
fn extreme_tag(expr: &Expr, schema: &DFSchema) -> Option<FieldMetadata> {
    let expr = match expr {
        Expr::Alias(alias) => alias.expr.as_ref(),
        other => other,
    };
    let Expr::AggregateFunction(AggregateFunction {
        func,
        params: AggregateFunctionParams { args, .. },
    }) = expr
    else {
        return None;
    };
    let [arg] = args.as_slice() else { return None };
    if !matches!(func.name(), "min" | "max") {
        return None;
    }
    let field = field_of(arg, schema)?;
    pg_type(&field)
        .is_some_and(|tag| tag.starts_with("character("))
        .then(|| FieldMetadata::from(field.as_ref()))
}
