//! What it costs to run a part at the source, and to fetch its input instead.
//!
//! In bytes: moving a byte from the source costs its catalog's `transfer_cost`, and work on a row is counted as
//! so many bytes. The figures are rough, and only their order matters: a source joins and adds row by row, the
//! engine by columns and on several cores, but has to fetch every row first.

use arrow::datatypes::{DataType, Field};
use datafusion::logical_expr::{JoinType, LogicalPlan};
use sluice_spi::{JoinKind, JoinMethod};

use super::Subtree;
use super::remote::Remote;

/// Rows of a relation of which nothing is known.
pub(super) const UNKNOWN_ROWS: f64 = 10_000.0;

/// A row's own share of sending and decoding it, beside its bytes.
const ROW_BYTES: f64 = 24.0;

/// A text of unknown length.
const TEXT_BYTES: f64 = 24.0;

/// What plain tables gain from being read in pieces.
const PIECES: f64 = 1.5;

/// A source's work on a row, by what it does.
const SOURCE_SCAN: f64 = 4.0;
const SOURCE_JOIN: f64 = 12.0;
/// Finding a row by an index, or the next one of the same key.
const SOURCE_LOOK_UP: f64 = 200.0;
const SOURCE_GROUP: f64 = 10.0;
const SOURCE_AGGREGATE: f64 = 5.0;
const SOURCE_SORT: f64 = 6.0;

/// The engine's work on a row.
const ENGINE_JOIN: f64 = 4.0;
const ENGINE_ROW: f64 = 2.0;

/// A statement by itself: a way there and back.
const STATEMENT: f64 = 20_000.0;

/// One statement at the source is the simpler plan: the other way has to be cheaper by this factor.
const CLEARLY: f64 = 1.25;

/// Bytes of a value, roughly.
pub(super) fn width(field: &Field) -> f64 {
    match field.data_type() {
        DataType::Boolean => 1.0,
        // Sent with two bytes for four digits, and most numbers are far shorter than their type.
        DataType::Decimal128(..) | DataType::Decimal256(..) => 12.0,
        data_type => data_type
            .primitive_width()
            .map_or(TEXT_BYTES, |bytes| bytes as f64),
    }
}

/// A source's work to find so many rows.
pub(super) fn of_scanning(rows: f64) -> f64 {
    rows * SOURCE_SCAN
}

/// Two relations to join, and what of their join the source's work depends on.
pub(super) struct Joined<'a> {
    pub(super) kind: JoinKind,
    /// Its rows that match nothing may stay.
    pub(super) first: &'a Remote,
    pub(super) second: &'a Remote,
    /// Pairs that match.
    pub(super) pairs: f64,
    /// Rows that a look-up finds in each, before any filter; where not known, just those that match.
    pub(super) found: (Option<f64>, Option<f64>),
    /// Rows of the result.
    pub(super) rows: f64,
}

/// A source's work to join.
pub(super) fn of_joining(joined: &Joined<'_>) -> f64 {
    let (first, second) = (joined.first, joined.second);
    match first.join_method() {
        JoinMethod::Hash => (first.rows + second.rows) * SOURCE_JOIN + joined.rows * SOURCE_SCAN,
        JoinMethod::NestedLoop => {
            // A filter on the side that is looked into is tested on each row that was found.
            let into = |outer: &Remote, found: Option<f64>| {
                outer.rows + found.map_or(joined.pairs, |found| outer.rows * found)
            };
            let look_ups = match joined.kind {
                JoinKind::Inner => into(first, joined.found.1).min(into(second, joined.found.0)),
                _ => into(first, joined.found.1),
            };
            look_ups * SOURCE_LOOK_UP
        }
    }
}

/// A source's work to group `rows` and to compute so many aggregates over them.
pub(super) fn of_grouping(rows: f64, calls: usize) -> f64 {
    rows * (SOURCE_GROUP + SOURCE_AGGREGATE * calls as f64)
}

/// A source's work to find the first of `rows`.
pub(super) fn of_sorting(rows: f64) -> f64 {
    rows * SOURCE_SORT
}

fn of_sending(remote: &Remote) -> f64 {
    remote.rows * (ROW_BYTES + remote.width()) * remote.transfer_cost()
}

/// A relation run at its source and sent.
pub(super) fn of_remote(remote: &Remote) -> f64 {
    STATEMENT + remote.work + of_sending(remote)
}

/// A table read by the engine.
pub(super) fn of_reading(table: &Remote) -> f64 {
    STATEMENT + (table.work + of_sending(table)) / PIECES
}

/// True where the source should do it rather than the engine at that cost.
pub(super) fn pays(remote: &Remote, local: f64) -> bool {
    remote.is_forced || of_remote(remote) <= local * CLEARLY
}

/// Rows of a node: the remote's estimate, or a guess from its inputs.
pub(super) fn rows_of(plan: &LogicalPlan, children: &[Subtree], remote: Option<&Remote>) -> f64 {
    if let Some(remote) = remote {
        return remote.rows;
    }
    let largest = children.iter().map(|c| c.rows).fold(0.0, f64::max);
    match plan {
        LogicalPlan::Union(_) => children.iter().map(|c| c.rows).sum(),
        LogicalPlan::Aggregate(node) if node.group_expr.is_empty() => 1.0,
        LogicalPlan::Aggregate(_) => largest / 10.0,
        LogicalPlan::Sort(node) => node.fetch.map_or(largest, |n| largest.min(n as f64)),
        LogicalPlan::Join(join) if join.join_type == JoinType::Full => {
            children.iter().map(|c| c.rows).sum()
        }
        LogicalPlan::Values(values) => values.values.len() as f64,
        _ if children.is_empty() => UNKNOWN_ROWS,
        _ => largest,
    }
}

/// The engine's own work on a node.
pub(super) fn of_operator(plan: &LogicalPlan, children: &[Subtree], rows: f64) -> f64 {
    let input: f64 = children.iter().map(|c| c.rows).sum();
    match plan {
        LogicalPlan::Join(_) => input * ENGINE_JOIN + rows * ENGINE_ROW,
        LogicalPlan::Aggregate(node) => input * ENGINE_ROW * (1 + node.aggr_expr.len()) as f64,
        LogicalPlan::SubqueryAlias(_) | LogicalPlan::Limit(_) => 0.0,
        _ => input * ENGINE_ROW,
    }
}
