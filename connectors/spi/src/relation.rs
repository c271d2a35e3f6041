//! Sluice's own small relation tree: what a handle asks its source for.
//!
//! It has just the shapes that some connector can render. A relation's columns have names of their own, so
//! that an expression above it says which one it means by name alone, and a join's two sides share none.
//! Rendering to a dialect is the connector's: what its renderer does not know, it does not take.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ScalarExpr;

/// A column as the source knows it: the semantics that decide what may be pushed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RelColumn {
    /// Its name.
    pub name: String,
    /// Its type in the source's own words ("character varying(10)").
    pub native_type: String,
    /// Its collation's name, where it has one that is not the byte order.
    pub collation: Option<String>,
    /// Equal under that collation means equal bytes.
    pub deterministic: bool,
    /// False where the source guarantees that it is never NULL.
    pub nullable: bool,
}

impl RelColumn {
    /// The same column under another name.
    #[must_use]
    pub fn renamed(&self, name: impl Into<String>) -> RelColumn {
        RelColumn {
            name: name.into(),
            ..self.clone()
        }
    }

    /// The same column, which may be NULL.
    #[must_use]
    pub fn optional(&self) -> RelColumn {
        RelColumn {
            nullable: true,
            ..self.clone()
        }
    }
}

/// A relation at the source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Relation {
    /// A table or view.
    Scan {
        /// Schema name at the source.
        schema: String,
        /// Table name at the source.
        table: String,
        /// All columns.
        columns: Vec<RelColumn>,
    },
    /// The user's own native text as a table.
    Native {
        /// The text.
        text: String,
        /// Its columns.
        columns: Vec<RelColumn>,
    },
    /// Rows of `input` for which every predicate is true.
    Filter {
        /// Where the rows come from.
        input: Box<Relation>,
        /// Conjuncts.
        predicates: Vec<ScalarExpr>,
    },
    /// One row per row of `input`, with other columns.
    Project {
        /// Where the rows come from.
        input: Box<Relation>,
        /// One per column, over the columns of `input`.
        exprs: Vec<ScalarExpr>,
        /// The columns.
        columns: Vec<RelColumn>,
    },
    /// One row per group; one row in all where there are no groups.
    Aggregate {
        /// Where the rows come from.
        input: Box<Relation>,
        /// Group keys, in which NULL is a value like any other.
        groups: Vec<ScalarExpr>,
        /// Aggregates over each group.
        calls: Vec<AggregateCall>,
        /// The columns: one per group key, then one per aggregate.
        columns: Vec<RelColumn>,
    },
    /// Each row of `input` once.
    Distinct {
        /// Where the rows come from.
        input: Box<Relation>,
    },
    /// The first rows of `input` in an order. They are not returned in that order.
    TopN {
        /// Where the rows come from.
        input: Box<Relation>,
        /// The order.
        keys: Vec<SortKey>,
        /// Rows to leave out first.
        skip: u64,
        /// Rows at most.
        fetch: u64,
    },
    /// Any rows of `input`.
    Limit {
        /// Where the rows come from.
        input: Box<Relation>,
        /// Rows to leave out first.
        skip: u64,
        /// Rows at most.
        fetch: u64,
    },
    /// Rows of two relations whose columns all have different names.
    Join {
        /// Which rows.
        kind: JoinKind,
        /// The left side.
        left: Box<Relation>,
        /// The right side.
        right: Box<Relation>,
        /// Conjuncts over the columns of both; none is a cross join.
        on: Vec<ScalarExpr>,
        /// The columns: see [`JoinKind::columns`].
        columns: Vec<RelColumn>,
    },
    /// The rows of each input, copies included.
    Union {
        /// At least two, with as many columns each, of the same types in the same order.
        inputs: Vec<Relation>,
        /// The columns.
        columns: Vec<RelColumn>,
    },
}

/// Which rows a join returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum JoinKind {
    /// Pairs that match.
    Inner,
    /// Pairs that match, and rows of the left side without a match.
    Left,
    /// Rows of the left side that have a match (EXISTS).
    Semi,
    /// Rows of the left side that have none (NOT EXISTS). Never NOT IN, which is another question where
    /// there are NULLs.
    Anti,
}

impl JoinKind {
    /// The columns of such a join.
    pub fn columns(self, left: &[RelColumn], right: &[RelColumn]) -> Vec<RelColumn> {
        let right: Vec<RelColumn> = match self {
            JoinKind::Inner => right.to_vec(),
            JoinKind::Left => right.iter().map(RelColumn::optional).collect(),
            JoinKind::Semi | JoinKind::Anti => Vec::new(),
        };
        left.iter().cloned().chain(right).collect()
    }
}

impl fmt::Display for JoinKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            JoinKind::Inner => "join",
            JoinKind::Left => "left join",
            JoinKind::Semi => "semi-join",
            JoinKind::Anti => "anti-join",
        })
    }
}

/// Aggregates that some source computes as the engine does. All but `Count` skip NULLs and are NULL over
/// no value; `Count` is 0 there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AggregateFunction {
    /// Values other than NULL; rows, without an argument.
    Count,
    /// An exact sum.
    Sum,
    /// The least value.
    Min,
    /// The greatest value.
    Max,
    /// True where every value is.
    BoolAnd,
    /// True where any value is.
    BoolOr,
}

impl fmt::Display for AggregateFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AggregateFunction::Count => "count",
            AggregateFunction::Sum => "sum",
            AggregateFunction::Min => "min",
            AggregateFunction::Max => "max",
            AggregateFunction::BoolAnd => "bool_and",
            AggregateFunction::BoolOr => "bool_or",
        })
    }
}

