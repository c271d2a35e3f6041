//! Operators by their operands' types: checked integers, exact numerics, floats, dates, text.

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, ExprSchemable, Operator, lit};

use super::branches;
use super::casts::printer;
use super::literals::{self, as_float, typed_as};
use super::types::{
    as_decimal, call, cast_to, digits_of, field_of, integer, is_decimal, is_text, type_of,
};

const MICROSECONDS_PER_DAY: i64 = 86_400_000_000;

fn pair(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}

/// The operator as PostgreSQL means it.
pub(super) fn binary(binary: BinaryExpr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    use Operator::{Divide, Minus, Modulo, Multiply, Plus, StringConcat};
    let BinaryExpr { left, op, right } = binary;
    let (left, right) = (*left, *right);
    let (Some(l), Some(r)) = (type_of(&left, schema), type_of(&right, schema)) else {
        return Ok(Transformed::no(pair(left, op, right)));
    };
    match op {
        Plus | Minus | Multiply | Divide | Modulo => arithmetic(left, &l, op, right, &r),
        StringConcat => concat(left, &l, right, &r, schema),
        op if op.supports_propagation() || is_comparison(op) => comparison(left, &l, op, right, &r),
        op => Ok(Transformed::no(pair(left, op, right))),
    }
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
        return Ok(equally_wide(left, &l, op, right, &r));
    }
    numerics(left.clone(), &l, op, right.clone(), &r).map(|t| Some(t.data))
}

fn is_comparison(op: Operator) -> bool {
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
        return numerics(left, l, op, right, r);
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

fn literal_type(expr: &Expr) -> Option<DataType> {
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
    if l == r {
        return Ok(Transformed::no(pair(left, op, right)));
    }
    Ok(Transformed::yes(pair(wide(left, l)?, op, wide(right, r)?)))
}

fn numerics(
    left: Expr,
    l: &DataType,
    op: Operator,
    right: Expr,
    r: &DataType,
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
        Operator::Divide => return Ok(Transformed::yes(call("numeric_div", vec![left, right])?)),
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
    Ok(Transformed::yes(pair(left, op, right)))
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
    let interval = |expr: Expr| cast_to(expr, Interval(IntervalUnit::MonthDayNano));
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
        (Timestamp(..), Plus | Minus, Interval(_)) => folded(left, op, right)?,
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
            pair(left, op, interval(right))
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

/// What rows are grouped, sorted or joined by: of a float, the same number with 0 for -0. The engine compares
/// floats bit by bit, SQL does not.
pub(super) fn key(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(match type_of(&expr, schema) {
        Some(DataType::Float32) => Transformed::yes(pair(expr, Operator::Plus, lit(0.0f32))),
        Some(DataType::Float64) => Transformed::yes(without_minus_zero(expr)),
        _ => Transformed::no(expr),
    })
}

fn without_minus_zero(expr: Expr) -> Expr {
    pair(expr, Operator::Plus, lit(0.0f64))
}

/// What a key was made of: for sources, which compare floats as SQL does.
pub(crate) fn compared(key: &Expr) -> &Expr {
    use ScalarValue::{Float32, Float64};
    match key {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Plus,
            right,
        }) => match right.as_ref() {
            Expr::Literal(Float64(Some(0.0)) | Float32(Some(0.0)), _) => left,
            _ => key,
        },
        _ => key,
    }
}

fn comparison(
    left: Expr,
    l: &DataType,
    op: Operator,
    right: Expr,
    r: &DataType,
) -> Result<Transformed<Expr>> {
    let (left, right, mut moved) = typed_pair(left, l, right, r)?;
    let l = literal_type(&left).unwrap_or_else(|| l.clone());
    let r = literal_type(&right).unwrap_or_else(|| r.clone());
    if let Some(range) = days(&left, op, &right) {
        return Ok(Transformed::yes(range));
    }
    if let Some(compared) = equally_wide(&left, &l, op, &right, &r) {
        return Ok(Transformed::yes(compared));
    }
    if !(l.is_floating() || r.is_floating()) || !l.is_numeric() || !r.is_numeric() {
        return Ok(Transformed::new_transformed(pair(left, op, right), moved));
    }
    // Against a float, everything is compared as double precision.
    let mut wide = |expr: Expr, data_type: &DataType| match data_type {
        DataType::Float64 => Ok(expr),
        _ => {
            moved = true;
            as_float(expr)
        }
    };
    let (left, right) = (wide(left, &l)?, wide(right, &r)?);
    match (zero_or_not(&left), zero_or_not(&right)) {
        (None, None) => Ok(Transformed::yes(pair(
            without_minus_zero(left),
            op,
            without_minus_zero(right),
        ))),
        (_, Some(true)) => Ok(Transformed::yes(against_zero(left, op))),
        (Some(true), _) => match op.swap() {
            Some(swapped) => Ok(Transformed::yes(against_zero(right, swapped))),
            None => Ok(Transformed::yes(pair(left, op, without_minus_zero(right)))),
        },
        _ => Ok(Transformed::new_transformed(pair(left, op, right), moved)),
    }
}

/// The type that two exact numbers are compared as, where the engine knows none: it has no common type of
/// decimals of different widths.
pub(super) fn common_decimal(l: &DataType, r: &DataType) -> Option<DataType> {
    let wide = |t: &DataType| matches!(t, DataType::Decimal256(..));
    if l == r || !(wide(l) || wide(r)) || l.is_floating() || r.is_floating() {
        return None;
    }
    branches::common([l, r].into_iter())
}

