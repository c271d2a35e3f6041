//! Types of literals: integers are as narrow as PostgreSQL makes them, and quoted text takes the type of
//! what it meets.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, lit};
use sluice_catalogs::functions::arithmetic::{instant_with_zone, parse_literal};

use super::types::{call, is_decimal};

const DAY_MICROS: i64 = 86_400_000_000;

/// `1` is an integer, 3000000000 a bigint, and more a numeric.
pub(super) fn narrowed(
    value: ScalarValue,
    metadata: Option<FieldMetadata>,
    narrow: bool,
) -> Transformed<Expr> {
    let narrowed = match &value {
        ScalarValue::Int64(Some(v)) if narrow => {
            i32::try_from(*v).ok().map(|v| ScalarValue::Int32(Some(v)))
        }
        ScalarValue::UInt64(Some(v)) => Some(ScalarValue::Decimal128(Some(i128::from(*v)), 20, 0)),
        _ => None,
    };
    match narrowed {
        Some(narrowed) => Transformed::yes(Expr::Literal(narrowed, metadata)),
        None => Transformed::no(Expr::Literal(value, metadata)),
    }
}

/// Undoes [`narrowed`] where the engine insists on bigint. True where something changed.
pub(super) fn widen(args: &mut [Expr]) -> bool {
    let mut moved = false;
    for arg in args {
        if let Expr::Literal(value, _) = arg
            && let ScalarValue::Int32(Some(v)) = value
        {
            *value = ScalarValue::Int64(Some(i64::from(*v)));
            moved = true;
        }
    }
    moved
}

/// The text of a quoted literal.
pub(super) fn text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)), None) => {
            Some(text)
        }
        _ => None,
    }
}

/// The literal as a value of `other`'s type, where it is an untyped one that has to be.
pub(super) fn typed_as(expr: Expr, other: &DataType) -> Result<Transformed<Expr>> {
    if let Some(text) = text(&expr) {
        if let DataType::Timestamp(_, Some(zone)) = other {
            return instant(text, zone).map(Transformed::yes);
        }
        let target = if is_decimal(other) {
            free_decimal(text)
        } else {
            other.clone()
        };
        if let Some(value) = parse_literal(text, &target, false) {
            return Ok(Transformed::yes(Expr::Literal(value?, None)));
        }
    }
    // A timestamp at midnight is a date as far as dates are concerned: sources and files can use that.
    if other == &DataType::Date32
        && let Expr::Literal(ScalarValue::TimestampMicrosecond(Some(micros), None), _) = &expr
        && micros.rem_euclid(DAY_MICROS) == 0
        && let Ok(days) = i32::try_from(micros.div_euclid(DAY_MICROS))
    {
        return Ok(Transformed::yes(Expr::Literal(
            ScalarValue::Date32(Some(days)),
            None,
        )));
    }
    Ok(Transformed::no(expr))
}

/// A text as a `timestamptz`. Without a zone of its own it is of the session's, and not of the zone that values
/// are kept in.
pub(super) fn instant(text: &str, kept_in: &Arc<str>) -> Result<Expr> {
    match instant_with_zone(text)? {
        Some(instant) => {
            let zone = Some(Arc::clone(kept_in));
            let value = ScalarValue::TimestampMicrosecond(Some(instant), zone);
            Ok(Expr::Literal(value, None))
        }
        None => call("cast_timestamptz", vec![lit(text)]),
    }
}

/// A decimal type that holds a literal's digits unrounded.
fn free_decimal(text: &str) -> DataType {
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    let digits = fraction
        .bytes()
        .take_while(u8::is_ascii_digit)
        .count()
        .min(38);
    DataType::Decimal256(76, digits as i8)
}

/// A numeric literal as a float, by its digits: a quotient of two floats would be rounded twice.
pub(super) fn as_float(expr: Expr) -> Result<Expr> {
    Ok(match expr {
        Expr::Literal(value, _) if is_decimal(&value.data_type()) => {
            let digits = value.cast_to(&DataType::Utf8)?;
            Expr::Literal(digits.cast_to(&DataType::Float64)?, None)
        }
        Expr::Literal(value, _) => Expr::Literal(value.cast_to(&DataType::Float64)?, None),
        other => super::types::cast_to(other, DataType::Float64),
    })
}

/// The engine's default timestamp counts nanoseconds and ends in 2262; PostgreSQL's counts microseconds.
pub(super) fn microseconds(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        other => other.clone(),
    }
}
