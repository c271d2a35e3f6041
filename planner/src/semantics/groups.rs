//! What an aggregate shows that the engine's own would not: the intervals that it groups by, the members of
//! grouping sets in PostgreSQL's meaning, and the types of least and greatest values.
//!
//! Intervals are grouped by their length, and a group shows one of them as it was written. All of it needs a
//! projection above the aggregate, which gives every column the name that it had.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, TableReference};
use datafusion::error::Result;
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Aggregate, Expr, GroupingSet, LogicalPlan, LogicalPlanBuilder, WindowFunctionDefinition, when,
};
use sluice_spi::Error;
use sluice_spi::types::pg_type;

use super::comparisons::{key, length};
use super::types::{field_of, type_of};

/// Names the columns that carry a group's interval up to the projection.
const SHOWN: &str = "__shown_interval_";

/// Names what members of grouping sets are computed as, below the aggregate.
const MEMBER: &str = "__grouping_member_";

/// The aggregate, below a projection where one is needed.
pub(super) fn shown(aggregate: Aggregate) -> Result<LogicalPlan> {
    let schema = Arc::clone(aggregate.input.schema());
    let tags = extreme_tags(&aggregate);
    let intervals: Vec<bool> = aggregate
        .group_expr
        .iter()
        .map(|expr| is_interval(expr, &schema))
        .collect();
    if !intervals.contains(&true) && tags.iter().all(Option::is_none) {
        return Ok(LogicalPlan::Aggregate(aggregate));
    }
    let Aggregate {
        input,
        group_expr,
        mut aggr_expr,
        schema: before,
        ..
    } = aggregate;
    let groups = group_expr.len();
    let mut keys = Vec::with_capacity(groups);
    for (at, (expr, is_interval)) in group_expr.into_iter().zip(&intervals).enumerate() {
        if !is_interval {
            keys.push(expr);
            continue;
        }
        let expr = expr.unalias();
        aggr_expr.push(any_of(expr.clone(), at));
        keys.push(length(expr)?);
    }
    let plan = LogicalPlan::Aggregate(Aggregate::try_new(input, keys, aggr_expr)?);
    let columns: Vec<Expr> = before
        .iter()
        .enumerate()
        .map(
            |(at, (qualifier, field))| match intervals.get(at) == Some(&true) {
                true => named(SHOWN, at).alias_qualified(qualifier.cloned(), field.name()),
                false => {
                    let tag = at.checked_sub(groups).and_then(|at| tags.get(at));
                    tagged(qualifier, field, tag)
                }
            },
        )
        .collect();
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

/// The aggregate of grouping sets, with each of its members in PostgreSQL's meaning: what it was bound as, and
/// what it stands for. The engine names a member's column by the member, so that what is computed is so below.
pub(super) fn of_sets(aggregate: Aggregate, members: Vec<(Expr, Expr)>) -> Result<LogicalPlan> {
    let tags = extreme_tags(&aggregate);
    let Aggregate {
        input,
        group_expr,
        mut aggr_expr,
        schema: before,
        ..
    } = aggregate;
    let schema = Arc::clone(input.schema());
    let groups = members.len();
    let mut below: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
    let mut above = Vec::with_capacity(groups);
    let mut computed = Vec::new();
    for (at, (member, value)) in members.into_iter().enumerate() {
        let key = key(value.clone(), &schema)?.data;
        if key == member {
            above.push(None);
            continue;
        }
        let column = named(MEMBER, at);
        below.push(key.alias(format!("{MEMBER}{at}")));
        above.push(Some(if is_interval(&value, &schema) {
            aggr_expr.push(any_of(value.clone(), at));
            // Nothing where a set leaves the member out.
            when(column.clone().is_not_null(), named(SHOWN, at)).end()?
        } else {
            column.clone()
        }));
        computed.push((member, value, column));
    }
    let instead = |expr: Expr| {
        let found = computed
            .iter()
            .find(|(member, value, _)| *member == expr || *value == expr);
        found.map_or(expr, |(.., column)| column.clone())
    };
    let all_instead = |exprs: Vec<Expr>| exprs.into_iter().map(instead).collect::<Vec<_>>();
    let sets = group_expr
        .into_iter()
        .map(|expr| match expr {
            Expr::GroupingSet(set) => Expr::GroupingSet(match set {
                GroupingSet::Rollup(members) => GroupingSet::Rollup(all_instead(members)),
                GroupingSet::Cube(members) => GroupingSet::Cube(all_instead(members)),
                GroupingSet::GroupingSets(sets) => {
                    GroupingSet::GroupingSets(sets.into_iter().map(all_instead).collect())
                }
            }),
            other => other,
        })
        .collect::<Vec<_>>();
    // `grouping(member)` asks for the member by what it is.
    let names = NamePreserver::new_for_projection();
    let aggr_expr = aggr_expr
        .into_iter()
        .map(|expr| {
            let name = names.save(&expr);
            let expr = expr.transform_down(|expr| {
                Ok(match expr {
                    Expr::AggregateFunction(mut call) if call.func.name() == "grouping" => {
                        call.params.args = all_instead(call.params.args);
                        Transformed::yes(Expr::AggregateFunction(call))
                    }
                    other => Transformed::no(other),
                })
            })?;
            Ok(name.restore(expr.data))
        })
        .collect::<Result<Vec<_>>>()?;
    let input = match computed.is_empty() {
        true => input,
        false => Arc::new(
            LogicalPlanBuilder::from(Arc::unwrap_or_clone(input))
                .project(below)?
                .build()?,
        ),
    };
    let plan = LogicalPlan::Aggregate(Aggregate::try_new(input, sets, aggr_expr)?);
    if computed.is_empty() && tags.iter().all(Option::is_none) {
        return Ok(plan);
    }
    let columns: Vec<Expr> = before
        .iter()
        .enumerate()
        // The engine's own column, between members and aggregates, tells it which set a row is of.
        .filter(|(at, _)| *at != groups)
        .map(
            |(at, (qualifier, field))| match above.get(at).cloned().flatten() {
                Some(shown) => shown.alias_qualified(qualifier.cloned(), field.name()),
                None => {
                    let tag = at.checked_sub(groups + 1).and_then(|at| tags.get(at));
                    tagged(qualifier, field, tag)
                }
            },
        )
        .collect();
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

fn is_interval(expr: &Expr, schema: &DFSchema) -> bool {
    matches!(type_of(expr, schema), Some(DataType::Interval(_)))
}

fn named(prefix: &str, at: usize) -> Expr {
    Expr::Column(Column::from_name(format!("{prefix}{at}")))
}

/// One interval of a group, as it was written.
fn any_of(interval: Expr, at: usize) -> Expr {
    let first = AggregateFunction::new_udf(
        first_value_udaf(),
        vec![interval],
        false,
        None,
        Vec::new(),
        None,
    );
    Expr::AggregateFunction(first).alias(format!("{SHOWN}{at}"))
}

/// The column, with the tag that the engine would forget.
fn tagged(
    qualifier: Option<&TableReference>,
    field: &FieldRef,
    tag: Option<&Option<FieldMetadata>>,
) -> Expr {
    let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
    match tag {
        Some(Some(tag)) => column.alias_qualified_with_metadata(
            qualifier.cloned(),
            field.name(),
            Some(tag.clone()),
        ),
        _ => column,
    }
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

fn extreme_tags(aggregate: &Aggregate) -> Vec<Option<FieldMetadata>> {
    let schema = aggregate.input.schema();
    aggregate
        .aggr_expr
        .iter()
        .map(|expr| extreme_tag(expr, schema))
        .collect()
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
