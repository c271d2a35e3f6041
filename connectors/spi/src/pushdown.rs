//! Pushdown as negotiation: the planner offers, the connector answers how far it takes it, and why not.

use crate::{Expr, TableHandle, TableMetadata};
use std::fmt;

/// A reason that a user can read in EXPLAIN ("text ranges follow the source's locale").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason(pub String);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How far a connector takes over one conjunct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushed {
    /// The source returns just the rows that the engine would keep: no re-check.
    Exactly,
    /// The source may return more rows, never fewer: the engine re-checks.
    Superset(Reason),
    /// The source does nothing about it.
    No(Reason),
}

/// The answer to a set of conjuncts.
#[derive(Debug, Clone, PartialEq)]
pub struct FilterPushdown {
    /// The handle with the accepted conjuncts inside.
    pub handle: TableHandle,
    /// One answer per offered conjunct, in order.
    pub outcome: Vec<Pushed>,
}

/// Takes over work from the engine. Pure: no I/O, no waiting, the same answer for the same question.
///
/// Limits need no negotiation: [`crate::ReadRequest::limit`] is only set where all filters were taken
/// exactly. Projections need none either: every reader reads just the columns asked for.
pub trait Pushdown: Send + Sync {
    /// Offers `conjuncts` over the columns of `table` (column references carry bare names). What is not
    /// on the connector's allow-list is answered [`Pushed::No`] with a reason.
    fn apply_filter(
        &self,
        table: &TableMetadata,
        handle: &TableHandle,
        conjuncts: &[Expr],
    ) -> FilterPushdown;
}
