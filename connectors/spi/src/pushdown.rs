//! Pushdown as negotiation: the planner offers, the connector answers how far it takes it, and why not.

use std::fmt;

use arrow::datatypes::FieldRef;

use crate::{AggregateCall, Expr, JoinKind, ScalarExpr, SortKey, TableHandle, TableMetadata};

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

/// A column that an operation makes.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Its value, over the columns of the input.
    pub expr: ScalarExpr,
    /// Its name, unlike any other of the operation, and the Arrow type that the engine gives it. A
    /// connector that cannot return just that type refuses the operation.
    pub field: FieldRef,
}

/// A column that an aggregate makes.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregation {
    /// The aggregate, over the columns of the input.
    pub call: AggregateCall,
    /// As in [`Output::field`].
    pub field: FieldRef,
}

/// What the planner offers beyond filters. Expressions name the input's columns
/// ([`crate::Relation::columns`]) by their bare names.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Operation<'a> {
    /// Other columns, one row for each.
    Project {
        /// All columns of the result.
        outputs: &'a [Output],
    },
    /// One row per group.
    Aggregate {
        /// Group keys: the result's first columns.
        groups: &'a [Output],
        /// Aggregates: its other columns.
        calls: &'a [Aggregation],
    },
    /// Each row once.
    Distinct,
    /// The first rows in an order; the engine sorts them again.
    TopN {
        /// The order, most significant first.
        keys: &'a [SortKey],
        /// Rows to leave out first.
        skip: u64,
        /// Rows at most.
        fetch: u64,
    },
    /// Any rows.
    Limit {
        /// Rows to leave out first.
        skip: u64,
        /// Rows at most.
        fetch: u64,
    },
    /// A join with another relation of the same catalog, whose column names are all different.
    Join {
        /// The right side.
        right: &'a TableHandle,
        /// Which rows.
        kind: JoinKind,
        /// Conjuncts over the columns of both.
        on: &'a [ScalarExpr],
    },
    /// The rows of further relations of the same catalog, copies included. Columns go together by
    /// position and have the input's names.
    Union {
        /// The others.
        others: &'a [TableHandle],
    },
}

impl fmt::Display for Operation<'_> {
    /// The operation's name, as EXPLAIN says it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::Project { .. } => f.write_str("expressions"),
            Operation::Aggregate { .. } => f.write_str("aggregate"),
            Operation::Distinct => f.write_str("distinct"),
            Operation::TopN { .. } => f.write_str("top-N"),
            Operation::Limit { .. } => f.write_str("limit"),
            Operation::Join { kind, .. } => kind.fmt(f),
            Operation::Union { .. } => f.write_str("union all"),
        }
    }
}

/// How a source joins, which decides what a join costs there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinMethod {
    /// Each side is read once.
    Hash,
    /// For each row of one side the matching rows of the other are looked up.
    NestedLoop,
}

/// Takes over work from the engine. Pure: no I/O, no waiting, the same answer for the same question.
///
/// A limit directly above a plain scan needs no negotiation: [`crate::ReadRequest::limit`] is only set where
/// all filters were taken exactly. Leaving out columns needs none either: every reader reads just the columns
/// asked for.
pub trait Pushdown: Send + Sync {
    /// Offers `conjuncts` over the columns of `table` (column references carry bare names). What is not
    /// on the connector's allow-list is answered [`Pushed::No`] with a reason.
    ///
    /// `handle` may hold operations already: its columns are then `table.columns` all the same.
    fn apply_filter(
        &self,
        table: &TableMetadata,
        handle: &TableHandle,
        conjuncts: &[Expr],
    ) -> FilterPushdown;

    /// Offers an operation over the rows of `input`, whose filters were all taken exactly. Accepting it
    /// means that the returned handle reads, without any re-check, the rows and the Arrow types that the
    /// engine would have computed: as a bag, since no order is promised.
    ///
    /// The handle's relation has the operation's output columns, named and ordered as offered: those of
    /// [`Operation::Project`] and [`Operation::Aggregate`] as their fields say, those of
    /// [`Operation::Join`] as [`JoinKind::columns`] says, the input's own for all others. Anything not on
    /// the connector's allow-list is refused with a reason for EXPLAIN; whether an accepted operation is
    /// also cheaper at the source is the planner's to decide.
    fn apply(
        &self,
        input: &TableHandle,
        operation: &Operation<'_>,
    ) -> std::result::Result<TableHandle, Reason> {
        let _ = input;
        Err(Reason(format!("the connector takes no {operation}")))
    }

    /// Offers a value for `column` of the table that `input` reads. Taking it means that the source stores what
    /// the engine's value becomes by PostgreSQL's assignment cast, and fails where that fails. Numbers that the
    /// source rounds as PostgreSQL does are offered before the cast.
    fn apply_assignment(
        &self,
        input: &TableHandle,
        column: &str,
        value: &Output,
    ) -> std::result::Result<(), Reason> {
        let _ = column;
        let outputs = std::slice::from_ref(value);
        self.apply(input, &Operation::Project { outputs })
            .map(|_| ())
    }

    /// What a byte costs on its way from the source, relative to the engine's own work on it: above 1 for
    /// slow links, below 1 for a source on the same machine.
    fn transfer_cost(&self) -> f64 {
        1.0
    }

    /// How the source joins large relations.
    fn join_method(&self) -> JoinMethod {
        JoinMethod::Hash
    }
}
