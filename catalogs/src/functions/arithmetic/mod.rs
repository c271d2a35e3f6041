//! PostgreSQL's arithmetic and casts, where the engine's own differ.
//!
//! Checked integers ([`integers`]), exact numeric division and averages ([`division`]), wide sums
//! ([`sum`]), casts in PostgreSQL's rounding and words ([`casts`], [`input`], [`output`]), and dates
//! ([`datetime`]). The planner's semantics pass puts these functions where SQL's operators and casts
//! were; they run over whole columns, on coordinator and workers alike. Never asks a session anything.

mod casts;
mod datetime;
mod decimal;
mod division;
mod input;
mod integers;
mod output;
mod sum;

use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

pub use input::parse_literal;

/// Every scalar function of this room.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let mut functions = integers::functions();
    functions.extend(division::functions());
    functions.extend(casts::functions());
    functions.extend(output::functions());
    functions.extend(datetime::functions());
    functions
}

/// Every aggregate of this room.
pub(super) fn aggregates() -> Vec<AggregateUDF> {
    vec![sum::sum()]
}