/// The comparison of two exact numbers as numbers of [`common_decimal`].
fn equally_wide(
    left: &Expr,
    l: &DataType,
    op: Operator,
    right: &Expr,
    r: &DataType,
) -> Option<Expr> {
    let target = common_decimal(l, r)?;
    let same = |expr: &Expr, data_type: &DataType| match data_type {
        t if *t == target => expr.clone(),
        t => cast_to(as_decimal(expr.clone(), t).0, target.clone()),
    };
    Some(pair(same(left, l), op, same(right, r)))
}

/// A timestamp's day against a date, as a range of timestamps: sources and files know those.
fn days(left: &Expr, op: Operator, right: &Expr) -> Option<Expr> {
    use Operator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    let (moment, op, day) = match (day_of(left), day_of(right)) {
        (Some(moment), None) => (moment, op, right),
        (None, Some(moment)) => (moment, op.swap()?, left),
        _ => return None,
    };
    let Expr::Literal(ScalarValue::Date32(Some(day)), _) = day else {
        return None;
    };
    let midnight = |day: i32| {
        let value = i64::from(day).checked_mul(MICROSECONDS_PER_DAY)?;
        Some(Expr::Literal(
            ScalarValue::TimestampMicrosecond(Some(value), None),
            None,
        ))
    };
    let (start, end) = (midnight(*day)?, midnight(day.checked_add(1)?)?);
    let is = |op, bound| pair(moment.clone(), op, bound);
    Some(match op {
        Eq => is(GtEq, start).and(is(Lt, end)),
        NotEq => is(Lt, start).or(is(GtEq, end)),
        Lt => is(Lt, start),
        LtEq => is(Lt, end),
        Gt => is(GtEq, end),
        GtEq => is(GtEq, start),
        _ => return None,
    })
}

/// The column that an expression takes the date of.
fn day_of(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::ScalarFunction(call) if call.func.name() == "cast_date" => call
            .args
            .first()
            .filter(|arg| matches!(arg, Expr::Column(_))),
        _ => None,
    }
}

/// Whether a literal is zero; `None` for what is no literal.
fn zero_or_not(expr: &Expr) -> Option<bool> {
    match expr {
        Expr::Literal(ScalarValue::Float64(Some(v)), _) => Some(*v == 0.0),
        Expr::Literal(..) => Some(false),
        _ => None,
    }
}

/// A float against zero, so that both zeros are equal and the column stays bare for pruning.
fn against_zero(expr: Expr, op: Operator) -> Expr {
    use Operator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    let (minus, plus) = (lit(-0.0f64), lit(0.0f64));
    match op {
        Eq if matches!(expr, Expr::Column(_)) => {
            pair(expr.clone(), GtEq, minus).and(pair(expr, LtEq, plus))
        }
        NotEq if matches!(expr, Expr::Column(_)) => {
            pair(expr.clone(), Lt, minus).or(pair(expr, Gt, plus))
        }
        Lt | GtEq => pair(expr, op, minus),
        Gt | LtEq => pair(expr, op, plus),
        op => pair(without_minus_zero(expr), op, plus),
    }
}

/// Untyped literals take the type of what they are compared with.
fn typed_pair(left: Expr, l: &DataType, right: Expr, r: &DataType) -> Result<(Expr, Expr, bool)> {
    let is_literal = |expr: &Expr| matches!(expr, Expr::Literal(..));
    if is_literal(&right) && !is_text(l) {
        let right = typed_as(right, l)?;
        return Ok((left, right.data, right.transformed));
    }
    if is_literal(&left) && !is_text(r) {
        let left = typed_as(left, r)?;
        return Ok((left.data, right, left.transformed));
    }
    Ok((left, right, false))
}

/// BETWEEN with its bounds typed.
pub(super) fn between(between: Between, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Between {
        expr,
        negated,
        low,
        high,
    } = between;
    let Some(data_type) = type_of(&expr, schema).filter(|t| !is_text(t)) else {
        return Ok(Transformed::no(Expr::Between(Between {
            expr,
            negated,
            low,
            high,
        })));
    };
    if data_type.is_floating() {
        // Two comparisons, where zeros are taken care of.
        let bounds = |op, bound: Box<Expr>| {
            binary(BinaryExpr::new(expr.clone(), op, bound), schema).map(|t| t.data)
        };
        let inside = bounds(Operator::GtEq, low)?.and(bounds(Operator::LtEq, high)?);
        let result = if negated {
            Expr::Not(Box::new(inside))
        } else {
            inside
        };
        return Ok(Transformed::yes(result));
    }
    let low = typed_as(*low, &data_type)?;
    let high = typed_as(*high, &data_type)?;
    let moved = low.transformed || high.transformed;
    let between = Between {
        expr,
        negated,
        low: Box::new(low.data),
        high: Box::new(high.data),
    };
    Ok(Transformed::new_transformed(Expr::Between(between), moved))
}

/// IN with its list typed.
pub(super) fn in_list(list: InList, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Some(data_type) = type_of(&list.expr, schema).filter(|t| !is_text(t)) else {
        return Ok(Transformed::no(Expr::InList(list)));
    };
    let InList {
        expr,
        list,
        negated,
    } = list;
    let mut moved = false;
    let list = list
        .into_iter()
        .map(|item| {
            let item = typed_as(item, &data_type)?;
            moved |= item.transformed;
            Ok(item.data)
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Transformed::new_transformed(
        Expr::InList(InList {
            expr,
            list,
            negated,
        }),
        moved,
    ))
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
