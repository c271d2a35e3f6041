//! Columns that a correlated subquery compares with the query around it, told apart by name.
//!
//! The engine joins such a subquery under a name of its own, where a column is known by its bare name: of
//! `a.k` and `b.k` the comparison would mean the first. So wherever two of them share a name, or one has
//! the name of what the subquery selects, the comparison gets a column of another name.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, LogicalPlanBuilder, Subquery};

/// Rewrites every correlated subquery of a bound plan that needs it.
pub(super) fn tell_apart(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|node| {
        node.map_expressions(|expr| {
            expr.transform_up(|expr| {
                Ok(match expr {
                    Expr::Exists(Exists { subquery, negated }) => told_apart(subquery, false)?
                        .update_data(|subquery| Expr::Exists(Exists { subquery, negated })),
                    Expr::InSubquery(InSubquery {
                        expr,
                        subquery,
                        negated,
                    }) => told_apart(subquery, true)?.update_data(|subquery| {
                        Expr::InSubquery(InSubquery::new(expr, subquery, negated))
                    }),
                    Expr::ScalarSubquery(subquery) => {
                        told_apart(subquery, true)?.update_data(Expr::ScalarSubquery)
                    }
                    other => Transformed::no(other),
                })
            })
        })
    })?;
    Ok(plan.data)
}

fn told_apart(subquery: Subquery, selects: bool) -> Result<Transformed<Subquery>> {
    if subquery.outer_ref_columns.is_empty() {
        return Ok(Transformed::no(subquery));
    }
    let compared = compared(&subquery.subquery)?;
    let selected: Vec<Column> = match selects {
        true => subquery.subquery.schema().columns(),
        false => Vec::new(),
    };
    let shared: Vec<Column> = compared
        .iter()
        .filter(|column| {
            let mut others = compared.iter().chain(&selected);
            others.any(|other| other.name == column.name && other != *column)
        })
        .cloned()
        .collect();
    if shared.is_empty() {
        return Ok(Transformed::no(subquery));
    }
    let plan = Arc::unwrap_or_clone(subquery.subquery)
        .transform_up(|node| match node {
            LogicalPlan::Filter(filter) if filter.predicate.contains_outer() => {
                renamed(filter, &shared)
            }
            other => Ok(Transformed::no(other)),
        })?
        .data;
    Ok(Transformed::yes(Subquery {
        subquery: Arc::new(plan),
        ..subquery
    }))
}

/// The subquery's own columns in conditions that name the query around it.
fn compared(plan: &LogicalPlan) -> Result<Vec<Column>> {
    let mut found: Vec<Column> = Vec::new();
    plan.apply(|node| {
        if let LogicalPlan::Filter(filter) = node {
            for conjunct in split_conjunction_owned(filter.predicate.clone()) {
                if conjunct.contains_outer() {
                    let columns = conjunct.column_refs().into_iter().cloned();
                    let new: Vec<Column> = columns.filter(|c| !found.contains(c)).collect();
                    found.extend(new);
                }
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// The filter over columns of other names, and the columns that it had above it.
fn renamed(filter: Filter, shared: &[Column]) -> Result<Transformed<LogicalPlan>> {
    let columns = filter.input.schema().columns();
    let mut outputs: Vec<Expr> = columns.iter().cloned().map(Expr::Column).collect();
    let before = outputs.len();
    let known = columns.iter().filter(|column| shared.contains(column));
    outputs.extend(known.map(|column| Expr::Column(column.clone()).alias(other_name(column))));
    if outputs.len() == before {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    }
    let conjuncts = split_conjunction_owned(filter.predicate)
        .into_iter()
        .map(|conjunct| match conjunct.contains_outer() {
            true => conjunct
                .transform_up(|e| {
                    Ok(match e {
                        Expr::Column(column) if shared.contains(&column) => Transformed::yes(
                            Expr::Column(Column::new_unqualified(other_name(&column))),
                        ),
                        other => Transformed::no(other),
                    })
                })
                .map(|t| t.data),
            false => Ok(conjunct),
        })
        .collect::<Result<Vec<_>>>()?;
    let input = LogicalPlanBuilder::from(Arc::unwrap_or_clone(filter.input))
        .project(outputs)?
        .build()?;
    let predicate = conjuncts.into_iter().reduce(Expr::and).unwrap_or_default();
    let filtered = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input))?);
    LogicalPlanBuilder::from(filtered)
        .project(columns.into_iter().map(Expr::Column))?
        .build()
        .map(Transformed::yes)
}

fn other_name(column: &Column) -> String {
    match &column.relation {
        Some(relation) => format!("{}:{}", relation.table(), column.name),
        None => format!(":{}", column.name),
    }
}
