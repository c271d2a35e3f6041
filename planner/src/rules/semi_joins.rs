//! What the rules of semi-join reduction share: where in a plan a key comes from.
//!
//! A row of an inner join has equal values on both sides of each of its conditions, so a test of a key may be
//! made on any column that is equal to it, in any input that has one. NULL never equals: such conditions
//! are only followed where NULL does not match NULL.

use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, JoinType, NullEquality};
use datafusion::logical_expr::{Expr, Join, LogicalPlan};
use sluice_catalogs::SluiceOptions;

use super::estimate::Estimate;

/// The name under which a session switches these rules off.
pub(super) const SEMI_JOIN_REDUCTION: &str = "semi_join_reduction";

/// True where the session lets these rules run.
pub(super) fn is_allowed(config: &dyn datafusion::optimizer::OptimizerConfig) -> bool {
    config
        .options()
        .extensions
        .get::<SluiceOptions>()
        .is_none_or(|options| options.allows(SEMI_JOIN_REDUCTION))
}

/// True where a plan gives other rows when it is computed twice, or for fewer rows.
pub(super) fn is_volatile(plan: &LogicalPlan) -> bool {
    plan.exists(|node| {
        let volatile = node.expressions().iter().any(Expr::is_volatile);
        Ok(volatile || matches!(node, LogicalPlan::Extension(_)))
    })
    // The walk itself cannot fail; if it did, nothing may be assumed.
    .unwrap_or(true)
}

/// The column that an expression is.
pub(super) fn column_of(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        _ => None,
    }
}

/// `columns` as the input of a projection or an alias calls them; `None` where one is computed.
pub(super) fn below(plan: &LogicalPlan, columns: &[Column]) -> Option<Vec<Column>> {
    match plan {
        LogicalPlan::Filter(_) => Some(columns.to_vec()),
        LogicalPlan::Projection(projection) => columns
            .iter()
            .map(|column| {
                let index = projection.schema.maybe_index_of_column(column)?;
                let mut expr = projection.expr.get(index)?;
                while let Expr::Alias(alias) = expr {
                    expr = &alias.expr;
                }
                column_of(expr).cloned()
            })
            .collect(),
        LogicalPlan::SubqueryAlias(alias) => columns
            .iter()
            .map(|column| {
                let index = alias.schema.maybe_index_of_column(column)?;
                Some(Column::from(alias.input.schema().qualified_field(index)))
            })
            .collect(),
        _ => None,
    }
}

/// `columns` of an inner join as the columns of one of its sides that are equal to them; `None` where the
/// side has no equal of one.
pub(super) fn on_side(join: &Join, columns: &[Column], left: bool) -> Option<Vec<Column>> {
    let side = if left { &join.left } else { &join.right };
    let matches_null = join.null_equality != NullEquality::NullEqualsNothing;
    columns
        .iter()
        .map(|column| {
            if side.schema().maybe_index_of_column(column).is_some() {
                return Some(column.clone());
            }
            if matches_null {
                return None;
            }
            join.on.iter().find_map(|(l, r)| {
                let (here, there) = if left { (l, r) } else { (r, l) };
                (column_of(there)? == column).then(|| column_of(here).cloned())?
            })
        })
        .collect()
}

/// A part of a plan whose rows have every value that the plan's rows have in some columns.
pub(super) struct Origin<'a> {
    /// The part.
    pub(super) plan: &'a LogicalPlan,
    /// The columns, as the part calls them.
    pub(super) columns: Vec<Column>,
    /// Its size.
    pub(super) estimate: Estimate,
}

/// Every part of `plan` that `columns` come from, `plan` itself first.
pub(super) fn origins<'a>(
    plan: &'a LogicalPlan,
    columns: Vec<Column>,
    found: &mut Vec<Origin<'a>>,
) {
    let Some(estimate) = Estimate::of(plan) else {
        return;
    };
    found.push(Origin {
        plan,
        columns: columns.clone(),
        estimate,
    });
    match plan {
        LogicalPlan::Filter(_) | LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => {
            if let (Some(columns), [input]) = (below(plan, &columns), plan.inputs().as_slice()) {
                origins(input, columns, found);
            }
        }
        LogicalPlan::Join(join) if join.join_type == JoinType::Inner => {
            for left in [true, false] {
                if let Some(columns) = on_side(join, &columns, left) {
                    origins(if left { &join.left } else { &join.right }, columns, found);
                }
            }
        }
        LogicalPlan::Join(join) if join.join_type == JoinType::LeftSemi => {
            origins(&join.left, columns.clone(), found);
            // What passed has its equal on the other side.
            let others: Option<Vec<Column>> = columns
                .iter()
                .map(|column| {
                    if join.null_equality != NullEquality::NullEqualsNothing {
                        return None;
                    }
                    join.on.iter().find_map(|(l, r)| {
                        (column_of(l)? == column).then(|| column_of(r).cloned())?
                    })
                })
                .collect();
            if let Some(others) = others {
                origins(&join.right, others, found);
            }
        }
        LogicalPlan::Join(join) if join.join_type == JoinType::LeftAnti => {
            origins(&join.left, columns, found);
        }
        _ => {}
    }
}
