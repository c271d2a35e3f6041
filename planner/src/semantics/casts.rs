//! Casts that PostgreSQL rounds, checks or reads differently.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::functions::unicode::expr_fn::left;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Cast, Expr, ScalarUDF, lit};
use sluice_catalogs::functions::arithmetic::parse_literal;
use sluice_catalogs::functions::forms;
use sluice_catalogs::pg_catalog::pg_types::pg_type_of;
use sluice_spi::types::{NUMERIC_PRECISION, pg_type};
use sluice_spi::{Error, SqlState};

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
    if let Some(tag) = pg_type(&exact)
        && let Some(cast) = forms::cast_function(tag)
    {
        return to_form(*expr, &from, &exact, &cast);
    }
    if let DataType::List(item) = &to
        && let Some(tag) = pg_type(item)
        && forms::cast_function(tag).is_some()
    {
        return to_forms(*expr, &from, item, &exact, schema);
    }
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
        // By the clocks of the session's zone, and not of the zone that values are kept in.
        (DataType::Timestamp(_, None), DataType::Timestamp(_, Some(_))) => "local_timestamp",
        (DataType::Date32 | DataType::Time64(_), DataType::Timestamp(_, Some(_))) => {
            let local = call("local_timestamp", vec![*expr])?;
            return Ok(Transformed::yes(match &to {
                DataType::Date32 => call("cast_date", vec![local])?,
                _ => plain(Box::new(local)),
            }));
        }
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
    if let DataType::List(item) = field.data_type() {
        return printer(item);
    }
    let free = pg_type(field) == Some("numeric")
        || matches!(
            field.data_type(),
            DataType::Decimal256(NUMERIC_PRECISION, _)
        );
    if free { "text_of_numeric" } else { "text_of" }
}

/// True for items whose text does not depend on the session.
fn has_text(item: &FieldRef) -> bool {
    match item.data_type() {
        DataType::List(item) => has_text(item),
        DataType::Boolean | DataType::Date32 | DataType::Timestamp(_, None) => true,
        data_type => is_text(data_type) || data_type.is_numeric(),
    }
}

/// A value as text, where the engine prints it differently.
pub(super) fn printed(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Some(field) = field_of(&expr, schema) else {
        return Ok(Transformed::no(expr));
    };
    Ok(match field.data_type() {
        DataType::Timestamp(_, Some(_)) => {
            Transformed::yes(call("text_of_timestamptz", vec![expr])?)
        }
        DataType::Timestamp(_, None) | DataType::Float32 | DataType::Float64 => {
            Transformed::yes(call("text_of", vec![expr])?)
        }
        data_type if is_decimal(data_type) => Transformed::yes(call(printer(&field), vec![expr])?),
        _ => Transformed::no(expr),
    })
}

fn rebuilt(expr: Expr, to: &FieldRef) -> Expr {
    Expr::Cast(Cast::new_from_field(Box::new(expr), Arc::clone(to)))
}

/// A value whose type travels as text (uuid, jsonb): text is read as that type's input function reads it.
fn to_form(
    expr: Expr,
    from: &FieldRef,
    to: &FieldRef,
    read: &Arc<ScalarUDF>,
) -> Result<Transformed<Expr>> {
    let (tag, target) = (pg_type(from), pg_type(to).unwrap_or_default());
    if let Some(text) = literals::text(&expr)
        && let Some(canonical) = forms::canonical(target, text)
    {
        return Ok(Transformed::yes(rebuilt(lit(canonical?), to)));
    }
    let is_plain = match tag {
        None => is_text(from.data_type()),
        Some(tag) => {
            tag.starts_with("char") || matches!(tag, "text" | "name" | "bpchar" | "citext")
        }
    };
    match (tag, target) {
        (Some(tag), target) if tag == target => Ok(Transformed::no(rebuilt(expr, to))),
        (Some("jsonb"), "json") => Ok(Transformed::no(rebuilt(expr, to))),
        (Some("json"), "jsonb") => Ok(Transformed::yes(rebuilt(read.call(vec![expr]), to))),
        _ if is_plain => Ok(Transformed::yes(rebuilt(read.call(vec![expr]), to))),
        _ => {
            let message = format!(
                "cannot cast type {} to {target}",
                tag.map_or_else(|| pg_type_of(from).display(), str::to_owned)
            );
            Err(Error::new(SqlState::from_source("42846"), message).into())
        }
    }
}

/// An array of such values: one that is written down is read item by item.
fn to_forms(
    expr: Expr,
    from: &FieldRef,
    item: &FieldRef,
    to: &FieldRef,
    schema: &DFSchema,
) -> Result<Transformed<Expr>> {
    if let DataType::List(given) = from.data_type()
        && pg_type(given) == pg_type(item)
    {
        return Ok(Transformed::no(rebuilt(expr, to)));
    }
    match expr {
        Expr::ScalarFunction(ScalarFunction { func, args }) if func.name() == "make_array" => {
            let args = args
                .into_iter()
                .map(|arg| {
                    let arg = Cast::new_from_field(Box::new(arg), Arc::clone(item));
                    cast(arg, schema).map(|cast| cast.data)
                })
                .collect::<Result<Vec<_>>>()?;
            let array = Expr::ScalarFunction(ScalarFunction { func, args });
            Ok(Transformed::yes(rebuilt(array, to)))
        }
        _ => {
            let tag = pg_type(item).unwrap_or_default();
            let message = format!("an array that is computed cannot be cast to {tag}[]");
            Err(Error::unsupported(message).into())
        }
    }
}

/// A value's text, cut to a varchar's length as an explicit cast cuts it.
fn to_text(expr: Expr, from: &FieldRef, to: &FieldRef) -> Transformed<Expr> {
    let printed = match from.data_type() {
        DataType::Float32 | DataType::Float64 | DataType::Timestamp(_, None) => true,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => true,
        // The vectors of the system catalogs have a form of their own.
        DataType::List(item) => pg_type(from).is_none() && has_text(item),
        data_type => is_decimal(data_type),
    };
    let mut moved = false;
    let mut expr = expr;
    let is_instant = matches!(from.data_type(), DataType::Timestamp(_, Some(_)));
    let printer = match is_instant {
        true => "text_of_timestamptz",
        false => printer(from),
    };
    let printed = printed || is_instant;
    if printed && let Ok(text) = call(printer, vec![expr.clone()]) {
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
