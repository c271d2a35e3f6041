//! Types of expressions, and the small steps that change them.

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable};
use sluice_catalogs::functions::arithmetic;

/// The field of an expression; `None` where it has no type yet (a parameter).
pub(super) fn field_of(expr: &Expr, schema: &DFSchema) -> Option<FieldRef> {
    let (_, field) = expr.to_field(schema).ok()?;
    (field.data_type() != &DataType::Null).then_some(field)
}

/// The type of an expression; `None` where it has none yet.
pub(super) fn type_of(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    field_of(expr, schema).map(|field| field.data_type().clone())
}

/// A call of a function of PostgreSQL's arithmetic.
pub(super) fn call(name: &str, args: Vec<Expr>) -> Result<Expr> {
    Ok(arithmetic::function(name)?.call(args))
}

/// The engine's own cast.
pub(super) fn cast_to(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast(Cast::new(Box::new(expr), data_type))
}

pub(super) fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

pub(super) fn is_decimal(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..)
    )
}

/// Precision and scale of a number that is not a float.
pub(super) fn digits_of(data_type: &DataType) -> Option<(i32, i32)> {
    Some(match data_type {
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => (i32::from(*p), i32::from(*s)),
        DataType::Int8 | DataType::UInt8 => (3, 0),
        DataType::Int16 | DataType::UInt16 => (5, 0),
        DataType::Int32 | DataType::UInt32 => (10, 0),
        DataType::Int64 => (19, 0),
        DataType::UInt64 => (20, 0),
        _ => return None,
    })
}

/// The decimal type of that many digits, `None` where there are too many.
pub(super) fn decimal(precision: i32, scale: i32) -> Option<DataType> {
    let scale = i8::try_from(scale).ok()?;
    match u8::try_from(precision).ok()? {
        p @ 1..=38 => Some(DataType::Decimal128(p, scale)),
        p @ 39..=76 => Some(DataType::Decimal256(p, scale)),
        _ => None,
    }
}

/// The number as a decimal: an integer literal with as many digits as it has, anything else with as many
/// as its type has.
pub(super) fn as_decimal(expr: Expr, data_type: &DataType) -> (Expr, DataType) {
    if is_decimal(data_type) {
        return (expr, data_type.clone());
    }
    if let Expr::Literal(value, _) = &expr
        && let Some(value) = integer(value)
    {
        let digits = value.unsigned_abs().checked_ilog10().map_or(1, |n| n + 1) as u8;
        let literal = ScalarValue::Decimal128(Some(value), digits, 0);
        return (
            Expr::Literal(literal, None),
            DataType::Decimal128(digits, 0),
        );
    }
    let (precision, _) = digits_of(data_type).unwrap_or((19, 0));
    let decimal = DataType::Decimal128(precision as u8, 0);
    (cast_to(expr, decimal.clone()), decimal)
}

/// An integer literal's value.
pub(super) fn integer(value: &ScalarValue) -> Option<i128> {
    Some(match value {
        ScalarValue::Int16(Some(v)) => i128::from(*v),
        ScalarValue::Int32(Some(v)) => i128::from(*v),
        ScalarValue::Int64(Some(v)) => i128::from(*v),
        ScalarValue::UInt64(Some(v)) => i128::from(*v),
        _ => return None,
    })
}