/// An aggregate over the rows of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AggregateCall {
    /// Which.
    pub function: AggregateFunction,
    /// Over what; `None` for `count(*)`.
    pub argument: Option<ScalarExpr>,
    /// Each value once.
    pub distinct: bool,
    /// The type of the result, in which no value is rounded; `None` where it is the argument's own
    /// (`Min`, `Max`).
    pub result: Option<crate::ValueType>,
}

/// A key of an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SortKey {
    /// What is compared, as the engine does it: text byte by byte.
    pub expr: ScalarExpr,
    /// The greatest first.
    pub descending: bool,
    /// NULLs before all values, whatever the direction.
    pub nulls_first: bool,
}

impl Relation {
    /// The columns that the relation returns.
    pub fn columns(&self) -> &[RelColumn] {
        match self {
            Relation::Scan { columns, .. }
            | Relation::Native { columns, .. }
            | Relation::Project { columns, .. }
            | Relation::Aggregate { columns, .. }
            | Relation::Join { columns, .. }
            | Relation::Union { columns, .. } => columns,
            Relation::Filter { input, .. }
            | Relation::Distinct { input }
            | Relation::TopN { input, .. }
            | Relation::Limit { input, .. } => input.columns(),
        }
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&RelColumn> {
        self.columns().iter().find(|c| c.name == name)
    }

    /// The relation with further conjuncts.
    #[must_use]
    pub fn filtered(&self, more: Vec<ScalarExpr>) -> Relation {
        if more.is_empty() {
            return self.clone();
        }
        match self {
            Relation::Filter { input, predicates } => Relation::Filter {
                input: input.clone(),
                predicates: predicates.iter().cloned().chain(more).collect(),
            },
            other => Relation::Filter {
                input: Box::new(other.clone()),
                predicates: more,
            },
        }
    }

    /// The conjuncts inside.
    pub fn predicates(&self) -> &[ScalarExpr] {
        match self {
            Relation::Filter { predicates, .. } => predicates,
            _ => &[],
        }
    }

    /// What it reads, left to right: tables, views and native texts.
    pub fn leaves(&self) -> Vec<&Relation> {
        let mut leaves = Vec::new();
        self.collect_leaves(&mut leaves);
        leaves
    }

    fn collect_leaves<'a>(&'a self, leaves: &mut Vec<&'a Relation>) {
        match self {
            Relation::Scan { .. } | Relation::Native { .. } => leaves.push(self),
            Relation::Filter { input, .. }
            | Relation::Project { input, .. }
            | Relation::Aggregate { input, .. }
            | Relation::Distinct { input }
            | Relation::TopN { input, .. }
            | Relation::Limit { input, .. } => input.collect_leaves(leaves),
            Relation::Join { left, right, .. } => {
                left.collect_leaves(leaves);
                right.collect_leaves(leaves);
            }
            Relation::Union { inputs, .. } => {
                inputs.iter().for_each(|i| i.collect_leaves(leaves));
            }
        }
    }

    /// True for one table, view or native text with nothing but filters: what can be read in pieces.
    pub fn is_plain(&self) -> bool {
        match self {
            Relation::Scan { .. } | Relation::Native { .. } => true,
            Relation::Filter { input, .. } => input.is_plain(),
            _ => false,
        }
    }

    /// Rows that it has at most, where its shape tells.
    pub fn max_rows(&self) -> Option<u64> {
        match self {
            Relation::Scan { .. } | Relation::Native { .. } => None,
            Relation::Filter { input, .. }
            | Relation::Project { input, .. }
            | Relation::Distinct { input } => input.max_rows(),
            Relation::Aggregate { input, groups, .. } => match groups.is_empty() {
                true => Some(1),
                false => input.max_rows(),
            },
            Relation::TopN { input, fetch, .. } | Relation::Limit { input, fetch, .. } => {
                Some(input.max_rows().map_or(*fetch, |rows| rows.min(*fetch)))
            }
            Relation::Join {
                kind, left, right, ..
            } => match kind {
                JoinKind::Semi | JoinKind::Anti => left.max_rows(),
                JoinKind::Inner => left.max_rows()?.checked_mul(right.max_rows()?),
                JoinKind::Left => left.max_rows()?.checked_mul(right.max_rows()?.max(1)),
            },
            Relation::Union { inputs, .. } => inputs
                .iter()
                .map(Relation::max_rows)
                .try_fold(0u64, |sum, rows| sum.checked_add(rows?)),
        }
    }
}

/// A few words for EXPLAIN: "aggregate on (public.orders join public.customer)".
impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Relation::Scan { schema, table, .. } => write!(f, "{schema}.{table}"),
            Relation::Native { .. } => f.write_str("native query"),
            Relation::Filter { input, .. } | Relation::Project { input, .. } => input.fmt(f),
            Relation::Aggregate { input, .. } => write!(f, "aggregate on {input}"),
            Relation::Distinct { input } => write!(f, "distinct rows of {input}"),
            Relation::TopN { input, fetch, .. } => write!(f, "top {fetch} of {input}"),
            Relation::Limit { input, fetch, .. } => write!(f, "{fetch} rows of {input}"),
            Relation::Join {
                kind, left, right, ..
            } => write!(f, "({left} {kind} {right})"),
            Relation::Union { inputs, .. } => {
                f.write_str("(")?;
                for (index, input) in inputs.iter().enumerate() {
                    if index > 0 {
                        f.write_str(" union all ")?;
                    }
                    input.fmt(f)?;
                }
                f.write_str(")")
            }
        }
    }
}
