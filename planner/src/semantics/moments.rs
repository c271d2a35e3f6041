//! Moments and the session's zone: which of a function's forms is meant, and sums with intervals.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::functions::datetime::expr_fn::current_date;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, Operator, ScalarUDF};
use sluice_spi::Error;

use super::literals;
use super::types::{call, is_text, type_of};

/// `date_trunc(unit, x)`, `date_trunc(unit, x, zone)` and `timezone(zone, x)`: a date or an untyped constant is an
/// instant, and instants without a zone of their own go by the session's.
pub(super) fn in_zone(
    func: Arc<ScalarUDF>,
    mut args: Vec<Expr>,
    schema: &DFSchema,
) -> Result<Transformed<Expr>> {
    let mut moved = false;
    match type_of(&args[1], schema) {
        Some(DataType::Date32) => moved = true,
        Some(t) if is_text(&t) && literals::text(&args[1]).is_some() => moved = true,
        Some(t) if is_text(&t) => {
            let message = format!("{}() of a text is not supported", func.name());
            return Err(Error::unsupported(message)
                .with_hint("Cast it to timestamp or timestamptz.")
                .into());
        }
        _ => {}
    }
    if moved {
        args[1] = call("cast_timestamptz", vec![std::mem::take(&mut args[1])])?;
    }
    let is_instant = matches!(
        type_of(&args[1], schema),
        Some(DataType::Timestamp(_, Some(_)))
    );
    if func.name() == "timezone"
        && matches!(
            type_of(&args[1], schema),
            Some(DataType::Timestamp(_, None))
        )
    {
        return Ok(Transformed::yes(call("instant_at", args)?));
    }
    if func.name() == "date_trunc" && args.len() == 2 && is_instant {
        return Ok(Transformed::yes(call("date_trunc_here", args)?));
    }
    let expr = Expr::ScalarFunction(ScalarFunction { func, args });
    Ok(Transformed::new_transformed(expr, moved))
}

/// True where dates or timestamps stand beside instants, so that all of them are to be instants: the engine would
/// take their clocks for those of UTC.
pub(super) fn are_instants<'a>(types: impl Iterator<Item = &'a DataType>) -> bool {
    let (mut zoned, mut local) = (false, false);
    for data_type in types {
        match data_type {
            DataType::Timestamp(_, Some(_)) => zoned = true,
            DataType::Date32 | DataType::Timestamp(_, None) => local = true,
            _ => {}
        }
    }
    zoned && local
}

/// A date or a timestamp as an instant of the session's zone; anything else as it is.
pub(super) fn as_instant(expr: Expr, data_type: &DataType) -> Result<Expr> {
    match data_type {
        DataType::Date32 | DataType::Timestamp(_, None) => call("cast_timestamptz", vec![expr]),
        _ => Ok(expr),
    }
}

/// Likewise, of the arguments of a function that gives one of them (`coalesce`).
pub(super) fn mix(args: &[Expr], schema: &DFSchema) -> bool {
    let types: Vec<DataType> = args.iter().filter_map(|arg| type_of(arg, schema)).collect();
    are_instants(types.iter())
}

/// `age(end, begin)`; `age(begin)` counts to the last midnight.
pub(super) fn age(args: Vec<Expr>, schema: &DFSchema) -> Result<Expr> {
    let args = match <[Expr; 1]>::try_from(args) {
        Ok([begin]) => vec![current_date(), begin],
        Err(args) => args,
    };
    let is_instant =
        |arg: &Expr| matches!(type_of(arg, schema), Some(DataType::Timestamp(_, Some(_))));
    if !args.iter().any(is_instant) {
        return call("age", args);
    }
    let args = args
        .into_iter()
        .map(|arg| match is_instant(&arg) {
            true => Ok(arg),
            false => call("cast_timestamptz", vec![arg]),
        })
        .collect::<Result<Vec<_>>>()?;
    call("age_here", args)
}

/// An instant and an interval: days and months are those of the session's calendar.
pub(super) fn shifted(instant: Expr, op: Operator, interval: Expr) -> Result<Expr> {
    let interval = match op {
        Operator::Minus => negated(interval),
        _ => interval,
    };
    call("timestamptz_shift", vec![instant, interval])
}

fn negated(interval: Expr) -> Expr {
    match &interval {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(_)), metadata) => {
            match interval_negated(&interval) {
                Some(value) => Expr::Literal(value, metadata.clone()),
                None => Expr::Negative(Box::new(interval)),
            }
        }
        _ => Expr::Negative(Box::new(interval)),
    }
}

fn interval_negated(literal: &Expr) -> Option<ScalarValue> {
    match literal {
        Expr::Literal(value, _) => value.arithmetic_negate().ok(),
        _ => None,
    }
}
