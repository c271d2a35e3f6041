//! What the source takes over, and why not the rest.
//!
//! One rule per file: [`compare`] and [`like`] judge a leaf of a filter, this file combines; [`operations`]
//! takes joins, aggregates and their kin over [`values`]. The measure is the engine's own answer: a conjunct is
//! taken *exactly* only where the server keeps just the rows that the engine would keep, and as a *superset*
//! where it keeps those and some more.

mod compare;
mod like;
mod operations;
mod reason;
mod values;

pub(crate) use compare::LIST_ITEMS;
use sluice_spi::{
    Expr, FilterPushdown, Literal, Operation, Pushdown, Pushed, Reason, RelColumn, ScalarExpr,
    TableHandle, TableMetadata, Verdict,
};

use crate::facts::Facts;
use crate::render::can_render;
use crate::types::ColumnType;

fn no(reason: impl Into<String>) -> Verdict {
    Verdict::no(reason)
}

/// What rules may know of the columns.
struct Scope<'a> {
    columns: &'a [RelColumn],
    types: &'a [ColumnType],
    utf8: bool,
}

impl Scope<'_> {
    fn column(&self, name: &str) -> Option<(&RelColumn, &ColumnType)> {
        let index = self.columns.iter().position(|column| column.name == name)?;
        Some((&self.columns[index], self.types.get(index)?))
    }
}

/// The connector's answer to what it is offered.
pub(crate) struct PushdownRules {
    /// The catalog's key of that name.
    pub(crate) transfer_cost: f64,
}

impl Pushdown for PushdownRules {
    fn apply_filter(
        &self,
        _table: &TableMetadata,
        handle: &TableHandle,
        conjuncts: &[Expr],
    ) -> FilterPushdown {
        let facts = match Facts::of(handle) {
            Ok(facts) => facts,
            Err(error) => {
                let outcome = conjuncts
                    .iter()
                    .map(|_| Pushed::No(Reason(error.message.clone())))
                    .collect();
                return FilterPushdown {
                    handle: handle.clone(),
                    outcome,
                };
            }
        };
        let scope = Scope {
            columns: handle.relation.columns(),
            types: &facts.columns,
            utf8: facts.utf8,
        };
        FilterPushdown::judged(handle, conjuncts, |conjunct| offer(conjunct, &scope))
    }

    fn apply(&self, input: &TableHandle, operation: &Operation<'_>) -> Result<TableHandle, Reason> {
        operations::apply(input, operation)
    }

    fn transfer_cost(&self) -> f64 {
        self.transfer_cost
    }
}

fn offer(conjunct: &Expr, scope: &Scope<'_>) -> Verdict {
    let Some(expr) = ScalarExpr::from_expr(conjunct) else {
        return Verdict::No(reason::of_unknown(conjunct));
    };
    match judge(&expr, scope) {
        // The rules and the renderer have to agree; where they do not, the engine does the work.
        Verdict::Exactly(sent) | Verdict::Superset(sent, _)
            if !can_render(&sent, scope.columns, scope.types) =>
        {
            no("it has a constant that cannot be written in the source's SQL")
        }
        verdict => verdict,
    }
}

fn judge(expr: &ScalarExpr, scope: &Scope<'_>) -> Verdict {
    Verdict::of(expr, &|leaf| judge_leaf(leaf, scope))
}

fn judge_leaf(expr: &ScalarExpr, scope: &Scope<'_>) -> Verdict {
    match expr {
        ScalarExpr::IsNull { expr: inner, .. } => match inner.as_ref() {
            ScalarExpr::Column(name) if scope.column(name).is_some() => {
                Verdict::Exactly(expr.clone())
            }
            _ => no("it tests an expression for NULL"),
        },
        ScalarExpr::Column(name) => match scope.column(name) {
            Some((_, ColumnType::Bool)) => Verdict::Exactly(expr.clone()),
            _ => no("it is not a boolean column"),
        },
        ScalarExpr::Literal(Literal::Boolean(_)) => Verdict::Exactly(expr.clone()),
        ScalarExpr::Literal(_) => no("it is a constant"),
        ScalarExpr::Compare { op, left, right } => compare::judge(*op, left, right, scope),
        ScalarExpr::InList {
            expr,
            list,
            negated,
        } => compare::judge_in(expr, list, *negated, scope),
        ScalarExpr::Like { .. } => like::judge(expr, scope),
        _ => no("it computes a value, which the engine does"),
    }
}
