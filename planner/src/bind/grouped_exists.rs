//! EXISTS over groups of rows that the query around it chooses, in forms that the engine does not take.
//!
//! `EXISTS (SELECT … WHERE condition GROUP BY key HAVING test)`: the engine joins what it groups first, which
//! needs conditions of the form `column = outer column`, and a key. Other ones are joined before they are
//! grouped, with a number for each outer row:
//!
//! ```text
//! Filter: found
//!   Aggregate: groupBy=[row, outer columns], bool_or(passes) as found
//!     Projection: row, outer columns, test as passes
//!       Aggregate: groupBy=[row, outer columns, key], what the test is about, of matching rows
//!         Left Join: condition
//!           the outer rows, numbered
//!           the subquery's rows, ungrouped
//! ```
//!
//! Without a key there is one group for each outer row, also where nothing matches. Equal in every case: each
//! outer row meets just its own groups, and each source is read once.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, Result};
use datafusion::functions_aggregate::expr_fn::bool_or;
use datafusion::functions_window::row_number::row_number;
use datafusion::logical_expr::expr::Exists;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Distinct, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Operator, lit,
    when,
};

/// Rewrites every such test in a WHERE clause of a bound plan.
pub(super) fn join_before_grouping(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut number = 0;
    let plan = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Filter(filter) => rewrite(filter, &mut number),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(plan.data)
}

fn rewrite(filter: Filter, number: &mut usize) -> Result<Transformed<LogicalPlan>> {
    let columns = filter.input.schema().columns();
    let mut input = filter.input.as_ref().clone();
    let predicate = filter.predicate.clone().transform_down(|expr| {
        let Expr::Exists(Exists { subquery, negated }) = &expr else {
            return Ok(Transformed::no(expr));
        };
        let Some(groups) = Groups::of(&subquery.subquery, filter.input.schema())? else {
            return Ok(Transformed::no(expr));
        };
        *number += 1;
        let (marked, found) = groups.marked(input.clone(), *number)?;
        input = marked;
        let found = Expr::Column(found);
        let test = if *negated { !found } else { found };
        Ok(Transformed::new(test, true, TreeNodeRecursion::Jump))
    })?;
    if !predicate.transformed {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    }
    let filtered = Filter::try_new(predicate.data, Arc::new(input))?;
    LogicalPlanBuilder::from(LogicalPlan::Filter(filtered))
        .project(columns.into_iter().map(Expr::Column))?
        .build()
        .map(Transformed::yes)
}

/// The parts of a subquery that groups.
struct Groups<'a> {
    test: &'a Expr,
    aggregate: &'a Aggregate,
    /// Conjuncts that name the outer row.
    conditions: Vec<Expr>,
    /// The rows, by the other conjuncts.
    rows: LogicalPlan,
}

impl<'a> Groups<'a> {
    /// `None` where the engine does it, or cannot do it this way either.
    fn of(plan: &'a LogicalPlan, outer: &DFSchema) -> Result<Option<Self>> {
        let LogicalPlan::Filter(having) = below_outputs(plan) else {
            return Ok(None);
        };
        let LogicalPlan::Aggregate(aggregate) = having.input.as_ref() else {
            return Ok(None);
        };
        let sets = |e: &Expr| matches!(e, Expr::GroupingSet(_));
        if aggregate.group_expr.iter().any(sets) {
            return Ok(None);
        }
        let (conjuncts, rows) = match aggregate.input.as_ref() {
            LogicalPlan::Filter(filter) => (
                split_conjunction_owned(filter.predicate.clone()),
                filter.input.as_ref(),
            ),
            other => (Vec::new(), other),
        };
        let (conditions, own): (Vec<Expr>, Vec<Expr>) =
            conjuncts.into_iter().partition(Expr::contains_outer);
        let expressions = || {
            let of_groups = aggregate.group_expr.iter().chain(&aggregate.aggr_expr);
            of_groups.chain([&having.predicate]).chain(&conditions)
        };
        let correlated = expressions().any(Expr::contains_outer);
        if !correlated || is_taken(aggregate, &conditions) {
            return Ok(None);
        }
        for expr in expressions() {
            if has_subquery(expr)? || !names_only(expr, outer)? {
                return Ok(None);
            }
        }
        let rows = match own.into_iter().reduce(Expr::and) {
            Some(own) => LogicalPlan::Filter(Filter::try_new(own, Arc::new(rows.clone()))?),
            None => rows.clone(),
        };
        if names_outer(&rows)? {
            return Ok(None);
        }
        Ok(Some(Groups {
            test: &having.predicate,
            aggregate,
            conditions,
            rows,
        }))
    }

