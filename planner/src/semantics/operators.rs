//! Operators by their operands' types: checked integers and floats, exact numerics, dates, text. What compares
//! is in [`super::comparisons`].

use arrow::datatypes::{DataType, FieldRef, IntervalUnit, TimeUnit};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use sluice_catalogs::pg_catalog::pg_types::pg_type_of;
use sluice_spi::types::{NUMERIC_PRECISION, NUMERIC_SCALE, pg_type};
use sluice_spi::{Error, SqlState};

use super::casts::printer;
use super::comparisons::{self, Common, comparison};
use super::literals::{self, as_float, typed_as};
use super::moments;
use super::types::{
    as_decimal, call, cast_to, digits_of, field_of, integer, is_decimal, is_text, type_of,
};
use super::{scales, text};

pub(super) fn pair(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}

/// The operator as PostgreSQL means it.
pub(super) fn binary(binary: BinaryExpr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    use Operator::{
        Divide, Minus, Modulo, Multiply, Plus, RegexIMatch, RegexMatch, RegexNotIMatch,
        RegexNotMatch, StringConcat,
    };
    let BinaryExpr { left, op, right } = binary;
    let (left, right) = (*left, *right);
    let (Some(l), Some(r)) = (type_of(&left, schema), type_of(&right, schema)) else {
        return Ok(Transformed::no(pair(left, op, right)));
    };
    match op {
        Plus | Minus | Multiply | Divide | Modulo => arithmetic(left, &l, op, right, &r, schema),
        StringConcat => concat(left, &l, right, &r, schema),
        op if op.supports_propagation() || is_comparison(op) => comparison(left, op, right, schema),
        RegexMatch | RegexNotMatch | RegexIMatch | RegexNotIMatch => {
            let padded = text::padded(left, schema);
            Ok(padded.update_data(|left| pair(left, op, right)))
        }
        op => Ok(Transformed::no(pair(left, op, right))),
    }
}

