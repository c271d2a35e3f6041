//! What the source takes over, and why not the rest.
//!
//! One rule per file: [`compare`], [`like`] and [`nulls`] judge a leaf of a filter, this file gives
//! them their words; [`operations`] judges all else. The measure is the engine's own answer: a conjunct is taken
//! *exactly* only where the server keeps just the rows that the engine would keep, and as a *superset*
//! where it keeps those and some more.

mod compare;
mod like;
mod nulls;
mod operations;
mod reason;

pub(crate) use compare::LIST_ITEMS;

use sluice_spi::{
    Expr, FilterPushdown, JoinMethod, Literal, Operation, Output, Pushdown, Pushed, Reason,
    RelColumn, ScalarExpr, TableHandle, TableMetadata, Verdict,
};

use crate::config::ZeroDates;
use crate::facts::Facts;
use crate::render::predicate_bytes;
use crate::types::ColumnType;

/// Bytes of all conditions of a statement at most. Servers refuse longer statements than
/// `max_allowed_packet`: 4 MB on a MySQL 5.7 as it is installed, 16 and 64 MB on later servers. Joins have a
/// list for each side, and a statement has more than its conditions.
const CONDITION_BYTES: usize = 1 << 20;

fn no(reason: impl Into<String>) -> Verdict {
    Verdict::no(reason)
}

/// What rules may know of the columns.
struct Scope<'a> {
    columns: &'a [RelColumn],
    types: &'a [ColumnType],
    zero_dates: ZeroDates,
    /// One table with nothing but filters.
    plain: bool,
}

impl<'a> Scope<'a> {
    fn of(handle: &'a TableHandle, facts: &'a Facts) -> Self {
        Scope {
            columns: handle.relation.columns(),
            types: &facts.columns,
            zero_dates: facts.zero_dates,
            plain: handle.relation.is_plain(),
        }
    }

    fn column(&self, name: &str) -> Option<(&'a RelColumn, &'a ColumnType)> {
        let index = self.columns.iter().position(|column| column.name == name)?;
        Some((&self.columns[index], self.types.get(index)?))
    }
}

/// The connector's answers.
pub(crate) struct Rules {
    /// The catalog file's key of that name.
    pub(crate) transfer_cost: f64,
}

impl Pushdown for Rules {
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
        let scope = Scope::of(handle, &facts);
        let mut room = CONDITION_BYTES.saturating_sub(
            handle
                .relation
                .predicates()
                .iter()
                .filter_map(|sent| predicate_bytes(sent, scope.columns, scope.types))
                .sum(),
        );
        FilterPushdown::judged(handle, conjuncts, |conjunct| {
            offer(conjunct, &scope, &mut room)
        })
    }

    fn apply(
        &self,
        input: &TableHandle,
        operation: &Operation<'_>,
    ) -> std::result::Result<TableHandle, Reason> {
        operations::apply(input, operation)
    }

    fn apply_assignment(
        &self,
        input: &TableHandle,
        column: &str,
        value: &Output,
    ) -> std::result::Result<(), Reason> {
        let outputs = std::slice::from_ref(value);
        match operations::apply(input, &Operation::Project { outputs }) {
            Err(_) if operations::is_assignable(input, column, &value.expr) => Ok(()),
            answer => answer.map(|_| ()),
        }
    }

    fn transfer_cost(&self) -> f64 {
        self.transfer_cost
    }

    /// Neither server hashes where an index serves, and InnoDB's look-ups are what costs.
    fn join_method(&self) -> JoinMethod {
        JoinMethod::NestedLoop
    }
}

/// The verdict on a conjunct that goes into a statement with `room` bytes left for it.
fn offer(conjunct: &Expr, scope: &Scope<'_>, room: &mut usize) -> Verdict {
    let Some(expr) = ScalarExpr::from_expr(conjunct) else {
        return Verdict::No(reason::of_unknown(conjunct));
    };
    let verdict = judge(&expr, scope);
    let (Verdict::Exactly(sent) | Verdict::Superset(sent, _)) = &verdict else {
        return verdict;
    };
    match predicate_bytes(sent, scope.columns, scope.types) {
        // The rules and the renderer have to agree; where they do not, the engine does the work.
        None => no("it has a constant that cannot be written in the source's SQL"),
        Some(bytes) if bytes > *room => no("it is too long for a statement"),
        Some(bytes) => {
            *room -= bytes;
            verdict
        }
    }
}

fn judge(expr: &ScalarExpr, scope: &Scope<'_>) -> Verdict {
    Verdict::of(expr, &|leaf| judge_leaf(leaf, scope))
}

fn judge_leaf(expr: &ScalarExpr, scope: &Scope<'_>) -> Verdict {
    match expr {
        ScalarExpr::IsNull { expr: inner, .. } => nulls::judge(expr, inner, scope),
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
        ScalarExpr::Arithmetic { .. }
        | ScalarExpr::Cast { .. }
        | ScalarExpr::Case { .. }
        | ScalarExpr::Coalesce { .. } => no("it is computed by the engine"),
        ScalarExpr::And(_) | ScalarExpr::Or(_) | ScalarExpr::Not(_) => judge(expr, scope),
    }
}