    /// The outer rows with a column that is true where such a group exists, and that column.
    fn marked(&self, outer: LogicalPlan, number: usize) -> Result<(LogicalPlan, Column)> {
        let name = |what: &str, at: usize| format!("__{what}_{number}_{at}");
        let column = |name: String| Expr::Column(Column::new_unqualified(name));
        let columns = outer.schema().columns();
        let (row, matched, any) = (name("row", 0), name("matched", 0), name("any", 0));
        let mut outer_rows: Vec<Expr> = columns.into_iter().map(Expr::Column).collect();

        // Both sides of the join, under names that do not meet.
        let counted = row_number();
        let counted_name = Column::new_unqualified(counted.schema_name().to_string());
        let mut with_number = outer_rows.clone();
        with_number.push(Expr::Column(counted_name).alias(row.clone()));
        let numbered = LogicalPlanBuilder::window_plan(outer, [counted])?;
        let numbered = LogicalPlanBuilder::from(numbered).project(with_number)?;
        let inner = self.rows.schema().columns();
        let mut outputs = vec![lit(true).alias(matched.clone())];
        for (at, own) in inner.iter().enumerate() {
            outputs.push(Expr::Column(own.clone()).alias(name("column", at)));
        }
        let rows = LogicalPlanBuilder::from(self.rows.clone())
            .project(outputs)?
            .build()?;
        let moved = |expr: &Expr| -> Result<Expr> {
            let moved = expr.clone().transform_up(|e| {
                Ok(match e {
                    Expr::Column(own) => match inner.iter().position(|c| *c == own) {
                        Some(at) => Transformed::yes(column(name("column", at))),
                        None => Transformed::no(Expr::Column(own)),
                    },
                    Expr::OuterReferenceColumn(_, of_outer) => {
                        Transformed::yes(Expr::Column(of_outer))
                    }
                    other => Transformed::no(other),
                })
            })?;
            Ok(moved.data)
        };
        let on = self
            .conditions
            .iter()
            .map(moved)
            .collect::<Result<Vec<_>>>()?;
        let on = on.into_iter().reduce(Expr::and).unwrap_or(lit(true));
        let joined = numbered.join_on(rows, JoinType::Left, [on])?;

        // The groups of each outer row.
        outer_rows.push(column(row));
        let mut keys = outer_rows.clone();
        for (at, key) in self.aggregate.group_expr.iter().enumerate() {
            keys.push(moved(key)?.unalias().alias(name("key", at)));
        }
        let mut values = vec![bool_or(column(matched.clone())).alias(any.clone())];
        for (at, value) in self.aggregate.aggr_expr.iter().enumerate() {
            let value = moved(value)?.unalias();
            values.push(of_matching(value, &column(matched.clone()))?.alias(name("value", at)));
        }
        let grouped = joined.aggregate(keys, values)?;

        let names = self.aggregate.schema.columns();
        let groups = self.aggregate.group_expr.len();
        let passes = self.test.clone().transform_up(|e| {
            Ok(match e {
                Expr::Column(own) => match names.iter().position(|c| *c == own) {
                    Some(at) if at < groups => Transformed::yes(column(name("key", at))),
                    Some(at) => Transformed::yes(column(name("value", at - groups))),
                    None => Transformed::no(Expr::Column(own)),
                },
                Expr::OuterReferenceColumn(_, of_outer) => Transformed::yes(Expr::Column(of_outer)),
                other => Transformed::no(other),
            })
        })?;
        // Not IS TRUE: the engine takes that for never NULL in one place and not in another.
        let passes = when(passes.data, lit(true)).otherwise(lit(false))?;
        let found = name("found", 0);
        let mut marked = outer_rows.clone();
        let plan = if groups == 0 {
            marked.push(passes.alias(found.clone()));
            grouped.project(marked)?
        } else {
            // The one group of an outer row without a match is none.
            let passes = when(column(any).is_not_null(), passes).otherwise(lit(false))?;
            let each = name("passes", 0);
            marked.push(passes.alias(each.clone()));
            grouped
                .project(marked)?
                .aggregate(outer_rows, vec![bool_or(column(each)).alias(found.clone())])?
        };
        Ok((plan.build()?, Column::new_unqualified(found)))
    }
}

/// Without what does not decide whether there is a row.
fn below_outputs(plan: &LogicalPlan) -> &LogicalPlan {
    match plan {
        LogicalPlan::Projection(projection) => below_outputs(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => below_outputs(&alias.input),
        LogicalPlan::Distinct(Distinct::All(input)) => below_outputs(input),
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => below_outputs(&sort.input),
        other => other,
    }
}

/// The engine groups by the columns that are equal to outer ones, too, and joins then.
fn is_taken(aggregate: &Aggregate, conditions: &[Expr]) -> bool {
    let of_groups = aggregate.group_expr.iter().chain(&aggregate.aggr_expr);
    let is_equality = |condition: &Expr| {
        let Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Eq,
            right,
        }) = condition
        else {
            return false;
        };
        let pair = |a: &Expr, b: &Expr| {
            matches!(a, Expr::Column(_)) && matches!(b, Expr::OuterReferenceColumn(..))
        };
        pair(left, right) || pair(right, left)
    };
    !aggregate.group_expr.is_empty()
        && !of_groups.into_iter().any(Expr::contains_outer)
        && conditions.iter().all(is_equality)
}

fn has_subquery(expr: &Expr) -> Result<bool> {
    expr.exists(|e| {
        Ok(matches!(
            e,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::SetComparison(_)
        ))
    })
}

/// True where the expression names columns of this outer query, and of none further out.
fn names_only(expr: &Expr, outer: &DFSchema) -> Result<bool> {
    let further = expr.exists(|e| {
        Ok(matches!(e, Expr::OuterReferenceColumn(_, column) if !outer.has_column(column)))
    })?;
    Ok(!further)
}

fn names_outer(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found |= node.contains_outer_reference();
        Ok(match found {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(found)
}

/// The aggregate over rows that match the outer row.
fn of_matching(value: Expr, matched: &Expr) -> Result<Expr> {
    let matching = value.transform_up(|e| {
        Ok(match e {
            Expr::AggregateFunction(mut call) => {
                let test = matched.clone().is_not_null();
                call.params.filter = Some(Box::new(match call.params.filter {
                    Some(filter) => test.and(*filter),
                    None => test,
                }));
                Transformed::yes(Expr::AggregateFunction(call))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(matching.data)
}