/// Refuses operators that PostgreSQL has for types that are only text here, and those that it has not at all.
pub(super) fn check(
    left: &Expr,
    op: &BinaryOperator,
    right: &Expr,
    schema: &DFSchema,
) -> Result<()> {
    let (Some(l), Some(r)) = (field_of(left, schema), field_of(right, schema)) else {
        return Ok(());
    };
    let of_arrays = l.data_type().is_nested() || r.data_type().is_nested();
    match op {
        BinaryOperator::AtArrow | BinaryOperator::ArrowAt if of_arrays => Ok(()),
        BinaryOperator::AtArrow
        | BinaryOperator::ArrowAt
        | BinaryOperator::Arrow
        | BinaryOperator::LongArrow
        | BinaryOperator::HashArrow
        | BinaryOperator::HashLongArrow
        | BinaryOperator::AtAt
        | BinaryOperator::HashMinus
        | BinaryOperator::AtQuestion
        | BinaryOperator::Question
        | BinaryOperator::QuestionAnd
        | BinaryOperator::QuestionPipe => Err(not_here(left, &l, op, right, &r).into()),
        BinaryOperator::Plus
        | BinaryOperator::Minus
        | BinaryOperator::Multiply
        | BinaryOperator::Divide
        | BinaryOperator::Modulo => {
            let has_none = |expr: &Expr, field: &FieldRef| {
                let data_type = field.data_type();
                data_type == &DataType::Boolean
                    || is_text(data_type) && literals::text(expr).is_none()
            };
            match has_none(left, &l) || has_none(right, &r) {
                true => Err(not_here(left, &l, op, right, &r).into()),
                false => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// The type of an operand as PostgreSQL names it in errors.
fn named(expr: &Expr, field: &FieldRef) -> String {
    if literals::text(expr).is_some() {
        return "unknown".to_owned();
    }
    let name = match pg_type(field) {
        Some(tag) => tag.split('(').next().unwrap_or(tag).to_owned(),
        None => pg_type_of(field).display(),
    };
    // What fits an integer is one.
    match (expr, field.data_type()) {
        (Expr::Literal(ScalarValue::Int64(Some(v)), _), _) if i32::try_from(*v).is_ok() => {
            "integer".to_owned()
        }
        _ => name,
    }
}

/// PostgreSQL's error of operands that no operator of the name takes.
pub(super) fn no_such_operator(
    left: &Expr,
    l: &FieldRef,
    op: impl std::fmt::Display,
    right: &Expr,
    r: &FieldRef,
) -> Error {
    let message = format!(
        "operator does not exist: {} {op} {}",
        named(left, l),
        named(right, r)
    );
    Error::new(SqlState::UNDEFINED_FUNCTION, message).with_hint(
        "No operator matches the given name and argument types. You might need to add explicit type casts.",
    )
}

fn not_here(left: &Expr, l: &FieldRef, op: &BinaryOperator, right: &Expr, r: &FieldRef) -> Error {
    let is_plain = |field: &FieldRef| match pg_type(field) {
        None => true,
        Some(tag) => tag.starts_with("char") || matches!(tag, "text" | "name" | "numeric"),
    };
    if is_plain(l) && is_plain(r) {
        return no_such_operator(left, l, op, right, r);
    }
    let message = format!(
        "operator {op} of type {} is not supported",
        named(left, if is_plain(l) { r } else { l })
    );
    Error::unsupported(message).with_hint("Let the source do it: catalog.system.query('…').")
}

/// Numeric arithmetic while it is being bound: the engine would refuse types that PostgreSQL's rules do not
/// even make. `None` leaves the operator as it is.
pub(super) fn early(
    left: &Expr,
    op: Operator,
    right: &Expr,
    schema: &DFSchema,
) -> Result<Option<Expr>> {
    let (Some(l), Some(r)) = (type_of(left, schema), type_of(right, schema)) else {
        return Ok(None);
    };
    let exact = |t: &DataType| digits_of(t).is_some();
    if !exact(&l) || !exact(&r) || !(is_decimal(&l) || is_decimal(&r)) {
        return Ok(None);
    }
    // Where the engine finds a type, the pass decides: only then are literals as narrow as they are going to
    // be, and what is a numeric now may turn out to be a bigint.
    if pair(left.clone(), op, right.clone())
        .to_field(schema)
        .is_ok()
    {
        return Ok(None);
    }
    if is_comparison(op) {
        let common = comparisons::common(left.clone(), &l, right.clone(), &r)?;
        return Ok(match common {
            Common::Made(left, right) => Some(pair(left, op, right)),
            _ => None,
        });
    }
    numerics(left.clone(), &l, op, right.clone(), &r, schema).map(|t| Some(t.data))
}

pub(super) fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(
        op,
        Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom
    )
}

fn is_integer(data_type: &DataType) -> bool {
    data_type.is_signed_integer() || data_type == &DataType::UInt32
}

fn arithmetic(
    left: Expr,
    l: &DataType,
    op: Operator,
    right: Expr,
    r: &DataType,
    schema: &DFSchema,
) -> Result<Transformed<Expr>> {
    if l.is_temporal() || r.is_temporal() {
        return temporal(left, l, op, right, r);
    }
    // An untyped literal takes the other operand's type.
    let (left, right) = match (
        literals::text(&left).is_some(),
        literals::text(&right).is_some(),
    ) {
        (true, false) if r.is_numeric() => (typed_as(left, r)?.data, right),
        (false, true) if l.is_numeric() => (left, typed_as(right, l)?.data),
        _ => (left, right),
    };
    let l = &literal_type(&left).unwrap_or_else(|| l.clone());
    let r = &literal_type(&right).unwrap_or_else(|| r.clone());
    if l.is_floating() || r.is_floating() {
        return floats(left, l, op, right, r);
    }
    if is_decimal(l) || is_decimal(r) {
        return numerics(left, l, op, right, r, schema);
    }
    if is_integer(l) && is_integer(r) {
        let name = match op {
            Operator::Plus => "int_add",
            Operator::Minus => "int_sub",
            Operator::Multiply => "int_mul",
            _ => return Ok(Transformed::no(pair(left, op, right))),
        };
        return Ok(Transformed::yes(call(name, vec![left, right])?));
    }
    Ok(Transformed::no(pair(left, op, right)))
}

pub(super) fn literal_type(expr: &Expr) -> Option<DataType> {
    match expr {
        Expr::Literal(value, _) => Some(value.data_type()),
        _ => None,
    }
}

/// With a float, everything is a float; two reals stay real.
fn floats(
    left: Expr,
    l: &DataType,
    op: Operator,
    right: Expr,
    r: &DataType,
) -> Result<Transformed<Expr>> {
    if !l.is_numeric() || !r.is_numeric() {
        return Ok(Transformed::no(pair(left, op, right)));
    }
    let both_real = l == &DataType::Float32 && r == &DataType::Float32;
    let wide = |expr: Expr, data_type: &DataType| match data_type {
        DataType::Float64 => Ok(expr),
        _ => as_float(expr),
    };
    if op == Operator::Divide {
        let quotient = call("float_div", vec![wide(left, l)?, wide(right, r)?])?;
        let real = |expr| cast_to(expr, DataType::Float32);
        return Ok(Transformed::yes(if both_real {
            real(quotient)
        } else {
            quotient
        }));
    }
    let (left, right) = match both_real {
        true => (left, right),
        false => (wide(left, l)?, wide(right, r)?),
    };
    let name = match op {
        Operator::Plus => "float_add",
        Operator::Minus => "float_sub",
        Operator::Multiply => "float_mul",
        _ => return Ok(Transformed::yes(pair(left, op, right))),
    };
    Ok(Transformed::yes(call(name, vec![left, right])?))
}

fn numerics(
    left: Expr,
    l: &DataType,
    op: Operator,
    right: Expr,
    r: &DataType,
    schema: &DFSchema,
) -> Result<Transformed<Expr>> {
    let (Some((p1, s1)), Some((p2, s2))) = (digits_of(l), digits_of(r)) else {
        return Ok(Transformed::no(pair(left, op, right)));
    };
    let moved = !is_decimal(l) || !is_decimal(r);
    let (left, l) = as_decimal(left, l);
    let (right, r) = as_decimal(right, r);
    let (p1, s1) = digits_of(&l).unwrap_or((p1, s1));
    let (p2, s2) = digits_of(&r).unwrap_or((p2, s2));
    let narrow = |t: &DataType| matches!(t, DataType::Decimal128(..));
    let wide = match op {
        Operator::Divide => return Ok(Transformed::yes(scales::quotient(left, right, schema)?)),
        // The engine's own product counts one digit more than there can be.
        Operator::Multiply if narrow(&l) && narrow(&r) && p1 + p2 < 38 => false,
        Operator::Multiply => {
            return Ok(Transformed::yes(call("numeric_mul", vec![left, right])?));
        }
        Operator::Plus | Operator::Minus => (p1 - s1).max(p2 - s2) + s1.max(s2) + 1 > 38,
        _ => (p1 - s1).max(p2 - s2) + s1.max(s2) > 38,
    };
    if !wide && narrow(&l) && narrow(&r) {
        return Ok(Transformed::new_transformed(pair(left, op, right), moved));
    }
    let widened = |expr: Expr, data_type: &DataType, (p, s): (i32, i32)| match data_type {
        DataType::Decimal256(..) => expr,
        _ => cast_to(expr, DataType::Decimal256(p as u8, s as i8)),
    };
    let left = widened(left, &l, (p1, s1));
    let right = widened(right, &r, (p2, s2));
    let result = pair(left, op, right);
    let free = DataType::Decimal256(NUMERIC_PRECISION, NUMERIC_SCALE);
    // The engine gives a remainder fewer digits, by which it would no longer be a numeric without typmod.
    if op == Operator::Modulo && (l == free || r == free) {
        return Ok(Transformed::yes(cast_to(result, free)));
    }
    Ok(Transformed::yes(result))
}

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// Dates count days, a date and an interval make a timestamp, and two timestamps an interval.
fn temporal(
    left: Expr,
    l: &DataType,
    op: Operator,
    right: Expr,
    r: &DataType,
) -> Result<Transformed<Expr>> {
    use DataType::{Date32, Interval, Timestamp};
    use Operator::{Minus, Plus};
    let rewritten = match (l, op, r) {
        (Date32, Minus, Date32) => pair(
            cast_to(left, DataType::Int32),
            Minus,
            cast_to(right, DataType::Int32),
        ),
        (Date32, Plus | Minus, days) if is_integer(days) => shifted(left, op, right, days)?,
        (days, Plus, Date32) if is_integer(days) => shifted(right, op, left, days)?,
        (Date32, Plus | Minus, Interval(_)) => folded(as_timestamp(left)?, op, right)?,
        (Interval(_), Plus, Date32) => folded(as_timestamp(right)?, op, left)?,
        (Timestamp(_, Some(_)), Plus | Minus, Interval(_)) => moments::shifted(left, op, right)?,
        (Interval(_), Plus, Timestamp(_, Some(_))) => moments::shifted(right, op, left)?,
        (Timestamp(..), Plus | Minus, Interval(_)) => folded(left, op, right)?,
        // By the clocks of the session's zone.
        (Timestamp(_, Some(_)), Minus, Timestamp(_, None) | Date32) => {
            let right = call("cast_timestamptz", vec![right])?;
            call("timestamp_sub", vec![left, right])?
        }
        (Timestamp(_, None) | Date32, Minus, Timestamp(_, Some(_))) => {
            let left = call("cast_timestamptz", vec![left])?;
            call("timestamp_sub", vec![left, right])?
        }
        (Timestamp(..), Minus, Timestamp(..) | Date32) | (Date32, Minus, Timestamp(..)) => {
            call("timestamp_sub", vec![left, right])?
        }
        // An untyped literal beside a date is a date, beside a timestamp an interval or a timestamp.
        (Date32, Minus, text) if is_text(text) && literals::text(&right).is_some() => {
            let right = typed_as(right, &Date32)?.data;
            pair(
                cast_to(left, DataType::Int32),
                Minus,
                cast_to(right, DataType::Int32),
            )
        }
        (Timestamp(..), Plus, text) if is_text(text) && literals::text(&right).is_some() => {
            let interval = typed_as(right, &Interval(IntervalUnit::MonthDayNano))?.data;
            match l {
                Timestamp(_, Some(_)) => moments::shifted(left, op, interval)?,
                _ => folded(left, op, interval)?,
            }
        }
        _ => return Ok(Transformed::no(pair(left, op, right))),
    };
    Ok(Transformed::yes(rewritten))
}

fn as_timestamp(date: Expr) -> Result<Expr> {
    Ok(match date {
        Expr::Literal(value, _) => Expr::Literal(value.cast_to(&timestamp())?, None),
        other => cast_to(other, timestamp()),
    })
}

fn shifted(date: Expr, op: Operator, days: Expr, data_type: &DataType) -> Result<Expr> {
    let days = match data_type {
        DataType::Int64 => call("cast_int4", vec![days])?,
        _ => days,
    };
    let name = if op == Operator::Plus {
        "int_add"
    } else {
        "int_sub"
    };
    let sum = call(name, vec![cast_to(date, DataType::Int32), days])?;
    Ok(cast_to(sum, DataType::Date32))
}

/// Computes what is constant at once, so that comparisons see a constant.
fn folded(moment: Expr, op: Operator, interval: Expr) -> Result<Expr> {
    if let (Expr::Literal(moment, _), Expr::Literal(interval, _)) = (&moment, &interval) {
        let value = match op {
            Operator::Plus => moment.add(interval)?,
            _ => moment.sub(interval)?,
        };
        return Ok(Expr::Literal(value, None));
    }
    Ok(pair(moment, op, interval))
}

/// `-x`, checked.
pub(super) fn negative(inner: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    if let Expr::Literal(value, metadata) = &inner
        && let Some(v) = integer(value)
        && let Some(v) = v.checked_neg()
    {
        let data_type = value.data_type();
        let negated = ScalarValue::Decimal128(Some(v), 38, 0).cast_to(&data_type)?;
        return Ok(Transformed::yes(Expr::Literal(negated, metadata.clone())));
    }
    match type_of(&inner, schema) {
        Some(data_type) if data_type.is_signed_integer() => {
            let zero = ScalarValue::new_zero(&data_type)?;
            let zero = Expr::Literal(zero, None);
            Ok(Transformed::yes(call("int_sub", vec![zero, inner])?))
        }
        _ => Ok(Transformed::no(Expr::Negative(Box::new(inner)))),
    }
}

/// `||` prints what is not text; arrays are left to the engine.
fn concat(
    left: Expr,
    l: &DataType,
    right: Expr,
    r: &DataType,
    schema: &DFSchema,
) -> Result<Transformed<Expr>> {
    if l.is_nested() || r.is_nested() || is_text(l) == is_text(r) {
        return Ok(Transformed::no(pair(left, Operator::StringConcat, right)));
    }
    let printed = |expr: Expr, data_type: &DataType| match data_type {
        t if is_text(t) => Ok(expr),
        DataType::Timestamp(_, Some(_)) => call("text_of_timestamptz", vec![expr]),
        _ => {
            let name = field_of(&expr, schema).map_or("text_of", |field| printer(&field));
            call(name, vec![expr])
        }
    };
    Ok(Transformed::yes(pair(
        printed(left, l)?,
        Operator::StringConcat,
        printed(right, r)?,
    )))
}
