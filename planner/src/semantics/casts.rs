//! Casts that PostgreSQL rounds, checks or reads differently.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::functions::unicode::expr_fn::left;
use datafusion::logical_expr::{Cast, Expr, lit};
use sluice_catalogs::functions::arithmetic::parse_literal;
use sluice_spi::types::{NUMERIC_PRECISION, pg_type};

use super::literals::{self, microseconds};
use super::types::{call, cast_to, digits_of, field_of, is_decimal, is_text};

/// The cast as PostgreSQL does it.
pub(super) fn cast(cast: Cast, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Some(from) = field_of(&cast.expr, schema) else {
        // A parameter takes the type that it is cast to.
        return Ok(Transformed::no(Expr::Cast(cast)));
    };
    let Cast { expr, field } = cast;
    let to = microseconds(field.data_type());
    let exact = if &to == field.data_type() {
        Arc::clone(&field)
    } else {
        Arc::new(field.as_ref().clone().with_data_type(to.clone()))
    };
    let plain = |expr: Box<Expr>| Expr::Cast(Cast::new_from_field(expr, Arc::clone(&exact)));
    if is_text(&to) {
        return Ok(to_text(*expr, &from, &exact));
    }
    if is_decimal(&to) {
        return to_numeric(*expr, &from, &exact);
    }
    if let (DataType::Timestamp(_, Some(zone)), Some(text)) = (&to, literals::text(&expr)) {
        let instant = literals::instant(text, zone)?;
        return Ok(Transformed::yes(match is_literal(&instant) {
            true => instant,
            false => plain(Box::new(instant)),
        }));
    }
    if let Some(text) = literals::text(&expr)
        && let Some(value) = parse_literal(text, &to, false)
    {
        return Ok(Transformed::yes(Expr::Literal(value?, None)));
    }
    let name = match (&to, from.data_type()) {
        (DataType::Int16 | DataType::Int32 | DataType::Int64, f) if needs_check(f, &to) => match to
        {
            DataType::Int16 => "cast_int2",
            DataType::Int32 => "cast_int4",
            _ => "cast_int8",
        },
        (DataType::Float32, f) if is_text(f) => "cast_float4",
        (DataType::Float64, f) if is_text(f) => "cast_float8",
        (DataType::Boolean, f) if is_text(f) => "cast_bool",
        (DataType::Date32, f) if is_text(f) => "cast_date",
        // The engine's estimate of a filter on its own cast fails where the days begin before the moments.
        (DataType::Date32, DataType::Timestamp(_, None)) if !is_literal(&expr) => "cast_date",
        (DataType::Timestamp(_, None), f) if is_text(f) => "cast_timestamp",
        (DataType::Time64(_), f) if is_text(f) => "cast_time",
        (DataType::Interval(_), f) if is_text(f) => "cast_interval",
        (DataType::Binary | DataType::LargeBinary | DataType::BinaryView, f) if is_text(f) => {
            return Ok(Transformed::yes(plain(Box::new(call(
                "cast_bytea",
                vec![*expr],
            )?))));
        }
        // By the clocks of the session's zone.
        (DataType::Timestamp(_, Some(_)), f)
            if is_text(f) || matches!(f, DataType::Date32 | DataType::Timestamp(_, None)) =>
        {
            let instant = call("cast_timestamptz", vec![*expr])?;
            return Ok(Transformed::yes(plain(Box::new(instant))));
        }
        _ => {
            let moved = &to != field.data_type();
            return Ok(Transformed::new_transformed(plain(expr), moved));
        }
    };
    Ok(Transformed::yes(call(name, vec![*expr])?))
}

fn is_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(..))
}

fn needs_check(from: &DataType, to: &DataType) -> bool {
    if from.is_floating() || is_decimal(from) || is_text(from) {
        return true;
    }
    // Counts of rows and elements, which the engine has unsigned, always fit.
    if from == &DataType::UInt64 {
        return false;
    }
    match (digits_of(from), digits_of(to)) {
        (Some((from, _)), Some((to, _))) => from > to,
        _ => false,
    }
}

fn to_numeric(expr: Expr, from: &FieldRef, to: &FieldRef) -> Result<Transformed<Expr>> {
    let free = pg_type(to) == Some("numeric");
    let args = match to.data_type() {
        _ if free => (0, 0),
        DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => (i64::from(*p), i64::from(*s)),
        _ => return Ok(Transformed::no(rebuilt(expr, to))),
    };
    if free {
        // Every decimal is a numeric already, with the digits that it has.
        if is_decimal(from.data_type()) {
            return Ok(Transformed::yes(expr));
        }
        if let Some((precision, _)) = digits_of(from.data_type()) {
            return Ok(Transformed::yes(cast_to(
                expr,
                DataType::Decimal128(precision as u8, 0),
            )));
        }
    } else if let (Some((p1, s1)), Some((p2, s2))) =
        (digits_of(from.data_type()), digits_of(to.data_type()))
        && s2 >= s1
        && p2 - s2 >= p1 - s1
    {
        // Nothing can be lost.
        return Ok(Transformed::no(rebuilt(expr, to)));
    }
    let known = from.data_type().is_numeric() || is_text(from.data_type());
    if !known {
        return Ok(Transformed::no(rebuilt(expr, to)));
    }
    Ok(Transformed::yes(call(
        "cast_numeric",
        vec![expr, lit(args.0), lit(args.1)],
    )?))
}

/// The function that prints a value of that type.
pub(super) fn printer(field: &FieldRef) -> &'static str {
    let free = pg_type(field) == Some("numeric")
        || matches!(
            field.data_type(),
            DataType::Decimal256(NUMERIC_PRECISION, _)
        );
    if free { "text_of_numeric" } else { "text_of" }
}

fn rebuilt(expr: Expr, to: &FieldRef) -> Expr {
    Expr::Cast(Cast::new_from_field(Box::new(expr), Arc::clone(to)))
}

/// A value's text, cut to a varchar's length as an explicit cast cuts it.
fn to_text(expr: Expr, from: &FieldRef, to: &FieldRef) -> Transformed<Expr> {
    let printed = match from.data_type() {
        DataType::Float32 | DataType::Float64 | DataType::Timestamp(_, None) => true,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => true,
        data_type => is_decimal(data_type),
    };
    let mut moved = false;
    let mut expr = expr;
    if printed && let Ok(text) = call(printer(from), vec![expr.clone()]) {
        expr = text;
        moved = true;
    }
    let length = pg_type(to)
        .and_then(|tag| tag.strip_prefix("character varying("))
        .and_then(|rest| rest.strip_suffix(')'))
        .and_then(|length| length.parse::<i64>().ok());
    if let Some(length) = length {
        let text = if is_text(from.data_type()) || printed {
            expr
        } else {
            cast_to(expr, DataType::Utf8View)
        };
        expr = left(text, lit(length));
        moved = true;
    }
    // The engine hands the tag of a value on where the cast names nothing but an Arrow type.
    if pg_type(from).is_some() && pg_type(to).is_none() && !from.data_type().is_nested() {
        let text = Arc::new(Field::new("text", to.data_type().clone(), true));
        return Transformed::yes(rebuilt(expr, &text));
    }
    Transformed::new_transformed(rebuilt(expr, to), moved)
}
