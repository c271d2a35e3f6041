//! PostgreSQL's arithmetic and casts, where the engine's own differ.
//!
//! Checked integers (`integers`), exact numeric division and averages (`division`), wide sums
//! (`sum`), casts in PostgreSQL's rounding and words (`casts`, `zoned`, `input`, `output`), dates
//! (`datetime`, `moments`, `intervals`, `truncate`, `ages`), and time zones (`clocks`, `zones`). The planner's semantics pass puts these functions where SQL's operators and casts
//! were; they run over whole columns, on coordinator and workers alike. Never asks a session anything.

mod ages;
mod casts;
mod clocks;
mod datetime;
mod decimal;
mod division;
mod floats;
mod input;
mod integers;
mod intervals;
mod moments;
mod output;
mod sum;
mod to_char;
mod truncate;
mod zoned;
mod zones;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use sluice_spi::{Error, Result};

use super::udf::no_such_function;

pub use input::parse_literal;
pub use moments::instant_with_zone;

static BY_NAME: LazyLock<HashMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
    functions()
        .into_iter()
        .map(|f| (f.name().to_owned(), Arc::new(f)))
        .collect()
});

/// The function of that name in this room, for plans that are made from other expressions.
pub fn function(name: &str) -> Result<Arc<ScalarUDF>> {
    let function = BY_NAME.get(name).map(Arc::clone);
    function.ok_or_else(|| Error::internal(format!("there is no arithmetic function {name}")))
}

/// `sum` with PostgreSQL's types.
pub fn sum() -> Arc<AggregateUDF> {
    static SUM: LazyLock<Arc<AggregateUDF>> = LazyLock::new(|| Arc::new(sum::sum()));
    Arc::clone(&SUM)
}

/// Every scalar function of this room.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let mut functions = integers::functions();
    functions.extend(division::functions());
    functions.extend(floats::functions());
    functions.push(intervals::interval_length());
    functions.push(zoned::cast_timestamptz());
    // The engine's own, by PostgreSQL's name.
    let sign = datafusion::functions::math::signum();
    functions.push(sign.as_ref().clone().with_aliases(["sign"]));
    functions.extend(casts::functions());
    functions.extend(output::functions());
    functions.extend(datetime::functions());
    functions.extend(to_char::functions());
    functions.extend(clocks::functions());
    functions.extend(truncate::functions());
    functions.extend(ages::functions());
    functions
}

/// Every aggregate of this room.
pub(super) fn aggregates() -> Vec<AggregateUDF> {
    // The engine's own, by PostgreSQL's older name.
    let variance = datafusion::functions_aggregate::variance::var_samp_udaf();
    vec![
        sum::sum(),
        variance
            .as_ref()
            .clone()
            .with_aliases(["variance", "var_sample"]),
    ]
}
